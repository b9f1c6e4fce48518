"""Shapes that mean the same wherever their name appears (docs/api.md, "Shapes")."""

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints

from llmcloud.api.base import ApiModel

Name = Annotated[
    str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
"""Name of a Kubernetes object."""

Quantity = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
    ),
]
"""A Kubernetes quantity, for example 500m or 4Gi."""

ObjectPath = Annotated[str, StringConstraints(max_length=512, pattern=r"^([^/].*/)?$")]
"""A folder in a store: empty, or relative and ending in a slash."""

Digest = Annotated[str, StringConstraints(max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]

LIST_MAP_BY_NAME: Final[dict[str, Any]] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}
LIST_ATOMIC: Final[dict[str, Any]] = {"x-kubernetes-list-type": "atomic"}
LIST_SET: Final[dict[str, Any]] = {"x-kubernetes-list-type": "set"}
"""No value twice. The API server takes two orders of the same values for equal."""


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """CEL validations as a schema extension; each pair is (rule, message naming the remedy)."""
    return {
        "x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]
    }


def exactly_one_of(*names: str) -> tuple[str, str]:
    """The rule of a union: exactly one member is set."""
    terms = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)
    return f"{terms} == 1", f"set exactly one of {', '.join(names)}"


class LocalReference(ApiModel):
    """An object of the same namespace."""

    name: Name = Field(description="Name of the object, in the same namespace.")


class ConfigMapKeyReference(ApiModel):
    """One key of a ConfigMap of the same namespace."""

    name: Name = Field(description="Name of the ConfigMap, in the same namespace.")
    key: str = Field(
        default="ca.crt",
        description="Key in the ConfigMap.",
        max_length=253,
        min_length=1,
        pattern=r"^[-._a-zA-Z0-9]+$",
    )


class SecretKeyReference(ApiModel):
    """One key of a Secret of the same namespace."""

    name: Name = Field(description="Name of the Secret, in the same namespace.")
    key: str = Field(
        description="Key in the Secret.", max_length=253, min_length=1, pattern=r"^[-._a-zA-Z0-9]+$"
    )


class StoreReference(ApiModel):
    """A folder of an ObjectStore of the same namespace."""

    name: Name = Field(description="Name of the ObjectStore, in the same namespace.")
    path: ObjectPath = Field(
        default="", description="Folder below the store's prefix; empty or ending in a slash."
    )


class Output(ApiModel):
    """Where results are written. They stay when the object is deleted."""

    store: StoreReference = Field(description="The ObjectStore and the folder in it.")


class Resources(ApiModel):
    """What one pod may use; requests equal limits for memory."""

    cpu: Quantity = Field(default="1", description="CPU cores, for example 2 or 500m.")
    memory: Quantity = Field(default="2Gi", description="Memory, for example 4Gi.")
    ephemeral_storage: Quantity = Field(
        default="4Gi", description="Scratch space on the node's disk, for example 20Gi."
    )
    shared_memory: Quantity = Field(
        default="256Mi", description="Size of /dev/shm, part of the memory."
    )


AcceleratorName = Annotated[
    str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
"""A name of the catalogue of accelerators, for example nvidia-h100."""

LabelValue = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
    ),
]


class AcceleratedResources(Resources):
    """What one pod may use, accelerators among it."""

    accelerator: AcceleratorName | None = Field(
        default=None,
        description="Kind of accelerator by its name in the catalogue, for example nvidia-h100; "
        "absent: CPUs only.",
    )
    count: int | None = Field(
        default=None, description="Accelerators of each pod; absent: one.", ge=1, le=64
    )

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.count) || has(self.accelerator)",
                "count is of accelerators: set accelerator, or remove count",
            )
        )
    )


class Place(ApiModel):
    """A place where pods may run: a kind of capacity, a zone, nodes with certain labels."""

    capacity: Literal["Spot", "OnDemand"] | None = Field(
        default=None, description="Spot: cheaper nodes that may be taken away; absent: either."
    )
    region: LabelValue | None = Field(default=None, description="Region of the nodes.")
    zone: LabelValue | None = Field(default=None, description="Zone of the nodes.")
    node_selector: dict[str, Annotated[str, StringConstraints(max_length=63)]] = Field(
        default={}, description="Labels that the nodes have.", max_length=16
    )
    wait_seconds: int | None = Field(
        default=None,
        description="How long all pods of a training may wait here for nodes before the next place "
        "is tried; absent: 600, and in the last place without end.",
        ge=10,
        le=604800,
    )


Placement = Annotated[
    list[Place],
    Field(
        default=[],
        description="Places in the order in which they are tried; all pods run in the same one.",
        max_length=8,
        json_schema_extra=LIST_ATOMIC,
    ),
]


class EnvironmentVariable(ApiModel):
    """One environment variable with a literal value."""

    name: str = Field(
        description="Name of the variable.",
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
    )
    value: str = Field(default="", description="Its value; no secrets here.", max_length=4096)


class Toleration(ApiModel):
    """A toleration, as in a pod."""

    key: str | None = Field(default=None, description="Taint key.", max_length=317)
    operator: Literal["Exists", "Equal"] = Field(
        default="Equal", description="Exists matches every value."
    )
    value: str | None = Field(default=None, description="Taint value.", max_length=63)
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Taint effect; absent matches all."
    )


ShortText = Annotated[str, StringConstraints(max_length=256)]


class Scratch(ApiModel):
    """A volume of each pod's own, which goes with the pod."""

    storage_class_name: Name | None = Field(
        default=None, description="StorageClass of the volume; absent: the cluster's default."
    )
    size: Quantity = Field(description="Size of the volume, for example 500Gi.")


class PodSettings(ApiModel):
    """What the user may add to the pods of this object."""

    labels: dict[str, ShortText] = Field(
        default={}, description="Labels added to the pods.", max_length=32
    )
    annotations: dict[str, Annotated[str, StringConstraints(max_length=1024)]] = Field(
        default={}, description="Annotations added to the pods.", max_length=32
    )
    service_account_name: Name | None = Field(
        default=None, description="Service account of the pods; its token is not mounted."
    )
    image_pull_secrets: list[LocalReference] = Field(
        default=[],
        description="Secrets with which images are pulled.",
        max_length=8,
        json_schema_extra=LIST_MAP_BY_NAME,
    )
    env: list[EnvironmentVariable] = Field(
        default=[],
        description="Environment variables added to the main container.",
        max_length=64,
        json_schema_extra=LIST_MAP_BY_NAME,
    )
    tolerations: list[Toleration] = Field(
        default=[],
        description="Tolerations added to the pods.",
        max_length=16,
        json_schema_extra=LIST_ATOMIC,
    )
    priority_class_name: Name | None = Field(default=None, description="PriorityClass of the pods.")
    scheduler_name: Name | None = Field(default=None, description="Scheduler of the pods.")
    scratch: Scratch | None = Field(
        default=None,
        description="A volume for models and data that the node's disk has no room for; absent: "
        "resources.ephemeralStorage of that disk.",
    )


class ConditionStatus(ApiModel):
    """A condition as in meta/v1."""

    type: str = Field(description="Type of the condition.", max_length=64)
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: int = Field(
        default=0, description="Generation of the object that was judged.", ge=0
    )
    last_transition_time: str = Field(
        default="1970-01-01T00:00:00Z",
        description="When the status last flipped.",
        json_schema_extra={"format": "date-time"},
    )
    reason: str = Field(description="One CamelCase word, see docs/conditions.md.", max_length=64)
    message: str = Field(
        default="", description="A sentence: what, which object, what next.", max_length=4096
    )


class Status(ApiModel):
    """What every status begins with."""

    observed_generation: int = Field(
        default=0, description="Generation that this status speaks of.", ge=0
    )
    conditions: list[ConditionStatus] = Field(
        default=[],
        description="Ready, Reconciling, Stalled, and those of the kind.",
        max_length=16,
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )
