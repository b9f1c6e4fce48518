"""How a training attempt ends early, beyond what every pod can fail of (llmcloud.cloud.errors)."""

from llmcloud.api.contract import Retry
from llmcloud.api.names import Reason
from llmcloud.cloud.errors import TaskError


class DatasetVersionNotFound(TaskError):
    """The pinned version of the dataset is not in its store."""

    reason = Reason.DATASET_VERSION_NOT_FOUND
    retry = Retry.NEVER


class VocabularyMismatch(TaskError):
    """Two things that must speak of the same tokens do not."""

    reason = Reason.VOCABULARY_MISMATCH
    retry = Retry.NEVER


class LossNotFinite(TaskError):
    """The loss became NaN or infinite: the same steps would give it again."""

    reason = Reason.LOSS_NOT_FINITE
    retry = Retry.NEVER


class OutOfMemory(TaskError):
    """The accelerator or the host could not give the memory that was asked for."""

    reason = Reason.OUT_OF_MEMORY


class PeerLost(TaskError):
    """Another rank of the group is gone; why, its own pod says, or the cluster."""

    reason = Reason.PEER_LOST
    retry = Retry.ENVIRONMENT


class Hung(TaskError):
    """No step for many times as long as a step takes."""

    reason = Reason.HUNG
    retry = Retry.ENVIRONMENT


class Preempted(TaskError):
    """The pod was told to stop; what was done is in the last durable checkpoint."""

    reason = Reason.PREEMPTED
    retry = Retry.ENVIRONMENT
