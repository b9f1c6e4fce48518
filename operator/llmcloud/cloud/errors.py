"""What a pod's task can fail of: each error carries the reason and the retry of its `Outcome`.

A message is a sentence that names the object and the remedy; it never holds a secret, hence no
text that a store's server sent.
"""

from llmcloud.api.contract import Retry
from llmcloud.api.names import Reason


class TaskError(Exception):
    """A failure with a known cause. Subclasses fix `reason` and `retry`; an instance may too."""

    reason: Reason = Reason.CONFIGURATION_INVALID
    retry: Retry = Retry.USER

    def __init__(
        self, message: str, *, reason: Reason | None = None, retry: Retry | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason or self.reason
        self.retry = retry or self.retry


class ConfigurationInvalid(TaskError):
    """The same input fails again: something in a specification must change."""

    retry = Retry.NEVER


class DiskFull(TaskError):
    """The pod's scratch space, or the store, has no room left."""

    reason = Reason.DISK_FULL


class DigestMismatch(TaskError):
    """Bytes in the store are not those that its manifest names."""

    reason = Reason.DIGEST_MISMATCH


class OutputOccupied(TaskError):
    """The output path holds the result of something else."""

    reason = Reason.OUTPUT_OCCUPIED
    retry = Retry.NEVER


class Fenced(TaskError):
    """A newer attempt has taken the ledger: this one may publish nothing more."""

    reason = Reason.FENCED
    retry = Retry.ENVIRONMENT


class SourceEmpty(TaskError):
    """No document was found in any source."""

    reason = Reason.SOURCE_EMPTY


class SourceUnreachable(TaskError):
    """A source of the web did not answer, or not to the end, after bounded retries."""

    reason = Reason.SOURCE_UNREACHABLE
    retry = Retry.ENVIRONMENT


class StoreError(TaskError):
    """A store refused or could not be asked. Retried: it heals when its cause goes."""

    retry = Retry.ENVIRONMENT


class CredentialsMissing(StoreError):
    reason = Reason.CREDENTIALS_MISSING


class CredentialsRefused(StoreError):
    reason = Reason.CREDENTIALS_REFUSED


class BucketNotFound(StoreError):
    reason = Reason.BUCKET_NOT_FOUND


class BucketNotOwned(StoreError):
    reason = Reason.BUCKET_NOT_OWNED


class StoreUnreachable(StoreError):
    """No connection, no answer in time, or only server errors, after bounded retries."""

    reason = Reason.STORE_UNREACHABLE


class ObjectNotFound(StoreError):
    """There is no such object."""

    retry = Retry.USER


class ObjectChanged(StoreError):
    """An object is no longer the one that was listed."""

    reason = Reason.SOURCE_CHANGED


class AlreadyExists(StoreError):
    """A conditional create found an object of that name."""

    reason = Reason.OUTPUT_OCCUPIED
