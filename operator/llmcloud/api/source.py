"""Where the records of an LLMDataset come from, and which of their members are read."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints

from llmcloud.api.base import ApiModel
from llmcloud.api.common import (
    LIST_ATOMIC,
    SecretKeyReference,
    StoreReference,
    exactly_one_of,
    rules,
)

Glob = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Format = Literal["text", "code", "jsonl", "csv", "parquet"]


DatasetType = Literal["text", "chat", "pairs", "labeled", "tags"]
MemberName = Annotated[str, StringConstraints(min_length=1, max_length=256)]

RECORD_MEMBERS: Final[dict[DatasetType, tuple[str, ...]]] = {
    "text": ("text",),
    "chat": ("messages",),
    "pairs": ("source", "target"),
    "labeled": ("text", "label"),
    "tags": ("tokens", "tags"),
}
"""What a record of each type has; `Fields` says under which names."""


class Fields(ApiModel):
    """Which members of a record are read: of a JSON line, or columns. Absent: of the same name."""

    text: MemberName | None = Field(default=None, description="Types text, labeled: the text.")
    messages: MemberName | None = Field(
        default=None,
        description="Type chat: a list of objects with role (system, user, assistant, tool) and "
        "content.",
    )
    source: MemberName | None = Field(default=None, description="Type pairs: what is given.")
    target: MemberName | None = Field(default=None, description="Type pairs: what is wanted.")
    label: MemberName | None = Field(
        default=None, description="Type labeled: one of spec.labels, or its number from 0."
    )
    tokens: MemberName | None = Field(default=None, description="Type tags: a list of words.")
    tags: MemberName | None = Field(
        default=None,
        description="Type tags: a list as long, each one of spec.labels, or its number from 0.",
    )

    def members(self, type_: DatasetType) -> list[str]:
        """The names in the records of what `RECORD_MEMBERS` lists, in its order."""
        return [getattr(self, member) or member for member in RECORD_MEMBERS[type_]]


class HubDataset(ApiModel):
    """A dataset repository of the Hugging Face hub. Its files are read, its code never run."""

    name: str = Field(
        description="Name of the repository, as in its URL, for example wikitext.",
        max_length=193,
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*$",
    )
    config: str | None = Field(
        default=None,
        description="Configuration that the repository declares, or a folder of it; absent: the "
        "default one.",
        min_length=1,
        max_length=128,
    )
    split: str | None = Field(
        default=None,
        description="Split to read; absent: train, or all where no file is told to be of it.",
        min_length=1,
        max_length=128,
    )
    revision: str | None = Field(
        default=None,
        description="Branch, tag or commit; absent: main.",
        max_length=128,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$",
    )
    token_secret_ref: SecretKeyReference | None = Field(
        default=None, description="A token of the hub that may read it; absent: it is public."
    )


class Source(ApiModel):
    """Objects to read: of a store, at a URL, or of a repository of the hub."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one_of("store", "url", "hub"),
            (
                "has(self.url) == has(self.sha256)",
                "sha256 is the digest of what lies at url, and no url goes without: set both (as "
                "sha256sum FILE prints it), or none",
            ),
            (
                "!has(self.fields) || has(self.hub) || !(self.format in ['text', 'code'])",
                "fields names members of records: leave it out, or set format to jsonl, csv or "
                "parquet",
            ),
        )
    )

    store: StoreReference | None = Field(
        default=None, description="The ObjectStore and the folder to read."
    )
    url: str | None = Field(
        default=None,
        description="One file, read over https from an address of the internet.",
        max_length=2048,
        pattern=r"^https://[^/@?#\s]+(/[^\s]*)?$",
    )
    sha256: str | None = Field(
        default=None,
        description="SHA-256 of the file at url, in hexadecimal.",
        max_length=64,
        pattern=r"^[0-9a-f]{64}$",
    )
    hub: HubDataset | None = Field(
        default=None, description="A dataset of the Hugging Face hub, or of its mirror."
    )
    format: Format = Field(
        default="text",
        description="How an object's bytes become documents: text and code, one file, one text; "
        "jsonl, csv (with a header) and parquet, one record, one document. All but parquet may be "
        "compressed by gzip or zstd, which is seen from the bytes. Of a hub's files text means: as "
        "the suffix of each says.",
    )
    fields: Fields | None = Field(default=None, description="Which members of a record are read.")
    include: list[Glob] = Field(
        default=["*"],
        description="Glob patterns; an object is read if its key or its last part matches one.",
        min_length=1,
        max_length=32,
        json_schema_extra=LIST_ATOMIC,
    )
