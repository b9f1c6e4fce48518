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
from botocore.credentials import (
    AssumeRoleWithWebIdentityCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    Credentials,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from botocore.loaders import create_loader
from botocore.utils import FileWebIdentityTokenLoader

from llmcloud.api.contract import StoreLocation
from llmcloud.api.location import Federation
from llmcloud.cloud import refusals
from llmcloud.cloud.base import (
    CONNECT_TIMEOUT_SECONDS,
    READ_TIMEOUT_SECONDS,
    REQUEST_ATTEMPTS,
)
from llmcloud.cloud.errors import DiskFull, StoreError
from llmcloud.cloud.keys import read_keys

CONNECTIONS: Final = 16
DEFAULT_REGION: Final = "us-east-1"
KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
SESSION: Final = "llmcloud"
POLICY: Final = Config(
    connect_timeout=CONNECT_TIMEOUT_SECONDS,
    read_timeout=READ_TIMEOUT_SECONDS,
    retries={"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS},
    max_pool_connections=CONNECTIONS,
)

CREDENTIALS_REFUSED: Final = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "ExpiredTokenException",
        "Forbidden",
        "IDPRejectedClaim",
        "InvalidAccessKeyId",
        "InvalidIdentityToken",
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
        access, secret, token = read_keys(self._folder, *KEYS)
        if not access or not secret:
            raise refusals.key_missing(KEYS[1] if access else KEYS[0])
        return access, secret, token or None


class RoleProvider(CredentialProvider):  # type: ignore[misc]
    """A role, taken with the token that lies in a file at that moment."""

    METHOD = "llmcloud-role"

    def __init__(self, session: Any, federation: Federation, options: dict[str, Any]) -> None:
        super().__init__()
        self._session = session
        self._federation = federation
        self._options = options

    def load(self) -> DeferredRefreshableCredentials:
        assert self._federation.aws is not None
        fetcher = AssumeRoleWithWebIdentityCredentialFetcher(
            client_creator=self._sts,
            web_identity_token_loader=FileWebIdentityTokenLoader(self._federation.token_file),
            role_arn=self._federation.aws.role_arn,
            extra_args={"RoleSessionName": SESSION},
        )
        return DeferredRefreshableCredentials(
            method=self.METHOD, refresh_using=fetcher.fetch_credentials
        )

    def _sts(self, service: str, config: Config) -> Any:
        options = {**self._options, "config": POLICY.merge(config)}
        return self._session.create_client(
            service, endpoint_url=self._federation.token_url, **options
        )


class FileCredentialProvider(CredentialProvider):  # type: ignore[misc]
    """The only provider of a session whose keys lie in a folder."""

    METHOD = "llmcloud-files"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def load(self) -> FileCredentials:
        return FileCredentials(self._folder)


def s3_client(location: StoreLocation, read_timeout_seconds: float = READ_TIMEOUT_SECONDS) -> Any:
    """A thread-safe client with explicit timeouts and bounded retries. Connects to nothing yet."""
    session = botocore.session.Session()
    session.register_component("data_loader", SERVICE_MODELS)
    # Of the clients that look for the pod's own identity.
    session.set_default_client_config(POLICY)
    session.set_config_variable("metadata_service_timeout", CONNECT_TIMEOUT_SECONDS)
    session.set_config_variable("metadata_service_num_attempts", REQUEST_ATTEMPTS)
    region = location.region or session.get_config_variable("region") or DEFAULT_REGION
    options = {"region_name": region, "verify": location.ca_file}
    provider: CredentialProvider | None = None
    if location.credentials_path:
        provider = FileCredentialProvider(Path(location.credentials_path))
    elif location.federation:
        provider = RoleProvider(session, location.federation, options)
    if provider is not None:
        session.register_component("credential_provider", CredentialResolver([provider]))
    style = Config(
        read_timeout=read_timeout_seconds,
        s3={"addressing_style": "path" if location.endpoint_url else "auto"},
    )
    return boto3.Session(botocore_session=session).client(
        "s3", endpoint_url=location.endpoint_url, config=POLICY.merge(style), **options
    )


def error_code(error: ClientError) -> str:
    """The code of an answer; the bare HTTP status where the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def http_status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def not_implemented(error: ClientError) -> bool:
    """The store does not know this call at all."""
    return http_status(error) in (405, 501) or error_code(error) in NOT_IMPLEMENTED


def abort_uploads(client: Any, bucket: str, prefix: str = "") -> None:
    """Give up what was begun to be uploaded in parts below a prefix, and never finished."""
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for upload in page.get("Uploads", []):
            try:
                client.abort_multipart_upload(
                    Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
            except ClientError as error:
                if error_code(error) != "NoSuchUpload":  # it ended in this moment
                    raise


@contextmanager
def translated(location: StoreLocation, action: str) -> Iterator[None]:
    """Turns boto's errors into ours; `action` says what was tried on which object."""
    try:
        yield
    except ClientError as error:
        raise _from_answer(error, location, action) from None
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError):
        raise refusals.credentials_missing(location, action) from None
    except SSLError as error:
        raise refusals.insecure(location, action, error) from None
    except BotoCoreError as error:
        raise refusals.unreachable(location, action, type(error).__name__) from None


def _from_answer(error: ClientError, location: StoreLocation, action: str) -> StoreError | DiskFull:
    code, status = error_code(error), http_status(error)
    if code == "NoSuchBucket":
        return refusals.bucket_not_found(location, action)
    if code in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
        return refusals.bucket_taken(location, action)
    if code in CREDENTIALS_REFUSED or status in (401, 403):
        return refusals.credentials_refused(location, action, code or status)
    if code in STORE_FULL or status == 507:
        return refusals.full(action, code)
    if code in THROTTLED or status >= 500:
        return refusals.unavailable(location, action, code or status)
    return refusals.unexpected(location, action, code or status)
