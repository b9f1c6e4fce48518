"""ObjectStore: where datasets, checkpoints and models live."""

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from llmcloud.api.base import ApiModel
from llmcloud.api.common import (
    ConfigMapKeyReference,
    LocalReference,
    Name,
    ObjectPath,
    Status,
    exactly_one_of,
    rules,
)
from llmcloud.api.location import AwsRole, AzureApplication, GcpAccount, Provider


class Endpoint(ApiModel):
    """A server other than the cloud's own that speaks the provider's protocol."""

    url: str = Field(
        description="http:// or https:// URL of the server; azure: of the account.",
        max_length=512,
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
    )
    token_url: str | None = Field(
        default=None,
        description="http:// or https:// URL of the server that exchanges federated tokens; "
        "absent: the cloud's own.",
        max_length=512,
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
    )
    ca_config_map_ref: ConfigMapKeyReference | None = Field(
        default=None, description="CA certificates (PEM) that sign the servers' certificates."
    )


class Azure(ApiModel):
    """What a container's name alone does not tell."""

    account: str = Field(
        description="Name of the storage account.",
        min_length=3,
        max_length=24,
        pattern=r"^[a-z0-9]+$",
    )


class Credentials(ApiModel):
    """How pods sign in to the store."""

    secret_ref: LocalReference | None = Field(
        default=None,
        description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (aws), key.json of a "
        "service account (gcp), or AZURE_STORAGE_KEY or AZURE_STORAGE_CONNECTION_STRING (azure).",
    )
    aws: AwsRole | None = Field(
        default=None, description="By a token of the pod's service account (aws)."
    )
    gcp: GcpAccount | None = Field(
        default=None, description="By a token of the pod's service account (gcp)."
    )
    azure: AzureApplication | None = Field(
        default=None, description="By a token of the pod's service account (azure)."
    )

    model_config = ConfigDict(
        json_schema_extra=rules(exactly_one_of("secretRef", "aws", "gcp", "azure"))
    )


class ObjectStoreSpec(ApiModel):
    """Which bucket, and how it is reached."""

    mutable: ClassVar[frozenset[str]] = frozenset(
        {"reclaimPolicy", "credentials", "serviceAccountName"}
    )

    provider: Provider = Field(description="Whose protocol the store speaks.")
    bucket: str = Field(
        description="Name of the bucket; azure: of the container.",
        min_length=3,
        max_length=63,
        pattern=r"^[a-z0-9][-a-z0-9._]*[a-z0-9]$",
    )
    prefix: ObjectPath = Field(
        default="", description="Everything of this store lies below it; ends in a slash."
    )
    region: str | None = Field(
        default=None,
        description="Region of the bucket; azure: the account's.",
        max_length=64,
        pattern=r"^[a-z0-9-]+$",
    )
    azure: Azure | None = Field(default=None, description="With provider azure only.")
    endpoint: Endpoint | None = Field(
        default=None, description="Another server of that protocol; absent: the cloud's own."
    )
    create: bool = Field(
        default=False,
        description="Create the bucket if it is missing: encrypted, versioned, private, labelled "
        "with its owner.",
    )
    reclaim_policy: Literal["Retain", "Delete"] = Field(
        default="Retain",
        description="Delete removes the bucket with this object, if this object created it and "
        "nothing lies in it beside spec.prefix.",
    )
    credentials: Credentials | None = Field(
        default=None, description="Absent: the pod's own identity."
    )
    service_account_name: Name | None = Field(
        default=None, description="Service account of the provisioning Job."
    )

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.reclaimPolicy != 'Delete' || self.create",
                "reclaimPolicy Delete needs create: true; a bucket that llmcloud did not create "
                "is never deleted",
            ),
            (
                "(self.provider == 'azure') == has(self.azure)",
                "provider azure needs azure.account, the others have none: set or remove "
                "spec.azure",
            ),
            (
                "!has(self.credentials) || has(self.credentials.secretRef) || "
                "(self.provider == 'aws' && has(self.credentials.aws)) || "
                "(self.provider == 'gcp' && has(self.credentials.gcp)) || "
                "(self.provider == 'azure' && has(self.credentials.azure))",
                "spec.credentials are of another cloud than spec.provider: set those of the "
                "provider, or secretRef",
            ),
            (
                "self.provider == 'gcp' || !self.bucket.contains('_')",
                "only buckets of gcp have underscores in their names: correct spec.bucket",
            ),
            (
                "self.provider != 'azure' || self.bucket.matches('^[a-z0-9]+(-[a-z0-9]+)*$')",
                "names of containers have lower-case letters, digits and single dashes: correct "
                "spec.bucket",
            ),
            (
                "!self.bucket.contains('..') && !self.bucket.contains('.-') && "
                "!self.bucket.contains('-.')",
                "a dot in a bucket's name stands between letters or digits: correct spec.bucket",
            ),
        )
    )


class Protections(ApiModel):
    """Which protections hold. Absent: the store cannot give it, or does not tell these
    credentials."""

    encrypted: bool | None = Field(default=None, description="Encrypted at rest by default.")
    versioned: bool | None = Field(
        default=None,
        description="Overwritten and deleted objects are kept; in a bucket that this object "
        "created for 7 days, unless it has a rule of yours about them.",
    )
    private: bool | None = Field(default=None, description="Public access is blocked.")
    uploads_expire: bool | None = Field(
        default=None, description="Uploads that are never finished go by themselves."
    )
    owned: bool | None = Field(
        default=None,
        description="The bucket carries the mark of this object, which created it: only then is "
        "it ever changed or removed.",
    )


class ObjectStoreStatus(Status):
    """What provisioning found."""

    url: str | None = Field(default=None, description="URL of bucket and prefix.", max_length=1024)
    provisioned: bool = Field(default=False, description="The bucket exists and can be used.")
    writable: bool | None = Field(
        default=None,
        description="Objects can be written, not only read; a bucket that is not to be created "
        "may be read alone.",
    )
    protections: Protections | None = Field(
        default=None, description="Which protections hold in the bucket."
    )
    attempt: int = Field(default=0, description="Number of the last provisioning Job.", ge=0)
    recipe: str | None = Field(
        default=None, description="Digest of what was provisioned.", max_length=71
    )
