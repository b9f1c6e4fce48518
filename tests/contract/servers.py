"""The object stores under test: real processes on loopback, one free port each.

Nothing is mocked: the code under test speaks HTTP to them as it does to any store. They die with
the test session.
"""

import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmcloud.api.contract import StoreLocation
from llmcloud.api.location import Provider
from tests.contract.tokens import EMAIL, service_account_key, token_endpoint
from tests.localcluster import ensure_npm_program, ensure_tool

ACCESS_KEY = "llmcloud-contract"
SECRET_KEY = "a-secret-of-nobody"
WRONG_KEY = "wrong-secret"
ACCOUNT = "contract"
START_SECONDS = 30
Certificate = tuple[Path, Path]
"""Files with a certificate and its key, PEM."""


@dataclass(frozen=True)
class Server:
    """A running server and who writes its keys: right ones, or wrong ones, as files."""

    name: str
    provider: Provider
    url: str
    credentials: Path
    write_keys: Callable[[Path, bool], Path]

    def location(self, bucket: str, prefix: str = "") -> StoreLocation:
        return StoreLocation(
            name="corpus",
            provider=self.provider,
            bucket=bucket,
            account=ACCOUNT if self.provider == "azure" else None,
            prefix=prefix,
            region="us-east-1" if self.provider == "aws" else None,
            endpoint_url=self.url,
            credentials_path=str(self.credentials),
        )

    def location_with(self, keys: Path, bucket: str) -> StoreLocation:
        """A location whose keys lie in another folder."""
        return self.location(bucket).model_copy(update={"credentials_path": str(keys)})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_keys(folder: Path, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> Path:
    """Keys as a Secret volume lays them down."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "AWS_ACCESS_KEY_ID").write_text(access_key)
    (folder / "AWS_SECRET_ACCESS_KEY").write_text(secret_key)
    return folder


def _aws_keys(folder: Path, right: bool) -> Path:
    return write_keys(folder, secret_key=SECRET_KEY if right else WRONG_KEY)


def _azure_key(folder: Path, right: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    secret = SECRET_KEY if right else WRONG_KEY
    (folder / "AZURE_STORAGE_KEY").write_text(base64.b64encode(secret.encode()).decode())
    return folder


@contextmanager
def versitygw(folder: Path, certificate: Certificate | None = None) -> Iterator[Server]:
    """versitygw over a directory, with versioning; it takes accounts besides the root's."""
    objects, versions, port = folder / "objects", folder / "versions", free_port()
    for needed in (objects, versions, folder / "accounts"):
        needed.mkdir(parents=True)
    command = [str(ensure_tool("versitygw")), "--port", f"127.0.0.1:{port}", "--quiet"]
    command += ["--iam-dir", str(folder / "accounts")]
    scheme = "https" if certificate else "http"
    if certificate:
        command += ["--cert", str(certificate[0]), "--key", str(certificate[1])]
    command += ["posix", "--versioning-dir", str(versions), str(objects)]
    keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    with _running(command, keys, port, folder):
        url, credentials = f"{scheme}://127.0.0.1:{port}", _aws_keys(folder / "keys", True)
        yield Server("versitygw", "aws", url, credentials, _aws_keys)


@contextmanager
def moto(folder: Path) -> Iterator[Server]:
    """moto's S3 server: it implements every protection, and accepts every key."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with _running(command, {}, port, folder):
        url, credentials = f"http://127.0.0.1:{port}", _aws_keys(folder / "keys", True)
        yield Server("moto", "aws", url, credentials, _aws_keys)


@contextmanager
def fake_gcs(folder: Path, certificate: Certificate | None = None) -> Iterator[Server]:
    """fake-gcs-server in memory; the token endpoint beside it checks the keys."""
    port = free_port()
    command = [str(ensure_tool("fake-gcs-server")), "-backend", "memory"]
    scheme = "https" if certificate else "http"
    command += ["-scheme", scheme]
    if certificate:
        command += ["-cert-location", str(certificate[0])]
        command += ["-private-key-location", str(certificate[1])]
    command += ["-host", "127.0.0.1", "-port", str(port), "-log-level", "error"]
    with _running(command, {}, port, folder), token_endpoint() as tokens:

        def write_key(keys: Path, right: bool) -> Path:
            keys.mkdir(parents=True, exist_ok=True)
            owner = EMAIL if right else WRONG_KEY
            (keys / "key.json").write_text(service_account_key(tokens, owner))
            return keys

        url, credentials = f"{scheme}://127.0.0.1:{port}", write_key(folder / "keys", True)
        yield Server("fake-gcs-server", "gcp", url, credentials, write_key)


@contextmanager
def azurite(folder: Path, certificate: Certificate | None = None) -> Iterator[Server]:
    """Azurite's blob service in memory, with one account; over TLS it takes tokens as well."""
    port = free_port()
    command = [str(ensure_npm_program("azurite", "azurite-blob")), "--inMemoryPersistence"]
    command += ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"]
    command += ["--disableTelemetry", "--skipApiVersionCheck"]
    scheme = "https" if certificate else "http"
    if certificate:
        command += ["--oauth", "basic", "--cert", str(certificate[0]), "--key", str(certificate[1])]
    accounts = f"{ACCOUNT}:{base64.b64encode(SECRET_KEY.encode()).decode()}"
    with _running(command, {"AZURITE_ACCOUNTS": accounts}, port, folder):
        url = f"{scheme}://127.0.0.1:{port}/{ACCOUNT}"
        yield Server("azurite", "azure", url, _azure_key(folder / "keys", True), _azure_key)


STARTERS = {
    "versitygw": versitygw,
    "moto": moto,
    "fake-gcs-server": fake_gcs,
    "azurite": azurite,
}
CHECKING = tuple(name for name in STARTERS if name != "moto")
"""Those that refuse a wrong key."""
MARKING = tuple(name for name in STARTERS if name != "fake-gcs-server")
"""Those that keep an owner's mark; fake-gcs-server drops the labels of buckets."""


@contextmanager
def _running(
    command: list[str], environment: dict[str, str], port: int, folder: Path
) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _await_port(process, port, log)
        yield
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text()}")
