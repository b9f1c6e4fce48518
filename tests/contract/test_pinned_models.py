"""A job's model is the same in every attempt: the hub's branch may move, a folder be overwritten.

The hub's part runs in a process of its own, told by the variables that pods have.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmcloud.api.contract import HubInput, ModelInput, StoredModel, StoreLocation, TrainingTask
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import DigestMismatch
from llmcloud_runtime.origin import Source, fetch_pinned
from tests.contract.certificates import write_certificate
from tests.contract.website import Site, website

on_one_store = pytest.mark.parametrize("server", ["versitygw"], indirect=True)
pytestmark = on_one_store

NAME = "team/base"
FIRST, SECOND = "a" * 40, "b" * 40
RECIPE = "sha256:" + "4" * 64
PIN = f"out/inputs/{'4' * 64}/model.json"
PROGRAM = """
import dataclasses, json, sys
from pathlib import Path
from llmcloud.api.contract import TrainingTask
from llmcloud.cloud.errors import TaskError
from llmcloud_runtime.origin import fetch_pinned
task = TrainingTask.model_validate_json(sys.argv[1])
try:
    source = fetch_pinned(task, "model", task.model, Path(sys.argv[2]))
    print(json.dumps(dataclasses.asdict(source) | {"folder": ""}))
except TaskError as error:
    print(json.dumps({"reason": error.reason, "message": str(error)}))
"""


def task(location: StoreLocation, model: ModelInput, recipe: str = RECIPE) -> TrainingTask:
    return TrainingTask(
        job="train", namespace="ns", owner_uid="uid", attempt=1, recipe=recipe, code_version="1",
        task="causal-lm", method="lora", model=model, output=location, output_path="out/",
        max_steps=1, learning_rate=0.1, warmup_steps=0, weight_decay=0.0, global_batch_size=1,
        precision="auto", seed=0, checkpoint_keep=1, metrics=[],
    )  # fmt: skip


def in_store(location: StoreLocation) -> ModelInput:
    return ModelInput(stored=StoredModel(store=location, path="base/"))


def fetched(location: StoreLocation, folder: Path, recipe: str = RECIPE) -> Source:
    model = in_store(location)
    source = fetch_pinned(task(location, model, recipe), "model", model, folder)
    assert source is not None
    return source


def fill(store: Store, weights: bytes) -> None:
    store.put("base/config.json", b"{}")
    store.put("base/model.safetensors", weights)


def test_a_folder_is_pinned_by_its_digest_and_read_again(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    fill(store, b"weights")
    first = fetched(location, tmp_path / "one")
    assert json.loads(store.get(PIN)) == {"url": store.url("base/"), "digest": first.digest}
    assert fetched(location, tmp_path / "two").digest == first.digest


def test_a_folder_that_was_overwritten_is_refused_and_restored_is_taken(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    fill(store, b"weights")
    first = fetched(location, tmp_path / "one")
    fill(store, b"other weights")
    with pytest.raises(DigestMismatch, match="This job began with the model"):
        fetched(location, tmp_path / "two")
    assert fetched(location, tmp_path / "three", "sha256:" + "5" * 64).digest != first.digest
    fill(store, b"weights")
    assert fetched(location, tmp_path / "four").digest == first.digest


def test_a_folder_that_is_gone_is_refused_by_what_the_job_began_with(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    fill(store, b"weights")
    fetched(location, tmp_path / "one")
    for name in ("config.json", "model.safetensors"):
        store.delete(f"base/{name}")
    with pytest.raises(DigestMismatch, match="not there any more"):
        fetched(location, tmp_path / "two")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Site]:
    with website(write_certificate(tmp_path / "tls")) as site:
        publish(site, FIRST, b"first weights")
        yield site


def publish(site: Site, commit: str, weights: bytes) -> None:
    """A commit of the repository, at which its main branch is from now on."""
    files = {"config.json": b"{}", "model.safetensors": weights}
    tree: list[dict[str, Any]] = []
    for name, body in files.items():
        git = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
        tree.append({"type": "file", "path": name, "size": len(body), "oid": git})
        path = f"/{NAME}/resolve/{commit}/{name}"
        site.files[path] = body
        site.headers[path] = {"X-Repo-Commit": commit, "ETag": f'"{git}"'}
    site.files[f"/api/models/{NAME}/tree/{commit}"] = json.dumps(tree).encode()
    told = json.dumps({"id": NAME, "sha": commit, "siblings": []}).encode()
    for revision in ("main", commit):
        site.files[f"/api/models/{NAME}/revision/{revision}"] = told


def attempt(site: Site, location: StoreLocation, folder: Path) -> dict[str, Any]:
    """What another attempt's pod fetches, or why not."""
    wanted = task(location, ModelInput(hub=HubInput(name=NAME, revision="main")))
    told = {
        "HF_ENDPOINT": site.url,
        "SSL_CERT_FILE": str(site.certificate),
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }
    words = [sys.executable, "-c", PROGRAM, wanted.model_dump_json(by_alias=True), str(folder)]
    done = subprocess.run(words, env={**os.environ, **told}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_hubs_branch_may_move(
    hub: Site, store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    first = attempt(hub, location, tmp_path / "one")
    assert (first["url"], first["commit"]) == (f"hf://{NAME}@{FIRST}", FIRST)
    pinned = {name: first[name] for name in ("url", "digest", "commit")}
    assert json.loads(store.get(PIN)) == pinned
    publish(hub, SECOND, b"second weights")
    assert attempt(hub, location, tmp_path / "two") == first
    assert (tmp_path / "two" / "model.safetensors").read_bytes() == b"first weights"


def test_a_commit_that_is_gone_is_told(hub: Site, location: StoreLocation, tmp_path: Path) -> None:
    attempt(hub, location, tmp_path / "one")
    publish(hub, SECOND, b"second weights")
    hub.statuses[f"/api/models/{NAME}/revision/{FIRST}"] = 404
    hub.headers[f"/api/models/{NAME}/revision/{FIRST}"] = {"X-Error-Code": "RevisionNotFound"}
    refused = attempt(hub, location, tmp_path / "two")
    assert refused["reason"] == "DigestMismatch"
    assert f"This job began with the model hf://{NAME}@{FIRST}" in refused["message"]
