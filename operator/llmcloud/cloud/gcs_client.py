"""A client of Cloud Storage for a location, and the translation of its errors into ours.

The key is read from its file at every request, so a rotated Secret takes effect without a
restart. Answers of the server are never quoted in messages: only their status is.
"""

import json
import os
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

import requests
import urllib3
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError
from google.api_core.retry import Retry
from google.auth import default, identity_pool
from google.auth.credentials import Credentials
from google.auth.exceptions import (
    DefaultCredentialsError,
    GoogleAuthError,
    OAuthError,
    RefreshError,
    TransportError,
)
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud.storage import Client
from google.cloud.storage.exceptions import DataCorruption
from google.oauth2 import service_account
from requests.adapters import HTTPAdapter

from llmcloud.api.contract import StoreLocation
from llmcloud.api.location import Federation
from llmcloud.cloud import refusals
from llmcloud.cloud.base import (
    CONNECT_TIMEOUT_SECONDS,
    READ_TIMEOUT_SECONDS,
    REQUEST_ATTEMPTS,
)
from llmcloud.cloud.errors import CredentialsMissing, DiskFull, StoreError
from llmcloud.cloud.keys import read_keys

CONNECTIONS: Final = 16
KEY: Final = "key.json"
SCOPE: Final = "https://www.googleapis.com/auth/devstorage.full_control"
STS_URL: Final = "https://sts.googleapis.com"
IAM_URL: Final = "https://iamcredentials.googleapis.com"
ACCOUNT_DOMAIN: Final = ".iam.gserviceaccount.com"

LOST_CONNECTION: Final = (
    ConnectionError,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)
TRANSIENT: Final = frozenset({408, 429, 500, 502, 503, 504})
# Else every client asks for its bucket once more, in a thread, to label traces that nobody reads.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

Call = TypeVar("Call", bound=Callable[..., Any])


class FileCredentials(Credentials):
    """A service account's key lying as a file in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._folder = folder
        self._key = ""

    @property
    def project(self) -> str | None:
        """The project that the service account belongs to."""
        project: str | None = self._account(self._read()).project_id
        return project

    def before_request(
        self, request: Any, method: str, url: str, headers: MutableMapping[str, str]
    ) -> None:
        if self._read() != self._key:
            self.token = None
        super().before_request(  # type: ignore[no-untyped-call]
            request, method, url, headers
        )

    def refresh(self, request: Any) -> None:
        key = self._read()
        account = self._account(key)
        account.refresh(request)
        self.token, self.expiry, self._key = account.token, account.expiry, key

    def _read(self) -> str:
        (key,) = read_keys(self._folder, KEY)
        if not key:
            raise refusals.key_missing(KEY)
        return key

    def _account(self, key: str) -> Any:
        try:
            return service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
                json.loads(key), scopes=[SCOPE]
            )
        except (GoogleAuthError, ValueError, AttributeError):
            raise CredentialsMissing(
                f"The key {KEY} of the store's credentials is no key of a service account in "
                "JSON; correct the Secret that spec.credentials.secretRef names."
            ) from None


class _Adapter(HTTPAdapter):
    """Trusts the location's certificates, whatever the environment says.

    What asks for tokens brings one number of seconds for all, of two minutes: it is bounded.
    """

    def __init__(self, ca_file: str | None) -> None:
        super().__init__(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS)
        self._ca_file = ca_file

    def send(self, request: Any, *arguments: Any, **options: Any) -> Any:
        if self._ca_file:
            options["verify"] = self._ca_file
        if isinstance(seconds := options.get("timeout"), int | float):
            limits = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
            options["timeout"] = tuple(min(seconds, limit) for limit in limits)
        return super().send(request, *arguments, **options)


def gcs_client(location: StoreLocation) -> Client:
    """A thread-safe client. Without a key it looks for the pod's own identity."""
    tokens: Any = Request(_mounted(requests.Session(), location))
    credentials: Any
    if location.credentials_path:
        credentials = FileCredentials(Path(location.credentials_path))
        project = credentials.project
    elif location.federation:
        credentials, project = _federated(location.federation)
    else:
        credentials, project = default(scopes=[SCOPE], request=tokens)
    session: Any = AuthorizedSession(  # type: ignore[no-untyped-call]
        credentials, auth_request=tokens
    )
    return Client(
        project=project,
        credentials=credentials,
        client_options=ClientOptions(api_endpoint=location.endpoint_url),
        _http=_mounted(session, location),
    )


def _mounted(session: requests.Session, location: StoreLocation) -> requests.Session:
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(location.ca_file))
    return session


def _federated(federation: Federation) -> tuple[Credentials, str]:
    """The service account, and its project; the token's file is read at every exchange."""
    assert federation.gcp is not None
    email, pool = federation.gcp.service_account, federation.gcp.workload_identity_provider
    account = f"/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
    credentials: Any = identity_pool.Credentials(  # type: ignore[no-untyped-call]
        audience=f"//iam.googleapis.com/{pool}",
        subject_token_type="urn:ietf:params:oauth:token-type:jwt",
        token_url=f"{federation.token_url or STS_URL}/v1/token",
        credential_source={"file": federation.token_file},
        service_account_impersonation_url=f"{federation.token_url or IAM_URL}{account}",
        scopes=[SCOPE],
    )
    domain = email.split("@")[1].removesuffix(ACCOUNT_DOMAIN)
    project, _, organisation = domain.partition(".")
    return credentials, f"{organisation}:{project}" if organisation else project


def retry(call: Call) -> Call:
    """The `retry` of every call: at most REQUEST_ATTEMPTS, however long they take."""
    failures = count(1)
    bounded: Any = Retry(
        predicate=lambda error: _transient(error) and next(failures) < REQUEST_ATTEMPTS,
        initial=0.5,
        maximum=4,
        timeout=None,
    )
    wrapped: Call = bounded(call)
    return wrapped


def policy(read_timeout_seconds: float = READ_TIMEOUT_SECONDS) -> dict[str, Any]:
    """What every call is given."""
    return {"retry": retry, "timeout": (CONNECT_TIMEOUT_SECONDS, read_timeout_seconds)}


def _transient(error: BaseException) -> bool:
    if isinstance(error, GoogleAPICallError):
        return error.code in TRANSIENT
    response = getattr(error, "response", None)  # of a transfer
    if isinstance(response, requests.Response):
        return response.status_code in TRANSIENT
    return isinstance(error, LOST_CONNECTION) and not isinstance(
        error, requests.exceptions.SSLError
    )


@contextmanager
def translated(location: StoreLocation, action: str) -> Iterator[None]:
    """Turns Google's errors into ours; `action` says what was tried on which object."""
    try:
        yield
    except GoogleAPICallError as error:
        raise _from_answer(int(error.code or 0), location, action) from None
    except DefaultCredentialsError:
        raise refusals.credentials_missing(location, action) from None
    except (OAuthError, RefreshError):
        raise refusals.credentials_refused(location, action, "no token is given for them") from None
    except requests.exceptions.SSLError as error:
        raise refusals.insecure(location, action, error) from None
    except (*LOST_CONNECTION, TransportError, DataCorruption) as error:
        raise refusals.unreachable(location, action, type(error).__name__) from None


def _from_answer(status: int, location: StoreLocation, action: str) -> StoreError | DiskFull:
    """404: what is asked for an object handles that of the object itself."""
    if status == 404:
        return refusals.bucket_not_found(location, action)
    if status in (401, 403):
        return refusals.credentials_refused(location, action, status)
    if status == 507:
        return refusals.full(action, status)
    if status in TRANSIENT or status >= 500:
        return refusals.unavailable(location, action, status)
    return refusals.unexpected(location, action, status)
