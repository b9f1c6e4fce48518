"""The tokenizer of a model that exists: its files read, checked, and made to stand alone.

Of the model nothing else is read. None of the files can hold code, and what names code of the
model's own, or a class that its configuration would have to tell, is left out: whoever loads the
dataset's tokenizer needs the dataset alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from llmcloud.api.contract import FileEntry, ModelInput, ModelManifest, StoredModel
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.errors import ConfigurationInvalid, DigestMismatch
from llmcloud.cloud.manifest import MANIFEST, download, files_digest, read_manifest, sha256_of
from llmcloud_data.origins import Origins

TOKENIZER: Final = "tokenizer.json"
CONFIG: Final = "tokenizer_config.json"
SPECIAL: Final = "special_tokens_map.json"
FILES: Final = (TOKENIZER, CONFIG, SPECIAL, "added_tokens.json", "chat_template.jinja")
FILE_BYTES: Final = 256 * 1024 * 1024
LEFT_OUT: Final = frozenset({"auto_map", "name_or_path", "tokenizer_file"})
"""Members of the configuration that lead to code, or to where the files once lay."""
CLASS: Final = "PreTrainedTokenizerFast"
ENDS: Final = ("eos_token", "sep_token")
"""What ends a document: the first that the tokenizer has."""
KNOWN: Final = {
    "bos_token": ("<s>",),
    "eos_token": ("<|endoftext|>", "</s>"),
    "unk_token": ("[UNK]", "<unk>"),
    "sep_token": ("[SEP]",),
    "cls_token": ("[CLS]",),
    "pad_token": ("[PAD]", "<pad>"),
    "mask_token": ("[MASK]", "<mask>"),
}
"""Special tokens of old models, whose files leave it to the class of the tokenizer to name them."""


@dataclass(frozen=True)
class ModelTokenizer:
    """`folder` holds its files and `digest` is theirs; `name` is how manifests know it."""

    folder: Path
    digest: str
    name: str
    vocabulary_size: int
    end_of_text_id: int


def fetch_tokenizer(model: ModelInput, origins: Origins, folder: Path) -> ModelTokenizer:
    """Lay the tokenizer's files into the new `folder`.

    Raises ConfigurationInvalid if the model has none that can be used, ObjectNotFound,
    DigestMismatch, and as the origin.
    """
    folder.mkdir(parents=True)
    name = None
    if model.stored is not None:
        where = _read_stored(model.stored, folder)
        name = model.stored.tokenizer_digest
    else:
        assert model.hub is not None, "a model from scratch has no tokenizer"
        origin = origins.model(model.hub, FILES)
        where = origin.url()
        for info in origin.list():
            _require_bounded(origin.url(info.path), info.bytes)
            origin.get_file(info.path, folder / info.path)
    if not (folder / TOKENIZER).is_file():
        raise ConfigurationInvalid(
            f"{where} has no {TOKENIZER}; choose for spec.tokenizer.model a model that has one."
        )
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library knows no narrower one
        raise ConfigurationInvalid(
            f"{TOKENIZER} of {where} cannot be read; choose another model for spec.tokenizer.model."
        ) from error
    config = _stand_alone(folder, tokenizer, where)
    ends = [text for member in ENDS if (text := _text_of(config.get(member)))]
    number = tokenizer.token_to_id(ends[0]) if ends else None
    if number is None:
        raise ConfigurationInvalid(
            f"The tokenizer of {where} has no token that ends a document (eos_token or sep_token); "
            "choose another model for spec.tokenizer.model."
        )
    digest = files_digest(
        FileEntry(key=file.name, bytes=file.stat().st_size, sha256=sha256_of(file))
        for file in folder.iterdir()
    )
    size = tokenizer.get_vocab_size()
    return ModelTokenizer(folder, digest, name or digest, size, number)


def _read_stored(model: StoredModel, folder: Path) -> str:
    """The model's own manifest tells the digests, if it has one. Returns where it lies."""
    store = open_store(model.store)
    where = store.url(model.path)
    manifest = read_manifest(store, model.path + MANIFEST, ModelManifest)
    if manifest is None:
        _read_plain(store, model.path, folder)
        return where
    found = files_digest(manifest.files)
    if found not in (manifest.digest, model.digest or found) or model.digest not in (None, found):
        raise DigestMismatch(
            f"{where} holds a model with the digest {found}, but {model.digest or manifest.digest} "
            "is wanted; train again, or correct spec.tokenizer.model."
        )
    entries = [entry for entry in manifest.files if entry.key in FILES]
    for entry in entries:
        _require_bounded(store.url(model.path + manifest.path + entry.key), entry.bytes)
    download(store, model.path + manifest.path, entries, folder)
    return where


def _read_plain(store: Store, path: str, folder: Path) -> None:
    for name in FILES:
        if (info := store.head(path + name)) is not None:
            _require_bounded(store.url(info.path), info.bytes)
            store.get_file(info.path, folder / name, etag=info.etag)


def _require_bounded(url: str, size_bytes: int) -> None:
    if size_bytes > FILE_BYTES:
        raise ConfigurationInvalid(
            f"{url} has {size_bytes} bytes, more than {FILE_BYTES}; choose another model for "
            "spec.tokenizer.model."
        )


def _stand_alone(folder: Path, tokenizer: Tokenizer, where: str) -> dict[str, Any]:
    """Write the configuration anew, so that it needs no code and no file of the model; it names
    all special tokens."""
    config = {**_members(folder / SPECIAL, where), **_members(folder / CONFIG, where)}
    added = tokenizer.get_added_tokens_decoder().values()
    special = {token.content for token in added if token.special}
    for member, names in KNOWN.items():
        known = [name for name in names if name in special]
        if known:
            config.setdefault(member, known[0])
    config["tokenizer_class"] = CLASS
    config = {name: value for name, value in config.items() if name not in LEFT_OUT}
    (folder / SPECIAL).unlink(missing_ok=True)
    body = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG).write_text(body)
    return config


def _members(file: Path, where: str) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        members = json.loads(file.read_bytes())
    except ValueError:
        members = None
    if not isinstance(members, dict):
        raise ConfigurationInvalid(
            f"{file.name} of {where} is no JSON object; choose another model for "
            "spec.tokenizer.model."
        )
    return members


def _text_of(token: Any) -> str:
    """A special token, from either form in which configurations write it."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else ""
