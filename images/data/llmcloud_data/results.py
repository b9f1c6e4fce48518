"""What units of work leave for each other. Keys of what is on its way are whole paths, keys of
what stays are relative to the version's folder."""

from llmcloud.api.base import ApiModel
from llmcloud.api.contract import FileEntry, ShardEntry, SourceEntry


class PartResult(ApiModel):
    """A part that was read: the files of `reading`."""

    sources: list[SourceEntry]
    documents: int
    rejected: dict[str, int]
    texts: FileEntry
    table: FileEntry
    bands: FileEntry | None = None


class MergeResult(ApiModel):
    """What became of all documents: the file of `merging`."""

    duplicates: int
    near_duplicates: int
    train: int
    validation: int
    states: FileEntry


class TokenizerResult(ApiModel):
    """The tokenizer's files, which stay."""

    files: list[FileEntry]
    vocabulary_size: int
    end_of_text_id: int


class SplitResult(ApiModel):
    """One side of the split in one part: shards, and tokens of less than a sequence."""

    shards: list[ShardEntry]
    example_tokens: int
    rest: FileEntry | None = None


class PackResult(ApiModel):
    """A part that was packed."""

    train: SplitResult
    validation: SplitResult
    redacted: dict[str, int]


class JoinResult(ApiModel):
    """Shards of what was left of all parts."""

    train: list[ShardEntry]
    validation: list[ShardEntry]
