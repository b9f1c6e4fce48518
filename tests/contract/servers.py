"""The object stores under test: real processes on loopback, one free port each.

Nothing is mocked: the code under test speaks HTTP to them as it does to any store. They die with
the test session.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmcloud.api.contract import StoreLocation
from tests.localcluster import ensure_tool

ACCESS_KEY = "llmcloud-contract"
SECRET_KEY = "a-secret-of-nobody"
START_SECONDS = 30


@dataclass(frozen=True)
class Server:
    """A running S3 server and a folder that its keys lie in as files."""

    name: str
    url: str
    credentials: Path

    def location(self, bucket: str, prefix: str = "") -> StoreLocation:
        return StoreLocation(
            name="corpus",
            provider="aws",
            bucket=bucket,
            prefix=prefix,
            region="us-east-1",
            endpoint_url=self.url,
            credentials_path=str(self.credentials),
        )


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


@contextmanager
def versitygw(folder: Path) -> Iterator[Server]:
    """versitygw over a directory, with versioning."""
    objects, versions, port = folder / "objects", folder / "versions", free_port()
    objects.mkdir(parents=True)
    versions.mkdir()
    command = [str(ensure_tool("versitygw")), "--port", f"127.0.0.1:{port}", "--quiet"]
    command += ["posix", "--versioning-dir", str(versions), str(objects)]
    keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    with _running(command, keys, port, folder):
        yield Server("versitygw", f"http://127.0.0.1:{port}", write_keys(folder / "keys"))


@contextmanager
def moto(folder: Path) -> Iterator[Server]:
    """moto's S3 server: it implements every protection, and accepts every key."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with _running(command, {}, port, folder):
        yield Server("moto", f"http://127.0.0.1:{port}", write_keys(folder / "keys"))


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
