"""A boto3 client for a location, and the translation of its errors into ours.

Credentials are read from files at every request, so a rotated Secret takes effect without a
restart. Answers of the server are never quoted in messages: only their code is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import CredentialProvider, CredentialResolver, Credentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from botocore.loaders import create_loader

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud.errors import (
    AlreadyExists,
    BucketNotFound,
    BucketNotOwned,
    ConfigurationInvalid,
    CredentialsMissing,
    CredentialsRefused,
    DiskFull,
    ObjectNotFound,
    StoreError,
    StoreUnreachable,
)

CONNECT_TIMEOUT_SECONDS: Final = 2
READ_TIMEOUT_SECONDS: Final = 60
REQUEST_ATTEMPTS: Final = 4
CONNECTIONS: Final = 16
DEFAULT_REGION: Final = "us-east-1"

CREDENTIALS_REFUSED: Final = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "Forbidden",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "XAdminUserNotFound",
    }
)
NOT_IMPLEMENTED: Final = frozenset(
    {"MethodNotAllowed", "NotImplemented", "UnsupportedOperation", "VersioningNotConfigured"}
)
STORE_FULL: Final = frozenset({"NoSpaceLeftOnDevice", "QuotaExceeded", "XMinioStorageFull"})
THROTTLED: Final = frozenset({"RequestTimeout", "SlowDown", "Throttling", "TooManyRequests"})
SERVICE_MODELS: Final = create_loader()
"""Shared by all clients: it caches the description of S3, which takes long to parse."""


class FileCredentials(Credentials):  # type: ignore[misc]
    """Keys lying as files in a folder, as a Secret volume lays them down."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        super().__init__(*self._read(), method="llmcloud-files")

    def get_frozen_credentials(self) -> Any:
        self.access_key, self.secret_key, self.token = self._read()
        return super().get_frozen_credentials()

    def _read(self) -> tuple[str, str, str | None]:
        # The kubelet swaps the link ..data: read all keys of one generation.
        generation = (self._folder / "..data").resolve()
        folder = generation if generation.is_dir() else self._folder

        def text(key: str) -> str:
            file = folder / key
            return file.read_text().strip() if file.is_file() else ""

        access, secret = text("AWS_ACCESS_KEY_ID"), text("AWS_SECRET_ACCESS_KEY")
        if not access or not secret:
            missing = "AWS_SECRET_ACCESS_KEY" if access else "AWS_ACCESS_KEY_ID"
            raise CredentialsMissing(
                f"The Secret of the store's credentials has no key {missing}; "
                "add it to the Secret that spec.credentials.secretRef names."
            )
        return access, secret, text("AWS_SESSION_TOKEN") or None


class FileCredentialProvider(CredentialProvider):  # type: ignore[misc]
    """The only provider of a session whose keys lie in a folder."""

    METHOD = "llmcloud-files"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def load(self) -> FileCredentials:
        return FileCredentials(self._folder)


def s3_client(location: StoreLocation) -> Any:
    """A thread-safe client with explicit timeouts and bounded retries. Connects to nothing yet."""
    session = botocore.session.Session()
    session.register_component("data_loader", SERVICE_MODELS)
    if location.credentials_path:
        provider = FileCredentialProvider(Path(location.credentials_path))
        session.register_component("credential_provider", CredentialResolver([provider]))
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS},
        max_pool_connections=CONNECTIONS,
        s3={"addressing_style": "path" if location.endpoint_url else "auto"},
    )
    return boto3.Session(botocore_session=session).client(
        "s3",
        region_name=location.region or session.get_config_variable("region") or DEFAULT_REGION,
        endpoint_url=location.endpoint_url,
        verify=location.ca_file,
        config=config,
    )


def error_code(error: ClientError) -> str:
    """The code of an answer; the bare HTTP status where the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def http_status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def not_implemented(error: ClientError) -> bool:
    """The store does not know this call at all."""
    return http_status(error) in (405, 501) or error_code(error) in NOT_IMPLEMENTED


@contextmanager
def translated(location: StoreLocation, action: str) -> Iterator[None]:
    """Turns boto's errors into ours; `action` says what was tried on which object."""
    try:
        yield
    except ClientError as error:
        raise _from_answer(error, location, action) from None
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError):
        raise CredentialsMissing(
            f"Could not {action}: the pod has no credentials for store {location.name}; set "
            "spec.credentials.secretRef of the ObjectStore, or give the pod's service account "
            "an identity."
        ) from None
    except SSLError:
        raise StoreUnreachable(
            f"Could not {action}: the certificate of {_endpoint(location)} is not trusted; set "
            "spec.endpoint.caConfigMapRef of the ObjectStore."
        ) from None
    except BotoCoreError as error:
        raise StoreUnreachable(
            f"Could not {action}: {_endpoint(location)} cannot be reached "
            f"({type(error).__name__}); check spec.endpoint.url of ObjectStore {location.name} "
            "and the cluster's network policies."
        ) from None


def _endpoint(location: StoreLocation) -> str:
    return location.endpoint_url or f"S3 in {location.region or 'its default region'}"


def _from_answer(error: ClientError, location: StoreLocation, action: str) -> StoreError | DiskFull:
    code, status = error_code(error), http_status(error)
    prefix = f"Could not {action}:"
    if code == "NoSuchBucket":
        return BucketNotFound(
            f"{prefix} bucket {location.bucket} does not exist; create it, correct spec.bucket, "
            f"or set spec.create: true in a new ObjectStore."
        )
    if code in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
        return BucketNotOwned(
            f"{prefix} the name {location.bucket} is taken by another owner; choose another "
            "spec.bucket."
        )
    if code in CREDENTIALS_REFUSED or status in (401, 403):
        return CredentialsRefused(
            f"{prefix} the store refused the credentials of ObjectStore {location.name} "
            f"({code or status}); correct the Secret of spec.credentials.secretRef, or give its "
            "owner the right."
        )
    if code == "PreconditionFailed" or status == 412:
        return AlreadyExists(f"{prefix} an object of that name exists.")
    if code in STORE_FULL or status == 507:
        return DiskFull(f"{prefix} the store has no room left ({code}); make room in it.")
    if code in THROTTLED or status >= 500:
        return StoreUnreachable(
            f"{prefix} {_endpoint(location)} answered {code or status} after "
            f"{REQUEST_ATTEMPTS} attempts; it is retried."
        )
    if status == 404:
        return ObjectNotFound(f"{prefix} there is no such object.")
    return StoreError(
        f"{prefix} the store answered {code or status}; check spec.region and spec.endpoint.url "
        f"of ObjectStore {location.name}.",
        reason=ConfigurationInvalid.reason,
    )
