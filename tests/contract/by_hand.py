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


def begin_upload(location: StoreLocation, path: str) -> None:
    """Send the first part of an object and no more."""
    key = location.prefix + path
    match location.provider:
        case "aws":
            client, at = s3_client(location), {"Bucket": location.bucket, "Key": key}
            upload = client.create_multipart_upload(**at)["UploadId"]
            client.upload_part(**at, UploadId=upload, PartNumber=1, Body=b"x")
        case "gcp":
            gcs_client(location).bucket(location.bucket).blob(key).create_resumable_upload_session()
        case "azure":
            container_client(location).get_blob_client(key).stage_block("MDE=", b"x")


def unfinished_uploads(location: StoreLocation, path: str) -> set[str] | None:
    """Keys below a path to which an upload was begun and not finished; None: nothing lists them."""
    prefix = location.prefix + path
    match location.provider:
        case "aws":
            found = s3_client(location).list_multipart_uploads(
                Bucket=location.bucket, Prefix=prefix
            )
            return {upload["Key"] for upload in found.get("Uploads", [])}
        case "gcp":
            return None
        case "azure":
            blobs = container_client(location)
            begun = {blob.name for blob in blobs.list_blobs(prefix, include=["uncommittedblobs"])}
            return begun - {blob.name for blob in blobs.list_blobs(prefix)}
