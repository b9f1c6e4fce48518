"""Manifests and folders of files: published once, downloaded only as they were published."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmcloud.api.contract import ModelManifest
from llmcloud.cloud.base import DOCUMENT_BYTES, Store
from llmcloud.cloud.errors import ConfigurationInvalid, DigestMismatch
from llmcloud.cloud.manifest import (
    download,
    files_digest,
    publish_manifest,
    read_manifest,
    upload_folder,
)


def manifest(attempt: int) -> ModelManifest:
    return ModelManifest(
        digest="sha256:" + "0" * 64,
        recipe="sha256:" + "1" * 64,
        attempt=attempt,
        kind="full",
        path=f"model/a{attempt}/",
        files=[],
        lineage={},
        metrics={},
        passed=True,
    )


def test_what_is_too_large_to_be_read_is_not_published(store: Store) -> None:
    too_large = manifest(1).model_copy(update={"lineage": {"x": "x" * DOCUMENT_BYTES}})
    with pytest.raises(ConfigurationInvalid, match="larger ones"):
        publish_manifest(store, "manifest.json", too_large)
    assert store.head("manifest.json") is None


def write_folder(folder: Path) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "a.json").write_bytes(b"{}")
    (folder / "deep" / "b.safetensors").write_bytes(b"b" * 100_000)
    (folder / "a.json").chmod(0o600)
    return folder


def test_of_racing_manifests_all_writers_adopt_the_same(store: Store) -> None:
    with ThreadPoolExecutor(6) as executor:
        published = executor.map(
            lambda attempt: publish_manifest(store, "m/manifest.json", manifest(attempt)), range(6)
        )
        adopted = {entry.attempt for entry in published}
    there = read_manifest(store, "m/manifest.json", ModelManifest)
    assert there is not None
    assert adopted == {there.attempt}


def test_a_missing_manifest_is_none_and_a_strange_one_refused(store: Store) -> None:
    assert read_manifest(store, "manifest.json", ModelManifest) is None
    store.put("manifest.json", b'{"kind": "other"}')
    with pytest.raises(DigestMismatch, match="no ModelManifest"):
        read_manifest(store, "manifest.json", ModelManifest)


def test_a_folder_comes_back_whole_and_readable_by_others(store: Store, tmp_path: Path) -> None:
    files = upload_folder(store, write_folder(tmp_path / "source"), "model/")
    assert [file.key for file in files] == ["a.json", "deep/b.safetensors"]
    target = tmp_path / "target"
    download(store, "model/", files, target)
    assert (target / "deep" / "b.safetensors").read_bytes() == b"b" * 100_000
    assert (target / "a.json").stat().st_mode & 0o777 == 0o644
    assert (target / "deep").stat().st_mode & 0o777 == 0o755


def test_a_corrupt_file_is_refused_and_a_good_one_kept(store: Store, tmp_path: Path) -> None:
    files = upload_folder(store, write_folder(tmp_path / "source"), "model/")
    store.put("model/deep/b.safetensors", b"c" * 100_000)
    target = tmp_path / "target"
    with pytest.raises(DigestMismatch, match=r"deep/b.safetensors is corrupt"):
        download(store, "model/", files, target)
    assert not (target / "deep" / "b.safetensors").exists()
    store.put("model/deep/b.safetensors", b"b" * 100_000)
    store.delete("model/a.json")
    (target / "a.json").write_bytes(b"{}")
    download(store, "model/", files, target)


def test_a_key_that_leaves_its_folder_is_refused(store: Store, tmp_path: Path) -> None:
    (entry, _) = upload_folder(store, write_folder(tmp_path / "source"), "model/")
    for key in ("../a.json", "/etc/passwd", ""):
        with pytest.raises(DigestMismatch, match="no path below"):
            download(store, "model/", [entry.model_copy(update={"key": key})], tmp_path / "t")


def test_the_digest_of_files_ignores_their_order(store: Store, tmp_path: Path) -> None:
    files = upload_folder(store, write_folder(tmp_path / "source"), "model/")
    assert files_digest(files) == files_digest(reversed(files))
