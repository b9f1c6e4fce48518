"""What people do to a bucket beside llmcloud, by each provider's own SDK."""

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud.azure_client import container_client
from llmcloud.cloud.gcs_client import gcs_client
from llmcloud.cloud.s3_client import s3_client


def create_bucket(location: StoreLocation) -> None:
    """Create it bare: no mark, no protection."""
    match location.provider:
        case "aws":
            s3_client(location).create_bucket(Bucket=location.bucket)
        case "gcp":
            gcs_client(location).create_bucket(location.bucket)
        case "azure":
            container_client(location).create_container()


def weaken(location: StoreLocation) -> str:
    """Take a protection away; returns its name."""
    match location.provider:
        case "aws":
            s3_client(location).put_bucket_versioning(
                Bucket=location.bucket, VersioningConfiguration={"Status": "Suspended"}
            )
            return "versioned"
        case "gcp":
            bucket = gcs_client(location).get_bucket(location.bucket)
            bucket.versioning_enabled = False
            bucket.patch()
            return "versioned"
        case "azure":
            container_client(location).set_container_access_policy({}, public_access="blob")
            return "private"
