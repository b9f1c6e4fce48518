"""Fetching models: verified, laid down whole, and nothing that could run code."""

from pathlib import Path

import pytest

from llmcloud.api.contract import FetchTask, ModelManifest, Retry, StoreLocation
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import ConfigurationInvalid, DigestMismatch, ObjectNotFound
from llmcloud.cloud.fetch import COMPLETE, fetch
from llmcloud.cloud.manifest import files_digest, publish_manifest, upload_folder

FILES = {"config.json": b"{}", "model.safetensors": b"w" * 50_000, "chat_template.jinja": b"x"}


def publish(store: Store, folder: Path, files: dict[str, bytes] = FILES) -> ModelManifest:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    entries = upload_folder(store, folder, "job/model/a1/")
    manifest = ModelManifest(
        digest=files_digest(entries),
        recipe="sha256:" + "1" * 64,
        attempt=1,
        kind="full",
        path="model/a1/",
        files=entries,
        lineage={},
        metrics={},
        passed=True,
    )
    return publish_manifest(store, "job/manifest.json", manifest)


def task(
    location: StoreLocation, destination: Path, *, path: str = "job/", digest: str | None = None
) -> FetchTask:
    return FetchTask(store=location, path=path, digest=digest, destination=str(destination))


def test_a_trained_model_is_laid_down_and_kept_when_fetched_again(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    manifest = publish(store, tmp_path / "source")
    target = tmp_path / "models" / "wiki"
    assert fetch(task(location, target, digest=manifest.digest)).succeeded
    assert {file.name for file in target.iterdir()} == {*FILES, COMPLETE}
    assert (target / "model.safetensors").stat().st_mode & 0o777 == 0o644
    before = (target / "model.safetensors").stat().st_ino
    store.delete("job/model/a1/model.safetensors")
    fetch(task(location, target, digest=manifest.digest))
    assert (target / "model.safetensors").stat().st_ino == before


def test_a_damaged_folder_is_laid_down_anew(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    publish(store, tmp_path / "source")
    target = tmp_path / "models" / "wiki"
    fetch(task(location, target))
    (target / "config.json").write_bytes(b"damaged")
    fetch(task(location, target))
    assert (target / "config.json").read_bytes() == FILES["config.json"]
    assert [folder.name for folder in target.parent.iterdir()] == ["wiki"]


def test_a_corrupted_file_is_refused_and_nothing_is_laid_down(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    publish(store, tmp_path / "source")
    store.put("job/model/a1/model.safetensors", b"v" * 50_000)
    target = tmp_path / "models" / "wiki"
    with pytest.raises(DigestMismatch, match=r"model.safetensors is corrupt"):
        fetch(task(location, target))
    assert not target.exists()


def test_another_model_than_the_wanted_is_refused(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    publish(store, tmp_path / "source")
    with pytest.raises(DigestMismatch, match="is wanted"):
        fetch(task(location, tmp_path / "wiki", digest="sha256:" + "f" * 64))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "modeling_x.py", "weights.pkl"])
def test_files_that_may_hold_code_are_refused(
    store: Store, location: StoreLocation, tmp_path: Path, name: str
) -> None:
    publish(store, tmp_path / "source", {**FILES, name: b"x"})
    for path in ("job/", "job/model/a1/"):
        with pytest.raises(ConfigurationInvalid, match=name) as caught:
            fetch(task(location, tmp_path / "wiki", path=path))
        assert caught.value.retry is Retry.NEVER


def test_a_folder_without_a_manifest_is_laid_down_as_it_is(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    manifest = publish(store, tmp_path / "source")
    target = tmp_path / "models" / "plain"
    fetch(task(location, target, path="job/model/a1/"))
    assert (target / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    fetch(task(location, target, path="job/model/a1/", digest=manifest.digest))
    with pytest.raises(DigestMismatch):
        fetch(task(location, target, path="job/model/a1/", digest="sha256:" + "f" * 64))


def test_no_model_at_all_is_said_so(location: StoreLocation, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound, match="no model at"):
        fetch(task(location, tmp_path / "wiki", path="nowhere/"))
