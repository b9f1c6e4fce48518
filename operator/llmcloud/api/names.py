"""Every name that users, the operator and its pods share: labels, conditions, reasons.

A reason is part of the API: each has its paragraph in docs/conditions.md, and a rule test keeps
the two in step.
"""

from enum import StrEnum
from typing import Final

GROUP: Final = "llmcloud.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

MANAGED_BY: Final = "llmcloud"
FINALIZER: Final = f"{GROUP}/external-cleanup"

LABEL_OWNER_KIND: Final = f"{GROUP}/owner-kind"
LABEL_OWNER_NAME: Final = f"{GROUP}/owner-name"
LABEL_OWNER_UID: Final = f"{GROUP}/owner-uid"
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"
LABEL_REVISION: Final = f"{GROUP}/revision"
LABEL_RANK: Final = f"{GROUP}/rank"
LABEL_QUEUE: Final = "kueue.x-k8s.io/queue-name"
LABEL_QUEUED_UID: Final = "kueue.x-k8s.io/job-uid"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"

ANNOTATION_ADAPTERS: Final = f"{GROUP}/adapters"
ANNOTATION_AUTHORITIES: Final = f"{GROUP}/authorities"
ANNOTATION_INTENT: Final = f"{GROUP}/intent-hash"
ANNOTATION_LEASES: Final = f"{GROUP}/leases"
ANNOTATION_RECIPE: Final = f"{GROUP}/recipe"
ANNOTATION_REPLICAS: Final = f"{GROUP}/replicas"
ANNOTATION_REFRESH: Final = f"{GROUP}/refresh"
ANNOTATION_SKIP_CLEANUP: Final = f"{GROUP}/skip-cleanup"

MANAGER_CHILDREN: Final = "llmcloud"
MANAGER_STATUS: Final = "llmcloud-status"
MANAGER_FINALIZER: Final = "llmcloud-finalizer"


class Kind(StrEnum):
    """The custom resources, by kind."""

    OBJECT_STORE = "ObjectStore"
    DATASET = "LLMDataset"
    TRAINING_JOB = "LLMTrainingJob"
    DEPLOYMENT = "LLMDeployment"
    ACCESS_KEY = "LLMAccessKey"

    @property
    def plural(self) -> str:
        return self.value.lower() + "s"


class Condition(StrEnum):
    """Condition types. Ready, Reconciling and Stalled follow kstatus and are always present."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    COMPLETE = "Complete"
    FAILED = "Failed"
    SUSPENDED = "Suspended"


class Reason(StrEnum):
    """Condition reasons: what docs/conditions.md explains."""

    # Nothing is wrong
    PENDING = "Pending"
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    EVALUATING = "Evaluating"
    PROVISIONED = "Provisioned"
    PREPARED = "Prepared"
    SUCCEEDED = "Succeeded"
    SERVING = "Serving"
    SCALED_TO_ZERO = "ScaledToZero"
    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    BUDGET_SPENT = "BudgetSpent"
    NOT_SUSPENDED = "NotSuspended"
    DELETING = "Deleting"
    UP_TO_DATE = "UpToDate"
    NOT_FAILED = "NotFailed"

    # Something else must come first
    STORE_NOT_FOUND = "StoreNotFound"
    STORE_NOT_READY = "StoreNotReady"
    DATASET_NOT_FOUND = "DatasetNotFound"
    DATASET_NOT_READY = "DatasetNotReady"
    TRAINING_JOB_NOT_FOUND = "TrainingJobNotFound"
    MODEL_NOT_READY = "ModelNotReady"

    # What an object refers to does not fit it
    DATASET_UNSUITABLE = "DatasetUnsuitable"
    MODEL_UNSUITABLE = "ModelUnsuitable"
    VOCABULARY_MISMATCH = "VocabularyMismatch"

    # The cluster cannot run the pod
    ACCELERATOR_UNKNOWN = "AcceleratorUnknown"
    ACCELERATOR_NOT_FOUND = "AcceleratorNotFound"
    CAPACITY_UNKNOWN = "CapacityUnknown"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    POD_REFUSED = "PodRefused"
    VOLUME_NOT_MOUNTED = "VolumeNotMounted"
    CONTAINER_CONFIG = "ContainerConfigInvalid"
    POD_NOT_STARTED = "PodNotStarted"

    # The pod ran and failed
    OUT_OF_MEMORY = "OutOfMemory"
    DISK_FULL = "DiskFull"
    PREEMPTED = "Preempted"
    PEER_LOST = "PeerLost"
    HUNG = "Hung"
    CRASHED = "Crashed"
    FENCED = "Fenced"
    BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded"

    # What a pod's outcome may say (contract.Outcome)
    CREDENTIALS_REFUSED = "CredentialsRefused"
    CREDENTIALS_MISSING = "CredentialsMissing"
    BUCKET_NOT_FOUND = "BucketNotFound"
    BUCKET_NOT_OWNED = "BucketNotOwned"
    STORE_UNREACHABLE = "StoreUnreachable"
    SOURCE_EMPTY = "SourceEmpty"
    SOURCE_CHANGED = "SourceChanged"
    SOURCE_UNREACHABLE = "SourceUnreachable"
    CONFIGURATION_INVALID = "ConfigurationInvalid"
    OUTPUT_OCCUPIED = "OutputOccupied"
    DIGEST_MISMATCH = "DigestMismatch"
    DATASET_VERSION_NOT_FOUND = "DatasetVersionNotFound"
    LOSS_NOT_FINITE = "LossNotFinite"
    GATE_NOT_PASSED = "GateNotPassed"

    # Deployments
    ROUTE_CONFLICT = "RouteConflict"
    ROUTE_TOO_LARGE = "RouteTooLarge"
    REPLICAS_NOT_READY = "ReplicasNotReady"
    CANARY = "Canary"
    CANARY_STARTED = "CanaryStarted"
    CANARY_RAISED = "CanaryRaised"
    CANARY_PROMOTED = "CanaryPromoted"
    CANARY_REJECTED = "CanaryRejected"

    # Access keys
    DISABLED = "Disabled"
    EXPIRED = "Expired"

    # The operator's own
    SPEC_INVALID = "SpecInvalid"
    CLEANUP_FAILED = "CleanupFailed"
    OPERATOR_FORBIDDEN = "OperatorForbidden"
    INTERNAL_ERROR = "InternalError"
