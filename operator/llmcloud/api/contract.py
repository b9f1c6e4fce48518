"""What the operator and its pods agree on: tasks, mount paths, ports, reports, file formats.

A pod gets one task as JSON in the environment variable `LLMCLOUD_TASK`, answers GET /progress
while it runs, and ends by writing an `Outcome` to its termination message. The outcome is also
in the store, in a ledger or a manifest, which is authoritative: a pod may die before the
operator has read it.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from llmcloud.api.base import ApiModel
from llmcloud.api.dataset import Algorithm, DatasetType, Format, Prepare
from llmcloud.api.dataset_files import DatasetManifest as DatasetManifest
from llmcloud.api.dataset_files import FileEntry as FileEntry
from llmcloud.api.dataset_files import ShardEntry as ShardEntry
from llmcloud.api.dataset_files import SourceEntry as SourceEntry
from llmcloud.api.location import StoreLocation as StoreLocation
from llmcloud.api.names import Reason
from llmcloud.api.route_table import ROUTES_CONFIG_MAP as ROUTES_CONFIG_MAP
from llmcloud.api.route_table import ROUTES_KEY as ROUTES_KEY
from llmcloud.api.route_table import GatewaySamples as GatewaySamples
from llmcloud.api.route_table import GroupSample as GroupSample
from llmcloud.api.route_table import Route as Route
from llmcloud.api.route_table import RouteGroup as RouteGroup
from llmcloud.api.route_table import RouteSample as RouteSample
from llmcloud.api.route_table import RouteTable as RouteTable
from llmcloud.api.training_task import Architecture as Architecture
from llmcloud.api.training_task import DatasetInput as DatasetInput
from llmcloud.api.training_task import DistillTask as DistillTask
from llmcloud.api.training_task import HubInput as HubInput
from llmcloud.api.training_task import MetricGate as MetricGate
from llmcloud.api.training_task import ModelInput as ModelInput
from llmcloud.api.training_task import StoredModel as StoredModel
from llmcloud.api.training_task import TrainingTask as TrainingTask

ENV_TASK: Final = "LLMCLOUD_TASK"
ENV_AUTHORITIES: Final = "LLMCLOUD_AUTHORITIES"
"""Names a file of certificate authorities (PEM) that are trusted besides those of the image."""

TERMINATION_LOG: Final = "/dev/termination-log"
TERMINATION_MESSAGE_BYTES: Final = 4096
CREDENTIALS_PATH: Final = "/var/run/llmcloud/credentials"
CA_PATH: Final = "/var/run/llmcloud/ca"
AUTHORITIES_FILE: Final = "/var/run/llmcloud/authorities/ca.crt"
HUB_PATH: Final = "/var/run/llmcloud/hub"
SCRATCH_PATH: Final = "/scratch"
MODELS_PATH: Final = "/models"

REPORT_PORT: Final = 9090
"""Every pod of ours: GET /progress (JSON), /healthz, /metrics (Prometheus). Engines: /ready, and
/start (`EngineStart`) once they are."""
ENGINE_PORT: Final = 8000
GATEWAY_PORT: Final = 8080
GATEWAY_REPORT_PORT: Final = 9090
"""Gateway: GET /samples (JSON, `GatewaySamples`), /healthz, /ready, /metrics."""

USER_ID: Final = 65532


class ExitCode:
    """Exit codes of our pods, after sysexits.h where one fits."""

    OK: Final = 0
    FAILED: Final = 1
    CONFIGURATION: Final = 64
    INTERRUPTED: Final = 143


class Retry(StrEnum):
    """What an outcome asks of the operator: `Never`: wait for a new specification; `User`: retry,
    counted against backoffLimit; `Environment`: retry, not counted."""

    NEVER = "Never"
    USER = "User"
    ENVIRONMENT = "Environment"


CONSEQUENCES: Final = (Reason.PREEMPTED, Reason.PEER_LOST)
"""What a process says that was stopped, or left alone, because of something else."""


class ProvisionTask(ApiModel):
    """Create or adopt the bucket, set protections, prove that objects can be written and read.

    `proven`: that was so at the last look, and a bucket of somebody else is not written to again.
    """

    kind: Literal["provision"] = "provision"
    store: StoreLocation
    create: bool
    owner_uid: str
    proven: bool | None = None


class DeleteStoreTask(ApiModel):
    """Remove the bucket, only if it carries `owner_uid`; say before what will be removed."""

    kind: Literal["delete-store"] = "delete-store"
    store: StoreLocation
    owner_uid: str


class NetworkRules(ApiModel):
    """CIDRs that sources of the web may reach although they are not of the internet, or may not
    although they are."""

    allowed: list[str] = []
    refused: list[str] = []


class UrlSource(ApiModel):
    """One file, and the SHA-256 (hex) that it must have."""

    url: str
    sha256: str


class HubSource(ApiModel):
    """A dataset repository of the hub; `token_file` holds a token where it needs one."""

    name: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    token_file: str | None = None


class SourceTask(ApiModel):
    """Objects whose keys match a pattern of `include`: below `path` of a store, at a URL, or of
    the hub.

    `members` are the names in their records of what `RECORD_MEMBERS` lists for the type.
    """

    store: StoreLocation | None = None
    path: str = ""
    url: UrlSource | None = None
    hub: HubSource | None = None
    format: Format
    members: list[str] = ["text"]
    include: list[str]


class DatasetTask(ApiModel):
    """Prepare one version of a dataset below `output_path`, together with `workers` - 1 others.

    `recipe` is the digest of all that decides the version but the bytes of the sources. What is
    on its way lies below `work/<owner_uid>/` of the output path.

    With `tokenizer_model` the tokenizer is that model's, and none is trained. With `drop`, nothing
    is prepared: those versions are removed, and `current` is told again.
    """

    kind: Literal["dataset"] = "dataset"
    owner_uid: str
    workers: int = 1
    drop: list[str] = []
    current: str | None = None
    recipe: str
    attempt: int
    type: DatasetType = "text"
    labels: list[str] = []
    sources: list[SourceTask]
    network: NetworkRules | None = None
    hub_endpoint: str | None = None
    prepare: Prepare
    tokenizer_algorithm: Algorithm = "bpe"
    vocabulary_size: int = 0
    tokenizer_model: ModelInput | None = None
    sequence_length_tokens: int
    output: StoreLocation
    output_path: str


class RoomTask(ApiModel):
    """Hold a node until told to go: proof that there is room for a larger attempt."""

    kind: Literal["room"] = "room"


class FetchTask(ApiModel):
    """Fetch a model into `destination`, every file's digest checked."""

    kind: Literal["fetch"] = "fetch"
    store: StoreLocation
    path: str
    digest: str | None = None
    destination: str


class SidecarTask(ApiModel):
    """Tell of the engine in the same pod, on `REPORT_PORT` as an engine of ours does: /ready once
    it has answered a request for `model`. With `adapters`, keep the engine's adapters as the
    pod's annotation has them."""

    kind: Literal["sidecar"] = "sidecar"
    model: str
    adapters: bool = False


Task = Annotated[
    ProvisionTask
    | DeleteStoreTask
    | DatasetTask
    | TrainingTask
    | FetchTask
    | RoomTask
    | SidecarTask,
    Field(discriminator="kind"),
]
TASK: Final[TypeAdapter[Task]] = TypeAdapter(Task)


class CheckpointEntry(ApiModel):
    """A durable checkpoint: all files are in the store and their digests are here.

    `productive_seconds`: of all steps that led to it, of whatever attempts.
    """

    step: int
    path: str  # folder, relative to the job's output path
    files: list[FileEntry]
    bytes: int
    time: str
    productive_seconds: int = 0


ModelKind = Literal["full", "adapter", "report"]
"""A full model; an adapter, which needs the model that it was trained on; nothing but a report."""


class ModelManifest(ApiModel):
    """`<output.path>manifest.json`: a finished model in the Hugging Face layout.

    `digest` = "sha256:" + SHA-256 of the canonical JSON of the sorted (key, sha256) of `files`.
    `path` is the folder of the files, relative to the manifest's own folder.
    """

    schema_version: Literal[1] = 1
    digest: str
    recipe: str
    attempt: int
    kind: ModelKind
    path: str
    files: list[FileEntry]
    lineage: dict[str, str]
    metrics: dict[str, float]
    groups: list["MetricResult"] = []
    passed: bool


class LedgerEntry(ApiModel):
    """One slot of a job's ledger `<output.path>ledger/<8 digits>.json`.

    Slots are created only if absent and without gaps. A new attempt takes the next slot with
    `kind: attempt` before it does anything else; an older attempt that tries to publish finds its
    next slot taken, sees the newer attempt there and stops: it is fenced.
    """

    kind: Literal["attempt", "checkpoint", "complete"]
    attempt: int
    recipe: str
    owner_uid: str
    checkpoint: CheckpointEntry | None = None
    model: ModelManifest | None = None


class CheckpointStatus(ApiModel):
    """The last durable checkpoint, as status shows it."""

    step: int = Field(description="Optimizer step.", ge=0)
    url: str = Field(description="Where it lies.", max_length=2048)
    time: str = Field(description="When it became durable, RFC 3339.", max_length=64)
    bytes: int = Field(description="Its size in bytes.", ge=0)


class Spent(ApiModel):
    """Where the seconds of one attempt went, as its trainer knows it.

    `productive_seconds`: in steps whose result is durable, with those of the attempts that it goes
    on from. `checkpoint_seconds`: training stood still for a checkpoint. `elapsed_seconds`: in all,
    since the process began.
    """

    startup_seconds: int
    productive_seconds: int
    checkpoint_seconds: int
    elapsed_seconds: int


class Progress(ApiModel):
    """GET /progress of a training or a dataset pod: live and lossy. Absent: not known yet."""

    phase: Literal["Starting", "Running", "Evaluating"] = "Starting"
    attempt: int
    step: int | None = None
    total_steps: int | None = None
    percent: int | None = None
    eta_seconds: int | None = None
    loss: float | None = None
    learning_rate: float | None = None
    tokens_per_second: int | None = None
    tokens_seen: int | None = None
    checkpoint: CheckpointStatus | None = None
    spent: Spent | None = None
    mfu: float | None = None
    note: str | None = Field(default=None, max_length=512)  # what a user should know of the start
    models: dict[str, str] | None = None  # what was loaded: URLs and digests, as in the lineage


class EngineStart(ApiModel):
    """GET /start of an engine of ours that is ready: how its start went."""

    # Until the weights were in memory; absent: all until Ready but the warm-up.
    load_seconds: float | None = Field(default=None, ge=0, le=86400)
    warm_up_seconds: float = Field(ge=0, le=86400)  # from then on, until a generation came back


class MetricResult(ApiModel):
    """One metric of an evaluation."""

    name: str
    value: float
    passed: bool = True
    low: float | None = None
    high: float | None = None


class ProvisionResult(ApiModel):
    """What provisioning found or made.

    `protections` are by the names of `status.protections`; None where the store cannot give it, or
    does not tell.
    """

    url: str
    writable: bool = True
    protections: dict[str, bool | None]


class DatasetResult(ApiModel):
    """What a dataset's status shows of its version."""

    version: str
    tokenizer_digest: str
    documents: int
    validation_documents: int
    tokens: int
    bytes: int
    shards: int
    documents_read: int | None = None
    rejected: dict[str, int]
    redacted: dict[str, int] = {}
    dropped: list[str] = []
    reused: bool


class TrainingResult(ApiModel):
    """What a training job's status shows of its end."""

    model_url: str
    model_digest: str
    model_path: str
    model_kind: ModelKind = "full"
    tokenizer_digest: str | None = None
    steps: int
    passed: bool
    metrics: list[MetricResult]
    groups: list[MetricResult] = []
    baselines: list[MetricResult] = []
    checkpoint: CheckpointStatus | None = None
    reused: bool = False


class Outcome(ApiModel):
    """The termination message, at most `TERMINATION_MESSAGE_BYTES` of JSON. A failure's `message`
    is a sentence: what, which object, what next. It never holds a secret. `progress` is the last
    that a training pod told, so that an operator that was down meanwhile has it too."""

    succeeded: bool
    reason: Reason
    message: str = Field(default="", max_length=1024)
    retry: Retry = Retry.USER
    provision: ProvisionResult | None = None
    dataset: DatasetResult | None = None
    training: TrainingResult | None = None
    progress: Progress | None = None
