"""Text prepared for a model that exists: by the tokenizer of the hub's, a store's, or a job's."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from llmcloud.api.contract import (
    DatasetManifest,
    DatasetResult,
    DatasetTask,
    FileEntry,
    HubInput,
    ModelInput,
    ModelManifest,
    NetworkRules,
    Progress,
    SourceTask,
    StoredModel,
    StoreLocation,
)
from llmcloud.api.dataset import Prepare, Split
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import ConfigurationInvalid, DigestMismatch, ObjectNotFound
from llmcloud.cloud.manifest import MANIFEST, files_digest, version_path
from llmcloud.cloud.report import Report
from llmcloud_data.model_tokenizer import fetch_tokenizer
from llmcloud_data.origins import Origins
from llmcloud_data.prepare import prepare_in
from tests.contract.certificates import write_certificate
from tests.contract.website import Site, website

on_one_store = pytest.mark.parametrize("server", ["versitygw"], indirect=True)

NAME = "team/model"
COMMIT = "d" * 40
END = "[SEP]"
WORDS = ["[PAD]", "[UNK]", END, *(f"word{number}" for number in range(50))]
TEXT = " ".join(WORDS[3:])
RECIPE = "sha256:" + "3" * 64
ALLOWED = NetworkRules(allowed=["127.0.0.0/8", "::1/128"])

ENDLESS = Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).to_str().encode()


def tokenizer_json(words: list[str] = WORDS) -> bytes:
    """Of a tokenizer that was made elsewhere: it knows words, and cuts what is long."""
    tokenizer = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(words[:3])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    return tokenizer.to_str().encode()


def model_files(**config: Any) -> dict[str, bytes]:
    return {
        "tokenizer.json": tokenizer_json(),
        "tokenizer_config.json": json.dumps(config).encode(),
        "model.safetensors": b"weights, which nobody reads",
    }


def write_model(store: Store, files: dict[str, bytes]) -> ModelInput:
    for name, body in files.items():
        store.put(f"model/{name}", body)
    return ModelInput(stored=StoredModel(store=store.location, path="model/"))


def task(location: StoreLocation, model: ModelInput, attempt: int = 1) -> DatasetTask:
    return DatasetTask(
        owner_uid="uid",
        recipe=RECIPE,
        attempt=attempt,
        sources=[SourceTask(store=location, path="raw/", format="text", include=["*"])],
        prepare=Prepare(split=Split(validation_fraction=0)),
        tokenizer_model=model,
        sequence_length_tokens=17,
        output=location,
        output_path="out/",
    )


def prepared(folder: Path, wanted: DatasetTask) -> DatasetResult:
    report = Report(Progress(attempt=1), port=0)
    try:
        outcome = prepare_in(folder / f"scratch-{wanted.attempt}", wanted, report)
    finally:
        report.close()
    assert outcome.dataset is not None, outcome.message
    return outcome.dataset


def read(store: Store, result: DatasetResult) -> DatasetManifest:
    body = store.get(version_path("out/", result.version) + MANIFEST)
    return DatasetManifest.model_validate_json(body)


@on_one_store
def test_text_becomes_the_models_tokens(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    for number in range(3):
        store.put(f"raw/{number}.txt", TEXT.encode())
    model = write_model(store, model_files(tokenizer_class="Own", auto_map={"AutoTokenizer": "x"}))
    result = prepared(tmp_path, task(location, model))
    manifest = read(store, result)
    folder = version_path("out/", result.version)
    ids = np.concatenate(
        [np.frombuffer(store.get(folder + e.key), dtype="<u4") for e in manifest.train]
    )
    document = [*range(3, 53), 2]
    assert ids.tolist() == document * 3, "nothing is cut or padded, and [SEP] ends each"
    assert (manifest.vocabulary_size, manifest.end_of_text_id) == (53, 2)
    files = {entry.key.rpartition("/")[2]: entry for entry in manifest.tokenizer}
    assert set(files) == {"tokenizer.json", "tokenizer_config.json"}
    assert store.get(folder + files["tokenizer.json"].key) == tokenizer_json()
    config = json.loads(store.get(folder + files["tokenizer_config.json"].key))
    assert config == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "[PAD]",
        "sep_token": END,
        "unk_token": "[UNK]",
    }


@on_one_store
def test_another_tokenizer_is_another_version_and_the_same_is_found(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    store.put("raw/a.txt", TEXT.encode())
    model = write_model(store, model_files())
    first = prepared(tmp_path, task(location, model))
    again = prepared(tmp_path, task(location, model, attempt=2))
    assert again == first.model_copy(update={"reused": True})
    store.put("model/tokenizer.json", tokenizer_json([*WORDS[:3], *WORDS[:2:-1]]))
    other = prepared(tmp_path, task(location, model, attempt=3))
    assert other.version != first.version
    assert other.tokenizer_digest != first.tokenizer_digest
    assert read(store, first).tokenizer_digest == first.tokenizer_digest


@on_one_store
def test_a_jobs_model_keeps_the_name_of_the_tokenizer_that_it_learned_by(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    """A trainer writes the same tokenizer in other bytes: by its digest it would be a stranger."""
    store.put("raw/a.txt", TEXT.encode())
    files = model_files()
    write_model(store, {f"weights/{name}": body for name, body in files.items()})
    entries = [
        FileEntry(key=name, bytes=len(body), sha256=hashlib.sha256(body).hexdigest())
        for name, body in files.items()
    ]
    manifest = ModelManifest(
        digest=files_digest(entries), recipe=RECIPE, attempt=1, kind="full", path="weights/",
        files=entries, lineage={}, metrics={}, passed=True,
    )  # fmt: skip
    store.put(f"model/{MANIFEST}", manifest.model_dump_json(by_alias=True).encode())
    learned_by = "sha256:" + "7" * 64
    stored = StoredModel(
        store=location, path="model/", digest=manifest.digest, tokenizer_digest=learned_by
    )
    result = prepared(tmp_path, task(location, ModelInput(stored=stored)))
    assert result.tokenizer_digest == learned_by
    store.put("model/weights/tokenizer.json", tokenizer_json()[::-1])
    with pytest.raises(DigestMismatch, match=r"weights/tokenizer\.json"):
        prepared(tmp_path, task(location, ModelInput(stored=stored), attempt=2))


@on_one_store
@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"config.json": b"{}"}, r"has no tokenizer\.json"),
        ({"tokenizer.json": b"{}"}, r"tokenizer\.json of .* cannot be read"),
        ({**model_files(), "tokenizer_config.json": b"[]"}, "is no JSON object"),
        ({"tokenizer.json": ENDLESS}, "no token that ends a document"),
    ],
)  # fmt: skip
def test_a_model_without_a_tokenizer_for_us_is_refused(
    store: Store, location: StoreLocation, tmp_path: Path, files: dict[str, bytes], told: str
) -> None:
    store.put("raw/a.txt", TEXT.encode())
    with pytest.raises(ConfigurationInvalid, match=told):
        prepared(tmp_path, task(location, write_model(store, files)))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Site]:
    """A hub with one model, whose tokenizer lies in LFS on another host."""
    with website(write_certificate(tmp_path / "tls")) as site:
        siblings = []
        for name, body in model_files(eos_token={"content": END}).items():
            git = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            entry: dict[str, Any] = {"rfilename": name, "size": len(body), "blobId": git}
            path = f"/{NAME}/resolve/{COMMIT}/{name}"
            if name == "tokenizer.json":
                digest = hashlib.sha256(body).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(body), "pointerSize": 133}
                elsewhere = site.url.replace("127.0.0.1", "localhost")
                site.redirects[path] = f"{elsewhere}/cdn/tokenizer"
                path = "/cdn/tokenizer"
            site.files[path] = body
            siblings.append(entry)
        told = {"id": NAME, "sha": COMMIT, "siblings": siblings}
        site.files[f"/api/models/{NAME}/revision/main"] = json.dumps(told).encode()
        yield site


def fetched(site: Site, folder: Path, **members: Any) -> list[str]:
    model = HubInput.model_validate({"name": NAME, "revision": "main", **members})
    with Origins(ALLOWED, site.url, site.tls) as origins:
        found = fetch_tokenizer(ModelInput(hub=model), origins, folder)
    assert found.end_of_text_id == WORDS.index(END)
    return sorted(file.name for file in folder.iterdir())


def test_of_a_model_of_the_hub_its_tokenizer_alone_is_read(hub: Site, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_of-the-tenant\n")
    names = fetched(hub, tmp_path / "files", token_file=str(tmp_path / "token"))
    assert names == ["tokenizer.json", "tokenizer_config.json"]
    asked = {one.path: one.headers.get("authorization") for one in hub.asked}
    assert not any("safetensors" in path for path in asked)
    assert asked.pop("/cdn/tokenizer") is None
    assert set(asked.values()) == {"Bearer hf_of-the-tenant"}


def test_a_corrupt_or_unknown_model_of_the_hub_is_told(hub: Site, tmp_path: Path) -> None:
    hub.files["/cdn/tokenizer"] = tokenizer_json()[::-1]
    with pytest.raises(DigestMismatch, match=r"team/model/tokenizer\.json"):
        fetched(hub, tmp_path / "corrupt")
    hub.statuses[f"/api/models/{NAME}/revision/main"] = 401
    with pytest.raises(ObjectNotFound, match=r"no model team/model at .*spec\.tokenizer\.model"):
        fetched(hub, tmp_path / "unknown")
