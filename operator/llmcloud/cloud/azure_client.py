"""A client of Azure Blob Storage for a location, and the translation of its errors into ours.

The key is read from its file at every request, so a rotated Secret takes effect without a
restart. Answers of the server are never quoted in messages: only their code is.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
)
from azure.identity import (
    ClientAssertionCredential,
    CredentialUnavailableError,
    DefaultAzureCredential,
)
from azure.storage.blob import BlobServiceClient, ContainerClient, LinearRetry
from requests.exceptions import SSLError

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud import refusals
from llmcloud.cloud.base import (
    CHUNK_BYTES,
    CONNECT_TIMEOUT_SECONDS,
    READ_TIMEOUT_SECONDS,
    REQUEST_ATTEMPTS,
)
from llmcloud.cloud.errors import (
    ConfigurationInvalid,
    CredentialsMissing,
    StoreError,
    StoreUnreachable,
    TaskError,
)
from llmcloud.cloud.keys import read_keys
from llmcloud.cloud.transfer import RANGE_BYTES

PART_BYTES: Final = 16 * CHUNK_BYTES
KEYS: Final = ("AZURE_STORAGE_KEY", "AZURE_STORAGE_CONNECTION_STRING")
STORE_FULL: Final = frozenset({"AccountLimitExceeded", "InsufficientStorage"})

# It logs every request, and what a token endpoint says when it refuses.
logging.getLogger("azure").setLevel(logging.ERROR)


def container_client(
    location: StoreLocation, read_timeout_seconds: float = READ_TIMEOUT_SECONDS
) -> ContainerClient:
    """A thread-safe client with explicit timeouts and bounded retries. Connects to nothing yet."""
    if not location.account:
        raise ConfigurationInvalid(
            f"ObjectStore {location.name} names no account; set spec.azure.account."
        )
    url = location.endpoint_url or f"https://{location.account}.blob.core.windows.net"
    policy: dict[str, Any] = {
        "connection_timeout": CONNECT_TIMEOUT_SECONDS,
        "read_timeout": read_timeout_seconds,
        "retry_policy": LinearRetry(
            backoff=1, retry_total=REQUEST_ATTEMPTS - 1, random_jitter_range=1
        ),
        "max_single_get_size": RANGE_BYTES,
        "max_chunk_get_size": RANGE_BYTES,
        "max_single_put_size": PART_BYTES,
        "max_block_size": PART_BYTES,
    }
    if location.ca_file:
        policy["connection_verify"] = location.ca_file
    service = (
        _with_key(url, location.account, Path(location.credentials_path), policy)
        if location.credentials_path
        else BlobServiceClient(url, _identity(location), **policy)
    )
    return service.get_container_client(location.bucket)


def _identity(location: StoreLocation) -> Any:
    """What the pod's token is exchanged for, else its identity in the cloud."""
    if location.endpoint_url and not location.endpoint_url.startswith("https://"):
        raise ConfigurationInvalid(
            f"ObjectStore {location.name} is reached by tokens, which go over https only; correct "
            "spec.endpoint.url, or set spec.credentials.secretRef."
        )
    if location.federation:
        application, url = location.federation.azure, location.federation.token_url
        token = Path(location.federation.token_file)
        assert application is not None
        return ClientAssertionCredential(
            application.tenant_id,
            application.client_id,
            token.read_text,
            authority=url,
            disable_instance_discovery=url is not None,
            connection_verify=location.ca_file or True,
            connection_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retry_total=REQUEST_ATTEMPTS - 1,
        )
    return DefaultAzureCredential(
        exclude_cli_credential=True,
        exclude_developer_cli_credential=True,
        exclude_powershell_credential=True,
        exclude_shared_token_cache_credential=True,
        connection_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retry_total=REQUEST_ATTEMPTS - 1,
    )


def _with_key(url: str, account: str, folder: Path, policy: dict[str, Any]) -> BlobServiceClient:
    """A client that signs every request with the key of that moment."""

    def renew(request: Any) -> None:
        service.credential.account_key = _read_key(folder)

    service = BlobServiceClient(
        url,
        {"account_name": account, "account_key": _read_key(folder)},
        raw_request_hook=renew,
        **policy,
    )
    return service


def _read_key(folder: Path) -> str:
    key, connection = read_keys(folder, *KEYS)
    if not key and not connection:
        raise refusals.key_missing(" or ".join(KEYS))
    if not key:
        fields = dict(part.split("=", 1) for part in connection.split(";") if "=" in part)
        key = fields.get("AccountKey", "")
    if not key:
        raise CredentialsMissing(
            f"The key {KEYS[1]} of the store's credentials has no AccountKey; correct the Secret "
            "that spec.credentials.secretRef names."
        )
    return key


def error_code(error: HttpResponseError) -> str:
    """The code of an answer; the bare HTTP status where the answer had none."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or error.status_code or type(error).__name__)


@contextmanager
def translated(location: StoreLocation, action: str) -> Iterator[None]:
    """Turns Azure's errors into ours; `action` says what was tried on which object."""
    try:
        yield
    except CredentialUnavailableError:
        raise refusals.credentials_missing(location, action) from None
    except ClientAuthenticationError as error:
        raise refusals.credentials_refused(location, action, error_code(error)) from None
    except HttpResponseError as error:
        raise _from_answer(error, location, action) from None
    except AzureError as error:
        raise _unreachable(error, location, action) from None


def _unreachable(error: AzureError, location: StoreLocation, action: str) -> StoreUnreachable:
    if isinstance(error.inner_exception, SSLError):
        return refusals.insecure(location, action, error.inner_exception)
    return refusals.unreachable(location, action, type(error).__name__)


def _from_answer(error: HttpResponseError, location: StoreLocation, action: str) -> TaskError:
    code, status = error_code(error), error.status_code or 0
    if not status:
        # A transfer that broke off again and again comes as an answer without one.
        return _unreachable(error, location, action)
    if code == "ContainerNotFound":
        return refusals.bucket_not_found(location, action)
    if code == "ContainerAlreadyExists":
        return refusals.bucket_taken(location, action)
    if code == "ContainerBeingDeleted":
        return StoreError(
            f"Could not {action}: container {location.bucket} is still being deleted; it is "
            "retried."
        )
    if status in (401, 403):
        return refusals.credentials_refused(location, action, code)
    if code in STORE_FULL or status == 507:
        return refusals.full(action, code)
    if status in (408, 429) or status >= 500:
        return refusals.unavailable(location, action, code)
    return refusals.unexpected(location, action, code)
