"""What a dataset's version holds, as it lies in the store. Part of the contract with pods."""

from typing import Final, Literal

from llmcloud.api.base import ApiModel
from llmcloud.api.dataset import DatasetType

SHARD_BYTES: Final = 16 * 1024 * 1024


class FileEntry(ApiModel):
    """One file of a manifest. `key` is relative to the manifest's own folder."""

    key: str
    bytes: int
    sha256: str


class SourceEntry(ApiModel):
    """One source object as it was read. While its `etag` stays, it need not be read again."""

    store: str
    key: str
    bytes: int
    sha256: str
    etag: str | None = None


class ShardEntry(FileEntry):
    """One file of a split; which of the two it is follows from `DatasetManifest.type`.

    text: packed tokens, little-endian uint32, `sequences` x `sequence_length_tokens`.

    Other types: `examples` lines of UTF-8, each one JSON object and a newline, no blank line, no
    byte-order mark, not compressed (docs/decisions/020-examples.md):

    chat     {"messages": [{"role": "user", "content": "..."}, ...]}, roles system, user,
             assistant, tool; at least one assistant
    pairs    {"source": "...", "target": "..."}
    labeled  {"text": "...", "label": "..."}, one of `DatasetManifest.labels`
    tags     {"tokens": ["...", ...], "tags": ["...", ...]}, as many; tags are of `labels`

    A shard is at most `SHARD_BYTES` long, unless one sequence or one example is longer.
    """

    sequences: int = 0
    examples: int = 0


class DatasetManifest(ApiModel):
    """`<output.path>versions/<64 hex of version>/manifest.json`, written last, only if absent.

    `version` = "sha256:" + SHA-256 of the canonical JSON of the recipe, of the sorted list of
    (source store, key, SHA-256 of bytes), and of the digest of a tokenizer that was taken from a
    model. `tokenizer_digest` is that of the tokenizer's files; of a model that a job of ours made,
    it is that of the dataset whose tokenizer the job learned by.

    Train shards are shuffled by nobody: the order of the documents is the sorted order of their
    keys, but for what is left of each part of the sources when its sequences are full, which comes
    last. `labels` are in the order of their numbers, from 0. `tokens` of examples are those of
    their texts, without a template's.
    """

    schema_version: Literal[1] = 1
    version: str
    recipe: str
    attempt: int
    type: DatasetType = "text"
    labels: list[str] = []
    sources: list[SourceEntry]
    documents: int
    validation_documents: int
    documents_read: int | None = None
    tokens: int
    validation_tokens: int
    sequence_length_tokens: int
    vocabulary_size: int
    end_of_text_id: int
    rejected: dict[str, int]
    redacted: dict[str, int] = {}
    tokenizer_digest: str
    tokenizer: list[FileEntry]
    train: list[ShardEntry]
    validation: list[ShardEntry]
