"""Where one ObjectStore is, as its pods are told."""

from typing import Final, Literal

from llmcloud.api.base import ApiModel

Provider = Literal["aws", "gcp", "azure"]
SCHEMES: Final[dict[Provider, str]] = {"aws": "s3", "gcp": "gs", "azure": "az"}


class StoreLocation(ApiModel):
    """One ObjectStore as a pod sees it; without `credentials_path` by the pod's own identity.

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

    def url(self, path: str = "") -> str:
        """For people and for status: s3://, gs:// or az://, then bucket, prefix and path."""
        return f"{SCHEMES[self.provider]}://{self.bucket}/{self.prefix}{path}"
