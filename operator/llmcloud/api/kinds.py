"""The kinds: name, short name, columns, and the models of specification and status."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from llmcloud.api.accesskey import LLMAccessKeySpec, LLMAccessKeyStatus
from llmcloud.api.base import ApiModel
from llmcloud.api.common import Status
from llmcloud.api.dataset import LLMDatasetSpec, LLMDatasetStatus
from llmcloud.api.deployment import LLMDeploymentSpec, LLMDeploymentStatus
from llmcloud.api.names import Condition, Kind
from llmcloud.api.objectstore import ObjectStoreSpec, ObjectStoreStatus
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.api.training_status import LLMTrainingJobStatus


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; wide ones have priority 1."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True)
class KindDefinition:
    """All that the CRD of a kind needs."""

    kind: Kind
    short_name: str
    description: str
    spec: type[ApiModel]
    status: type[Status]
    mutable: frozenset[str]
    columns: tuple[Column, ...]
    conditions: tuple[Condition, ...] = (Condition.READY,)
    scale: bool = False


def _condition_column(name: str, type_: str, member: str, *, wide: bool = False) -> Column:
    return Column(name, f".status.conditions[?(@.type=='{type_}')].{member}", wide=wide)


_READY = _condition_column("Ready", "Ready", "status")
_REASON = _condition_column("Reason", "Ready", "reason")
_MESSAGE = _condition_column("Message", "Ready", "message", wide=True)
_AGE = Column("Age", ".metadata.creationTimestamp", "date")

KINDS: Final[Mapping[Kind, KindDefinition]] = MappingProxyType(
    {
        Kind.OBJECT_STORE: KindDefinition(
            Kind.OBJECT_STORE,
            "ostore",
            "Where datasets, checkpoints and models live.",
            ObjectStoreSpec,
            ObjectStoreStatus,
            ObjectStoreSpec.mutable,
            (_READY, _REASON, Column("URL", ".status.url"), _AGE, _MESSAGE),
        ),
        Kind.DATASET: KindDefinition(
            Kind.DATASET,
            "llmds",
            "Data in, immutable versions out.",
            LLMDatasetSpec,
            LLMDatasetStatus,
            LLMDatasetSpec.mutable,
            (
                _READY,
                _REASON,
                Column("Documents", ".status.documents", "integer"),
                Column("Tokens", ".status.tokens", "integer"),
                _AGE,
                Column("Version", ".status.version", wide=True),
                _MESSAGE,
            ),
        ),
        Kind.TRAINING_JOB: KindDefinition(
            Kind.TRAINING_JOB,
            "llmjob",
            "From a dataset and a model to a better model.",
            LLMTrainingJobSpec,
            LLMTrainingJobStatus,
            LLMTrainingJobSpec.mutable,
            (
                Column("Phase", ".status.phase"),
                Column("Percent", ".status.progress.percent", "integer"),
                Column("Loss", ".status.progress.loss", "number"),
                Column("Attempt", ".status.attempt", "integer"),
                _AGE,
                _REASON,
                _MESSAGE,
            ),
            (Condition.READY, Condition.COMPLETE, Condition.FAILED, Condition.SUSPENDED),
        ),
        Kind.DEPLOYMENT: KindDefinition(
            Kind.DEPLOYMENT,
            "llmdep",
            "A model behind an OpenAI-compatible endpoint.",
            LLMDeploymentSpec,
            LLMDeploymentStatus,
            LLMDeploymentSpec.mutable,
            (
                _READY,
                _REASON,
                Column("Replicas", ".status.readyReplicas", "integer"),
                Column("Desired", ".status.desiredReplicas", "integer"),
                _AGE,
                Column("URL", ".status.url", wide=True),
                _MESSAGE,
            ),
            scale=True,
        ),
        Kind.ACCESS_KEY: KindDefinition(
            Kind.ACCESS_KEY,
            "llmkey",
            "Who may call what. Holds no secret, so it can live in Git.",
            LLMAccessKeySpec,
            LLMAccessKeyStatus,
            LLMAccessKeySpec.mutable,
            (
                _READY,
                _REASON,
                Column("Requests", ".status.usage.requests", "integer"),
                Column("Last used", ".status.usage.lastUsedTime", "date"),
                Column("Expires", ".spec.expiresAt"),
                _AGE,
                _MESSAGE,
            ),
        ),
    }
)
