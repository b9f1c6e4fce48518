"""Where one ObjectStore is, as its pods are told."""

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from llmcloud.api.base import ApiModel

Provider = Literal["aws", "gcp", "azure"]
SCHEMES: Final[dict[Provider, str]] = {"aws": "s3", "gcp": "gs", "azure": "az"}


Uuid = Annotated[
    str,
    StringConstraints(
        max_length=36, pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
    ),
]


class AwsRole(ApiModel):
    """A role that trusts this cluster's tokens."""

    role_arn: str = Field(
        description="ARN of the role; its trust policy names the audience sts.amazonaws.com.",
        max_length=640,
        pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/\S+$",
    )


class GcpAccount(ApiModel):
    """A service account that an identity pool may act as."""

    workload_identity_provider: str = Field(
        description="Provider of the pool that trusts this cluster's tokens: "
        "projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER.",
        max_length=256,
        pattern=r"^projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+"
        r"/providers/[a-z0-9-]+$",
    )
    service_account: str = Field(
        description="E-mail address of the service account.",
        max_length=128,
        pattern=r"^[a-z0-9-]+@[a-z0-9.-]+\.iam\.gserviceaccount\.com$",
    )


class AzureApplication(ApiModel):
    """An application or managed identity that trusts this cluster's tokens."""

    tenant_id: Uuid = Field(description="The directory (tenant).")
    client_id: Uuid = Field(
        description="The application; its federated credential names the audience "
        "api://AzureADTokenExchange."
    )


class Federation(ApiModel):
    """What a pod's projected token is exchanged for: the one of the store's provider."""

    token_file: str
    token_url: str | None = None
    aws: AwsRole | None = None
    gcp: GcpAccount | None = None
    azure: AzureApplication | None = None


class StoreLocation(ApiModel):
    """One ObjectStore as a pod sees it.

    By keys below `credentials_path`, by `federation`, or else by the pod's own identity.

    `bucket` is the container where the provider is azure, which alone has an `account`.
    """

    name: str
    provider: Provider
    bucket: str
    account: str | None = None
    prefix: str = ""
    region: str | None = None
    endpoint_url: str | None = None
    ca_file: str | None = None
    credentials_path: str | None = None
    federation: Federation | None = None

    def url(self, path: str = "") -> str:
        """For people and for status: s3://, gs:// or az://, then bucket, prefix and path."""
        return f"{SCHEMES[self.provider]}://{self.bucket}/{self.prefix}{path}"
