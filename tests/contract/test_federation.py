"""A projected token becomes credentials at a token endpoint, and these are used at the store."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmcloud.api.contract import StoreLocation
from llmcloud.api.location import Federation
from llmcloud.cloud.base import open_store
from llmcloud.cloud.bucket import open_bucket
from llmcloud.cloud.errors import BucketNotFound, CredentialsRefused
from tests.contract import tokens
from tests.contract.certificates import write_certificate
from tests.contract.proxy import Fault, Request, proxied
from tests.contract.servers import Server, azurite


def federated(location: StoreLocation, **members: object) -> StoreLocation:
    federation = Federation.model_validate(members)
    return location.model_copy(update={"credentials_path": None, "federation": federation})


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """The file that the kubelet keeps."""
    file = tmp_path / "token"
    file.write_text(tokens.PROJECTED)
    return file


@pytest.fixture
def on_aws(running: Callable[[str], Server], token: Path) -> Iterator[StoreLocation]:
    """moto takes every key and versitygw no session: the proxy asks for the role's."""
    server = running("moto")
    with (
        tokens.token_endpoint("key-of-the-role", "secret-of-the-role") as url,
        proxied(server.url, "aws") as proxy,
    ):
        proxy.judge = lambda request: None if _is_role(request) else Fault.EXPIRED
        location = server.location("federated").model_copy(update={"endpoint_url": proxy.url})
        yield federated(location, token_file=str(token), token_url=url, aws=tokens.ROLE)


def _is_role(request: Request) -> bool:
    key = "AWS4-HMAC-SHA256 Credential=key-of-the-role/"
    session = request.headers.get("x-amz-security-token")
    return session == tokens.GRANTED and request.headers["authorization"].startswith(key)


@pytest.fixture
def on_gcp(running: Callable[[str], Server], token: Path) -> Iterator[StoreLocation]:
    """fake-gcs-server asks for no token: the proxy does."""
    server = running("fake-gcs-server")
    with tokens.token_endpoint() as url, proxied(server.url, "gcp") as proxy:
        granted = f"Bearer {tokens.GRANTED}"
        proxy.judge = lambda r: None if r.headers["authorization"] == granted else Fault.EXPIRED
        location = server.location("federated").model_copy(update={"endpoint_url": proxy.url})
        yield federated(location, token_file=str(token), token_url=url, gcp=tokens.ACCOUNT)


@pytest.fixture
def on_azure(tmp_path: Path, token: Path) -> Iterator[StoreLocation]:
    """Azurite checks the claims of tokens, over TLS only."""
    certificate = write_certificate(tmp_path)
    with (
        azurite(tmp_path / "server", certificate) as server,
        tokens.token_endpoint(certificate=certificate) as url,
    ):
        location = server.location("federated").model_copy(update={"ca_file": str(certificate[0])})
        members = {"token_file": str(token), "token_url": url, "azure": tokens.APPLICATION}
        yield federated(location, **members)


@pytest.fixture(params=["on_aws", "on_gcp", "on_azure"])
def location(request: pytest.FixtureRequest) -> StoreLocation:
    found: StoreLocation = request.getfixturevalue(request.param)
    return found


def test_a_projected_token_opens_the_store(location: StoreLocation) -> None:
    open_bucket(location).create("uid-a")
    store = open_store(location)
    store.put("a", b"by token")
    assert store.get("a") == b"by token"
    open_bucket(location).delete()


def test_a_token_that_is_not_trusted_is_refused_without_being_told(
    location: StoreLocation, token: Path
) -> None:
    token.write_text("token-of-another-cluster")
    with pytest.raises(CredentialsRefused, match="trust this cluster's tokens") as caught:
        open_store(location).get("a")
    assert "another-cluster" not in str(caught.value)
    assert "wrong-secret" not in str(caught.value)


def test_a_renewed_token_is_read_again(location: StoreLocation, token: Path) -> None:
    token.write_text("expired")
    store = open_store(location)
    with pytest.raises(CredentialsRefused):
        store.get("a")
    token.write_text(tokens.PROJECTED)
    with pytest.raises(BucketNotFound):
        store.get("a")
