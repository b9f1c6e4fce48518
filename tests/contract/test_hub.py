"""Dataset repositories against a hub of our own that speaks the protocol, over https."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmcloud.api.contract import HubSource, NetworkRules, SourceTask
from llmcloud.cloud.errors import (
    CredentialsRefused,
    DigestMismatch,
    ObjectNotFound,
    SourceEmpty,
    SourceUnreachable,
    TaskError,
)
from llmcloud_data.origins import Origins
from llmcloud_data.sources import SourceFile, list_sources, read_sources
from tests.contract.certificates import write_certificate
from tests.contract.website import Site, website

COMMIT = "c" * 40
REPOSITORY = "team/wiki"
LFS = b'{"text": "large"}\n' * 100
SMALL = b'{"text": "small"}\n'
TOKEN = "hf_token-of-the-tenant"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Site]:
    """One repository: a file of Git and one of LFS, which lies on another host."""
    with website(write_certificate(tmp_path / "tls")) as site:
        elsewhere = site.url.replace("127.0.0.1", "localhost")
        publish(site, {"data/train-0.jsonl": LFS, "data/test-0.jsonl": SMALL, "README.md": b"#"})
        resolve = f"/datasets/{REPOSITORY}/resolve/{COMMIT}/"
        site.redirects[f"{resolve}data/train-0.jsonl"] = f"{elsewhere}/cdn/train"
        site.files["/cdn/train"] = LFS
        site.files[f"{resolve}data/test-0.jsonl"] = SMALL
        yield site


def publish(site: Site, files: dict[str, bytes], **card: Any) -> None:
    """What the hub tells of the repository at its main branch."""
    siblings: list[dict[str, Any]] = []
    for name, body in files.items():
        git = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
        entry: dict[str, Any] = {"rfilename": name, "size": len(body), "blobId": git}
        if len(body) > 100:
            digest = hashlib.sha256(body).hexdigest()
            entry["lfs"] = {"sha256": digest, "size": len(body), "pointerSize": 133}
        siblings.append(entry)
    told = {"id": REPOSITORY, "sha": COMMIT, "siblings": siblings, "cardData": card}
    for path in (f"/api/datasets/{REPOSITORY}", f"/api/datasets/{REPOSITORY}/revision/main"):
        site.files[path] = json.dumps(told).encode()


def read(site: Site, folder: Path, **members: Any) -> list[SourceFile]:
    source = SourceTask(
        hub=HubSource.model_validate({"name": REPOSITORY, **members}), format="text", include=["*"]
    )
    rules = NetworkRules(allowed=["127.0.0.0/8", "::1/128"])
    with Origins(rules, site.url, site.tls) as origins:
        return read_sources(list_sources([source], origins), folder, lambda read_bytes: None)


def test_the_training_split_is_read_by_default_at_one_commit(hub: Site, tmp_path: Path) -> None:
    (file,) = read(hub, tmp_path / "files")
    assert file.entry.store == f"hub:{REPOSITORY}"
    assert (file.entry.key, file.format) == ("data/train-0.jsonl", "jsonl")
    assert file.entry.sha256 == hashlib.sha256(LFS).hexdigest()
    assert file.file.read_bytes() == LFS
    assert all(COMMIT in asked.path for asked in hub.asked if "/resolve/" in asked.path)


def test_a_split_and_a_revision_are_chosen(hub: Site, tmp_path: Path) -> None:
    (file,) = read(hub, tmp_path / "files", split="test", revision="main")
    assert file.entry.store == f"hub:{REPOSITORY}@main"
    assert file.file.read_bytes() == SMALL


def test_the_card_says_which_files_a_config_has(hub: Site, tmp_path: Path) -> None:
    configs = [
        {"config_name": "all", "data_files": [{"split": "train", "path": "data/*.jsonl"}]},
        {"config_name": "few", "data_files": [{"split": "train", "path": ["data/test-*"]}]},
    ]
    publish(hub, {"data/train-0.jsonl": LFS, "data/test-0.jsonl": SMALL}, configs=configs)
    assert len(read(hub, tmp_path / "all", config="all")) == 2
    (few,) = read(hub, tmp_path / "few", config="few")
    assert few.file.read_bytes() == SMALL


def test_a_token_goes_to_the_hub_and_to_no_other_host(hub: Site, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    read(hub, tmp_path / "files", token_file=str(tmp_path / "token"))
    given = {asked.path: asked.headers.get("authorization") for asked in hub.asked}
    assert given.pop("/cdn/train") is None
    assert set(given.values()) == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, ObjectNotFound), (403, CredentialsRefused), (503, SourceUnreachable)],
)
def test_what_the_hub_refuses_is_told(
    hub: Site, tmp_path: Path, status: int, error: type[TaskError]
) -> None:
    hub.statuses[f"/api/datasets/{REPOSITORY}"] = status
    with pytest.raises(error, match=REPOSITORY):
        read(hub, tmp_path / "files")


def test_a_corrupt_file_of_either_kind_is_refused(hub: Site, tmp_path: Path) -> None:
    hub.files["/cdn/train"] = LFS[::-1]
    hub.files[f"/datasets/{REPOSITORY}/resolve/{COMMIT}/data/test-0.jsonl"] = SMALL[::-1]
    for split in ("train", "test"):
        with pytest.raises(DigestMismatch, match=f"data/{split}-0"):
            read(hub, tmp_path / "files", split=split)
        assert not any((tmp_path / "files").iterdir())


def test_a_split_that_is_not_there_names_what_is(hub: Site, tmp_path: Path) -> None:
    with pytest.raises(SourceEmpty, match=r"split nowhere; its data files are data/test-0\.jsonl"):
        read(hub, tmp_path / "files", split="nowhere")
