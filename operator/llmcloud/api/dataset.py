"""LLMDataset: data in, immutable versions out."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints

from llmcloud.api.base import ApiModel
from llmcloud.api.common import (
    LIST_ATOMIC,
    LIST_SET,
    Digest,
    Output,
    PodSettings,
    Resources,
    SecretKeyReference,
    Status,
    StoreReference,
    exactly_one_of,
    rules,
)

Glob = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Format = Literal["text", "code", "jsonl", "csv", "parquet"]
Algorithm = Literal["bpe", "unigram", "wordpiece"]
Language = Annotated[str, StringConstraints(max_length=3, pattern=r"^[a-z]{2,3}$")]


Entity = Literal["email", "phone", "creditCard", "ipAddress", "iban", "nationalId"]


DatasetType = Literal["text", "chat", "pairs", "labeled", "tags"]
Label = Annotated[str, StringConstraints(min_length=1, max_length=128)]
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


class Split(ApiModel):
    """Which documents are held out."""

    validation_fraction: float = Field(
        default=0.01,
        description="Share of the documents held out for validation, by document hash.",
        ge=0,
        le=0.5,
    )


class Clean(ApiModel):
    """Bring texts into Unicode NFC without control characters; leave out what is not wanted."""

    min_characters: int = Field(
        default=0, description="Shorter documents are left out.", ge=0, le=8388608
    )
    max_characters: int | None = Field(
        default=None, description="Longer documents are left out.", ge=1, le=8388608
    )
    languages: list[Language] | None = Field(
        default=None,
        description="Documents in other languages (ISO 639 codes, as en) are left out; source code "
        "is not judged. Absent: any language.",
        min_length=1,
        max_length=32,
        json_schema_extra=LIST_ATOMIC,
    )
    repetition: bool = Field(
        default=True,
        description="Documents that repeat themselves are left out, by the rules of Gopher (Rae "
        "et al. 2021, table A1); source code is not judged.",
    )


class NearDuplicates(ApiModel):
    """Documents that share most of their runs of five words."""

    similarity_percent: int = Field(
        default=80,
        description="Jaccard similarity of their five-word runs from which on two documents are "
        "the same; the first stays.",
        ge=50,
        le=95,
    )


class Deduplicate(ApiModel):
    """Keep one of several documents that are the same."""

    exact: bool = Field(
        default=True, description="Of documents that differ in white space alone, keep the first."
    )
    near: NearDuplicates | None = Field(
        default=None, description="Also of documents that are similar; absent: keep them."
    )


class Redact(ApiModel):
    """Replace personal data by placeholders that name its type, as <EMAIL>."""

    entities: list[Entity] = Field(
        default=["email", "phone", "creditCard", "ipAddress", "iban", "nationalId"],
        description="What is replaced: found by pattern, and where there is a check digit, by "
        "that.",
        min_length=1,
        max_length=6,
        json_schema_extra=LIST_ATOMIC,
    )


class Prepare(ApiModel):
    """Steps between reading and tokenizing.

    Documents are cleaned, then redacted, then compared: copies by their texts before redaction,
    near copies by those after it.
    """

    clean: Clean | None = Field(
        default=None, description="Normalise and leave out documents; absent: as they are."
    )
    deduplicate: Deduplicate | None = Field(
        default=None, description="Keep each text once; absent: as often as it comes."
    )
    redact: Redact | None = Field(
        default=None, description="Replace personal data; absent: leave it."
    )
    split: Split = Field(default=Split(), description="Which documents are held out.")


class TrainTokenizer(ApiModel):
    """A tokenizer trained on the dataset itself."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.algorithm != 'wordpiece' || self.vocabularySize >= 600",
                "wordpiece needs a vocabularySize of at least 600, because every byte is a token "
                "at the beginning of a word and within one: raise it, or choose bpe",
            )
        )
    )

    algorithm: Algorithm = Field(
        default="bpe",
        description="All work on bytes and lose nothing; wordpiece marks what continues a word "
        "with ##.",
    )
    vocabulary_size: int = Field(
        default=32000, description="Tokens in the vocabulary.", ge=300, le=1048576
    )


class Tokenizer(ApiModel):
    """Where the tokenizer comes from."""

    train: TrainTokenizer = Field(description="Train one on this dataset.")


def _fields_of(member: str) -> tuple[str, str]:
    """The rule that a member of `Fields` is named with its types alone."""
    types = [type_ for type_, members in RECORD_MEMBERS.items() if member in members]
    return (
        f"self.type in {types} || !self.sources.exists(s, has(s.fields) && has(s.fields.{member}))",
        f"fields.{member} is for type {' and '.join(types)}: remove it, or correct spec.type",
    )


class LLMDatasetSpec(ApiModel):
    """What is read, and how it becomes tokens or examples."""

    mutable: ClassVar[frozenset[str]] = frozenset(
        {"sources", "prepare", "workers", "refreshSeconds", "keepVersions"}
    )

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.type == 'text' || !self.sources.exists(s, s.format in ['text', 'code'])",
                "formats text and code hold texts: set each source's format to jsonl, csv or "
                "parquet, or spec.type to text",
            ),
            (
                "!(self.type in ['chat', 'tags']) || !self.sources.exists(s, s.format == 'csv')",
                "records of type chat and tags hold lists, which csv has not: use jsonl or parquet",
            ),
            (
                "(self.type in ['labeled', 'tags']) == has(self.labels)",
                "types labeled and tags need labels, the others have none: set or remove "
                "spec.labels",
            ),
            (
                "self.type != 'tags' || !has(self.prepare.redact)",
                "placeholders would part tokens from their tags: remove prepare.redact",
            ),
            *map(_fields_of, Fields.model_fields),
        )
    )

    type: DatasetType = Field(
        description="What a document is: text, packed into token shards; or an example: chat, "
        "messages in turn; pairs, what is given and what is wanted; labeled, a text and its "
        "label; tags, words and a tag for each."
    )
    sources: list[Source] = Field(
        description="Where documents come from.",
        min_length=1,
        max_length=32,
        json_schema_extra=LIST_ATOMIC,
    )
    labels: list[Label] | None = Field(
        default=None,
        description="Types labeled and tags: all labels; their order gives their numbers.",
        min_length=1,
        max_length=1024,
        json_schema_extra=LIST_SET,
    )
    prepare: Prepare = Field(default=Prepare(), description="Steps between reading and tokenizing.")
    tokenizer: Tokenizer = Field(description="Where the tokenizer comes from.")
    sequence_length: int = Field(
        default=2048,
        description="Tokens of one packed sequence; of an example, where training cuts it.",
        ge=16,
        le=1048576,
    )
    refresh_seconds: int = Field(
        default=0,
        description="Look at the sources again after so many seconds; 0: only when the annotation "
        "llmcloud.dev/refresh changes. Sources that changed give a new version.",
        ge=0,
        le=31536000,
    )
    keep_versions: int = Field(
        default=3,
        description="Older versions are removed from the store a minute after a newer one is "
        "there, but for those that a job uses.",
        ge=1,
        le=32,
    )
    workers: int = Field(
        default=1, description="Pods that prepare a version together.", ge=1, le=256
    )
    output: Output = Field(description="Where versions are written.")
    resources: Resources = Field(default=Resources(), description="Of each preparing pod.")
    pod: PodSettings = Field(default=PodSettings(), description="Additions to the preparing pods.")


class TokenizerStatus(ApiModel):
    """The tokenizer of the newest version."""

    digest: Digest = Field(description="Digest of its files.")


class DatasetProgress(ApiModel):
    """How far the preparing pod is."""

    percent: int = Field(default=0, description="Of the whole work.", ge=0, le=100)


class LLMDatasetStatus(Status):
    """The newest version and what it holds."""

    version: Digest | None = Field(default=None, description="The newest version.")
    versions: list[Digest] = Field(
        default=[],
        description="All versions, the newest first.",
        max_length=64,
        json_schema_extra=LIST_ATOMIC,
    )
    url: str | None = Field(
        default=None, description="Where the newest version lies.", max_length=2048
    )
    tokenizer: TokenizerStatus | None = Field(
        default=None, description="The tokenizer of the newest version."
    )
    documents: int | None = Field(default=None, description="Documents kept.", ge=0)
    tokens: int | None = Field(
        default=None, description="Tokens for training; of examples, of their texts.", ge=0
    )
    bytes: int | None = Field(default=None, description="Bytes read from the sources.", ge=0)
    shards: int | None = Field(default=None, description="Files of tokens or examples.", ge=0)
    rejected: dict[str, int] | None = Field(
        default=None, description="Documents left out, by reason.", max_length=32
    )
    redacted: dict[str, int] | None = Field(
        default=None, description="Placeholders put for personal data, by type.", max_length=32
    )
    progress: DatasetProgress | None = Field(
        default=None, description="How far the preparing pod is."
    )
    attempt: int = Field(default=0, description="Number of the last preparing Job.", ge=0)
    recipe: str | None = Field(
        default=None, description="Digest of what the newest version was made by.", max_length=71
    )
