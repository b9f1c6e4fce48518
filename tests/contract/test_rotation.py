"""Keys are rotated in the middle of a transfer: the rest goes with the new ones.

The server is real and so is the rotation: the account of the old keys is removed from it.
"""

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from llmcloud.cloud.base import CHUNK_BYTES, open_store
from llmcloud.cloud.errors import CredentialsRefused
from tests.contract.proxy import Fault, Request, proxied
from tests.contract.servers import ACCESS_KEY, SECRET_KEY, Server, write_keys
from tests.localcluster import ensure_tool

LARGE = random.Random(1).randbytes(5 * CHUNK_BYTES)
PARTS = 6
PART_BYTES = 16 * CHUNK_BYTES


@dataclass(frozen=True)
class Accounts:
    """Accounts of a versitygw; `keys` is a pod's Secret volume."""

    server: Server
    keys: Path

    def add(self, name: str) -> None:
        self._admin("create-user", "--access", name, "--secret", SECRET_KEY, "--role", "admin")

    def remove(self, name: str) -> None:
        self._admin("delete-user", "--access", name)

    def hand_out(self, name: str) -> None:
        """What the Secret holds from now on, swapped as the kubelet does it."""
        generation = uuid4().hex
        write_keys(self.keys / generation, name, SECRET_KEY)
        (self.keys / f"{generation}-link").symlink_to(generation)
        os.replace(self.keys / f"{generation}-link", self.keys / "..data")

    def _admin(self, *command: str) -> None:
        root = {"ADMIN_ACCESS_KEY_ID": ACCESS_KEY, "ADMIN_SECRET_ACCESS_KEY": SECRET_KEY}
        subprocess.run(
            [str(ensure_tool("versitygw")), "admin", "--endpoint-url", self.server.url, *command],
            env=os.environ | root,
            check=True,
            capture_output=True,
        )


@pytest.fixture
def accounts(versitygw: Server, tmp_path: Path) -> Iterator[Accounts]:
    """Two accounts, the first of which is in the Secret."""
    accounts = Accounts(versitygw, tmp_path / "keys")
    for name in ("old", "new"):
        accounts.add(name)
    accounts.hand_out("old")
    yield accounts
    accounts.remove("new")


def account_of(request: Request) -> str:
    return request.headers["authorization"].partition("Credential=")[2].partition("/")[0]


def test_a_read_goes_on_with_the_new_keys(
    accounts: Accounts, shared_bucket: Callable[[Server], str]
) -> None:
    server, path = accounts.server, uuid4().hex
    location = server.location(shared_bucket(server))
    open_store(location).put(path, LARGE)
    with proxied(server.url, "aws") as proxy:
        breaks = [Fault.TRUNCATE]
        proxy.judge = lambda request: breaks.pop() if breaks else None
        changes = {"endpoint_url": proxy.url, "credentials_path": str(accounts.keys)}
        chunks = open_store(location.model_copy(update=changes)).open(path)
        body = next(chunks)
        accounts.hand_out("new")
        accounts.remove("old")
        assert body + b"".join(chunks) == LARGE
    assert [account_of(request) for request in proxy.requests] == ["old", "new"]
    accounts.hand_out("old")
    with pytest.raises(CredentialsRefused):
        open_store(location.model_copy(update={"credentials_path": str(accounts.keys)})).get(path)


def test_an_upload_in_parts_ends_with_the_new_keys(
    accounts: Accounts, shared_bucket: Callable[[Server], str], tmp_path: Path
) -> None:
    server, path, file = accounts.server, uuid4().hex, tmp_path / "file"
    with file.open("wb") as sparse:
        sparse.truncate(PARTS * PART_BYTES)
    location = server.location(shared_bucket(server))
    with proxied(server.url, "aws") as proxy:

        def judge(request: Request) -> None:
            if "partNumber=" in request.target:
                accounts.hand_out("new")
            elif request.method == "POST" and "uploadId=" in request.target:
                accounts.remove("old")  # all parts have been answered

        proxy.judge = judge
        changes = {"endpoint_url": proxy.url, "credentials_path": str(accounts.keys)}
        open_store(location.model_copy(update=changes)).put(path, file)
    head = open_store(location).head(path)
    assert head is not None
    assert head.bytes == PARTS * PART_BYTES
    by = [account_of(request) for request in proxy.requests if "partNumber=" in request.target]
    assert set(by) == {"old", "new"}
    assert account_of(proxy.requests[-1]) == "new"
