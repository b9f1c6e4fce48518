"""What a store refuses, in the same words whichever provider it is of.

`action` says what was tried on which object, `said` is the server's code or status: never its
text, which may hold anything.
"""

from collections.abc import Mapping
from typing import Final

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud.errors import (
    AlreadyExists,
    BucketNotFound,
    BucketNotOwned,
    ConfigurationInvalid,
    CredentialsMissing,
    CredentialsRefused,
    DiskFull,
    ObjectChanged,
    ObjectNotFound,
    StoreError,
    StoreUnreachable,
)

CLOUDS: Final[Mapping[str, str]] = {"aws": "S3", "gcp": "Cloud Storage", "azure": "Blob Storage"}


def server(location: StoreLocation) -> str:
    """What a message calls the server."""
    if location.endpoint_url:
        return location.endpoint_url
    where = location.account or location.region
    return f"{CLOUDS[location.provider]} of {where}" if where else CLOUDS[location.provider]


def bucket_not_found(location: StoreLocation, action: str) -> BucketNotFound:
    return BucketNotFound(
        f"Could not {action}: bucket {location.bucket} does not exist; create it, correct "
        "spec.bucket, or set spec.create: true in a new ObjectStore."
    )


def bucket_taken(location: StoreLocation, action: str) -> BucketNotOwned:
    return BucketNotOwned(
        f"Could not {action}: the name {location.bucket} is taken by another owner; choose "
        "another spec.bucket."
    )


def credentials_missing(location: StoreLocation, action: str) -> CredentialsMissing:
    return CredentialsMissing(
        f"Could not {action}: the pod has no credentials for store {location.name}; set "
        "spec.credentials of the ObjectStore, or give the pod's service account an identity."
    )


def credentials_refused(
    location: StoreLocation, action: str, said: str | int
) -> CredentialsRefused:
    remedy = (
        "let the identity of spec.credentials trust this cluster's tokens, and give it the right"
        if location.federation
        else "correct the Secret of spec.credentials.secretRef, or give its owner the right"
    )
    return CredentialsRefused(
        f"Could not {action}: the store refused the credentials of ObjectStore {location.name} "
        f"({said}); {remedy}."
    )


def key_missing(key: str) -> CredentialsMissing:
    return CredentialsMissing(
        f"The Secret of the store's credentials has no key {key}; add it to the Secret that "
        "spec.credentials.secretRef names."
    )


def insecure(location: StoreLocation, action: str, error: Exception) -> StoreUnreachable:
    """A certificate that is not trusted; a connection may also break where it is encrypted."""
    if "certificate verify failed" not in str(error).lower():
        return unreachable(location, action, type(error).__name__)
    return StoreUnreachable(
        f"Could not {action}: the certificate of {server(location)} is not trusted; set "
        "spec.endpoint.caConfigMapRef of the ObjectStore, or the chart's value caBundle."
    )


def unreachable(location: StoreLocation, action: str, said: str) -> StoreUnreachable:
    return StoreUnreachable(
        f"Could not {action}: {server(location)} cannot be reached ({said}); check "
        f"spec.endpoint.url of ObjectStore {location.name} and the cluster's network policies."
    )


def unavailable(location: StoreLocation, action: str, said: str | int) -> StoreUnreachable:
    return StoreUnreachable(
        f"Could not {action}: {server(location)} answered {said} again and again; it is retried."
    )


def lost(url: str, attempts: int) -> StoreUnreachable:
    return StoreUnreachable(
        f"Could not read {url}: the connection was lost {attempts} times; it is retried."
    )


def full(action: str, said: str | int) -> DiskFull:
    return DiskFull(f"Could not {action}: the store has no room left ({said}); make room in it.")


def unexpected(location: StoreLocation, action: str, said: str | int) -> StoreError:
    return StoreError(
        f"Could not {action}: the store answered {said}; check spec.region and spec.endpoint.url "
        f"of ObjectStore {location.name}.",
        reason=ConfigurationInvalid.reason,
    )


def exists(url: str) -> AlreadyExists:
    return AlreadyExists(f"{url} exists already.")


def changed(url: str) -> ObjectChanged:
    return ObjectChanged(f"{url} changed or went while it was read; it is read again.")


def not_found(url: str) -> ObjectNotFound:
    return ObjectNotFound(f"There is no object {url}; check the path.")


def damaged(url: str) -> StoreUnreachable:
    return StoreUnreachable(f"{url} arrived cut short or damaged; it is read again.")
