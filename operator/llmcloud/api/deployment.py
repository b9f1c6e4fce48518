"""LLMDeployment: a model behind an OpenAI-compatible endpoint."""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from llmcloud.api.adapter import AdapterName
from llmcloud.api.base import ApiModel
from llmcloud.api.common import (
    LIST_ATOMIC,
    LIST_MAP_BY_NAME,
    AcceleratedResources,
    Digest,
    Placement,
    PodSettings,
    Status,
    StoreReference,
    exactly_one_of,
    rules,
)
from llmcloud.api.engine import Engine
from llmcloud.api.external import External, Fallback
from llmcloud.api.leases import KeyLease
from llmcloud.api.model import TaskName, TrainingJobModel
from llmcloud.api.prompt import Prompt
from llmcloud.api.rollout import CanaryStatus, Rejected, Rollout

ServedModelName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"),
]


RevisionName = Annotated[str, StringConstraints(max_length=16)]


class ServedModel(ApiModel):
    """Which model is served."""

    store: StoreReference | None = Field(default=None, description="A model's folder in a store.")
    training_job: TrainingJobModel | None = Field(
        default=None, description="The model that an LLMTrainingJob of this namespace made."
    )

    model_config = ConfigDict(json_schema_extra=rules(exactly_one_of("store", "trainingJob")))


class Adapter(ApiModel):
    """A low-rank adapter of the model, served as a model of its own."""

    name: AdapterName = Field(description="Served as SERVED_MODEL_NAME:name.")
    model: ServedModel = Field(
        description="The adapter: its folder in a store, or what an LLMTrainingJob made of it."
    )


class ReplicaNodes(ApiModel):
    """Over how many nodes one replica is spread: a fixed number."""

    min: int = Field(default=1, description="Equal to max.", ge=1, le=9)
    max: int = Field(
        default=1, description="Nodes of each replica, each with resources of its own.", ge=1, le=9
    )

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("self.min == self.max", "a replica has a fixed number of nodes: set min equal to max")
        )
    )


class Target(ApiModel):
    """What one replica should carry."""

    in_flight: int = Field(
        default=16, description="Requests in flight per replica.", ge=1, le=10000
    )


class Scaling(ApiModel):
    """How the number of replicas follows the load."""

    mode: Literal["Auto", "External"] = Field(
        default="Auto", description="External leaves spec.replicas to kubectl, HPA and KEDA."
    )
    min_replicas: int = Field(default=0, description="Fewest replicas.", ge=0, le=1000)
    max_replicas: int = Field(default=1, description="Most replicas.", ge=1, le=1000)
    target: Target = Field(default=Target(), description="What one replica should carry.")
    scale_down_delay_seconds: int | None = Field(
        default=None,
        description="Lower load must last this long; absent: learned.",
        ge=0,
        le=86400,
    )
    scale_to_zero_after_seconds: int = Field(
        default=900, description="Without a request, to zero after this time.", ge=1, le=604800
    )
    drain_seconds: int = Field(
        default=300, description="A replica that goes may finish its requests.", ge=1, le=3600
    )

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.minReplicas <= self.maxReplicas",
                "minReplicas must not be above maxReplicas: change one of them",
            )
        )
    )


class Hold(ApiModel):
    """Requests that wait for a replica."""

    max_requests: int = Field(default=256, description="Requests that may wait.", ge=0, le=100000)
    deadline_seconds: int = Field(default=300, description="Longest wait, then 503.", ge=1, le=3600)


class Access(ApiModel):
    """Who may call."""

    anonymous: bool = Field(
        default=False, description="True: no key is needed. False: closed but for LLMAccessKeys."
    )


class LLMDeploymentSpec(ApiModel):
    """Which model is served, and how."""

    mutable: ClassVar[frozenset[str]] = frozenset(
        {
            "model", "external", "engine", "resources", "nodes", "placement", "pod", "replicas",
            "scaling", "hold", "adapters", "rollout", "prompts", "access", "fallback",
        }
    )  # fmt: skip

    model: ServedModel | None = Field(default=None, description="Which model is served.")
    external: External | None = Field(
        default=None, description="A model that somebody else serves, instead of model."
    )
    served_model_name: ServedModelName | None = Field(
        default=None,
        description="What clients ask for; absent: the object's name. The oldest has it.",
    )
    engine: Engine = Field(default=Engine(), description="What runs the model.")
    resources: AcceleratedResources = Field(
        default=AcceleratedResources(), description="Of each replica, on each of its nodes."
    )
    nodes: ReplicaNodes = Field(
        default=ReplicaNodes(),
        description="With vllm a replica may be spread over several nodes: tensor parallel within "
        "a node, pipeline parallel over nodes.",
    )
    placement: Placement = Field(
        default=[],
        description="Places where replicas may run, each by preference in an earlier one. One that "
        "runs is not moved.",
    )
    pod: PodSettings = Field(default=PodSettings(), description="Additions to the replicas.")
    replicas: int = Field(
        default=1, description="Replicas in mode External; refused in mode Auto.", ge=0, le=1000
    )
    scaling: Scaling = Field(
        default=Scaling(), description="How the number of replicas follows the load."
    )
    hold: Hold = Field(default=Hold(), description="Requests that wait for a replica.")
    rollout: Rollout | None = Field(
        default=None, description="How a changed model or specification comes in."
    )
    adapters: list[Adapter] = Field(
        default=[],
        description="LoRA adapters served beside the model. They come and go without a restart "
        "of the replicas, but for the first, the last, and one of a store that is new to them.",
        max_length=32,
        json_schema_extra=LIST_MAP_BY_NAME,
    )
    prompts: list[Prompt] = Field(
        default=[],
        description="Prompts served as models of their own: 32768 characters in all.",
        max_length=32,
        json_schema_extra=LIST_MAP_BY_NAME,
    )
    access: Access = Field(default=Access(), description="Who may call.")
    fallback: Fallback | None = Field(
        default=None, description="Where requests go that the replicas cannot serve."
    )

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one_of("model", "external"),
            (
                "!(has(self.external) && has(self.fallback))",
                "fallback is for deployments with replicas: remove it, or set model instead of "
                "external",
            ),
            (
                "size(self.adapters) == 0 || (has(self.model) && self.engine.name != 'custom')",
                "adapters are for models that vllm or transformers serve: remove them, or choose "
                "another engine",
            ),
            (
                "self.prompts.map(p, size(p.system) + size(p.user)).sum() <= 32768",
                "prompts have more than 32768 characters in all, and gateways keep those of "
                "everybody: shorten them, or send them with the requests",
            ),
            (
                "self.nodes.max == 1 || (has(self.resources.accelerator) "
                "&& self.engine.name in ['auto', 'vllm'] && size(self.adapters) == 0)",
                "several nodes need engine vllm, accelerators on each, and no adapters: set "
                "resources.accelerator, remove adapters, or set nodes to 1",
            ),
            (
                "self.nodes.max == 1 || size(self.placement) < 2",
                "all nodes of a replica are in one place: name one in placement, or set nodes to 1",
            ),
            (
                "self.placement.all(place, !has(place.waitSeconds))",
                "placement's waitSeconds is for training: remove it, because a replica takes any "
                "of the places that has room",
            ),
            (
                "self.engine.name != 'vllm' || has(self.resources.accelerator)",
                "engine vllm needs accelerators: set resources.accelerator, or choose engine "
                "transformers",
            ),
            (
                "self.scaling.mode != 'Auto' || oldSelf.scaling.mode != 'Auto' "
                "|| self.replicas == oldSelf.replicas",
                "replicas is owned by the autoscaler in mode Auto: set scaling.mode to External "
                "to scale by hand, or change scaling.minReplicas and scaling.maxReplicas",
            ),
        )
    )


class DeployedModel(ApiModel):
    """The model that is served, pinned."""

    digest: Digest | None = Field(default=None, description="Digest of its files.")
    training_job: str | None = Field(
        default=None, description="The LLMTrainingJob that made it.", max_length=63
    )
    task: TaskName | None = Field(
        default=None, description="What it was trained for; absent: not known."
    )
    url: str | None = Field(default=None, description="Where it lies.", max_length=2048)
    store: str | None = Field(
        default=None, description="The ObjectStore that it is fetched from.", max_length=63
    )
    path: str | None = Field(default=None, description="Its folder there.", max_length=1024)


class StableModel(DeployedModel):
    """The model that serves, and the revision of the replicas that serve it."""

    revision: str | None = Field(
        default=None,
        description="Of the replicas that serve it: a hash of all that makes them.",
        max_length=16,
    )
    replaces: list[RevisionName] | None = Field(
        default=None,
        description="Earlier revisions that serve until there are replicas enough of this one.",
        max_length=8,
        json_schema_extra=LIST_ATOMIC,
    )
    rejected: Rejected | None = Field(
        default=None, description="What was tried last instead of it, and rolled back."
    )


class AdapterStatus(ApiModel):
    """One adapter of the specification."""

    name: str = Field(description="As in the specification.", max_length=63)
    ready: bool = Field(description="Every replica that answers serves it.")
    message: str | None = Field(default=None, description="Why it is not served.", max_length=1024)
    model: DeployedModel | None = Field(default=None, description="The adapter, pinned.")


class ColdStart(ApiModel):
    """Where the time went when the newest replica started, in seconds."""

    replica: str = Field(description="The pod that was measured.", max_length=253)
    schedule_seconds: int = Field(description="Until it had a node.", ge=0)
    pull_seconds: int = Field(description="For images and the model's files.", ge=0)
    load_seconds: int = Field(description="Until the weights were in memory.", ge=0)
    warm_up_seconds: int | None = Field(
        default=None,
        description="Until one generation came back; absent: part of loadSeconds.",
        ge=0,
    )


class ScalingStatus(ApiModel):
    """Why there are as many replicas as there are."""

    reason: str = Field(
        default="",
        description="Why the number last changed, is held without samples, or is limited.",
        max_length=512,
    )
    holding: bool | None = Field(
        default=None, description="True: the gateways give no samples, so nothing is scaled."
    )
    limited: bool | None = Field(
        default=None, description="True: the load needs more replicas than maxReplicas."
    )
    last_scale_time: str | None = Field(
        default=None, description="When the number last changed.", max_length=64
    )
    cold_start: ColdStart | None = Field(
        default=None, description="How the newest replica started."
    )


class LLMDeploymentStatus(Status):
    """What serves at this moment."""

    url: str | None = Field(default=None, description="Base URL for clients.", max_length=1024)
    replicas: int = Field(default=0, description="Replicas that exist.", ge=0)
    ready_replicas: int = Field(default=0, description="Replicas that answer.", ge=0)
    desired_replicas: int = Field(default=0, description="Replicas wanted.", ge=0)
    selector: str = Field(default="", description="Label selector of the replicas.", max_length=512)
    model: StableModel | None = Field(default=None, description="The model that is served.")
    adapters: list[AdapterStatus] = Field(
        default=[],
        description="The adapters, and whether they are served.",
        max_length=32,
        json_schema_extra=LIST_MAP_BY_NAME,
    )
    nodes: int | None = Field(default=None, description="Nodes of each replica; absent: one.", ge=1)
    scaling: ScalingStatus | None = Field(
        default=None, description="Why there are as many replicas as there are."
    )
    canary: CanaryStatus | None = Field(
        default=None, description="The revision that is being tried."
    )
    leases: list[KeyLease] = Field(
        default=[],
        description="What each egress pod (as `gateway`) may spend of tokensPerDay, recorded "
        "before it is spent.",
        max_length=1024,
        json_schema_extra=LIST_ATOMIC,
    )
