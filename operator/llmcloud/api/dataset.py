"""LLMDataset: data in, immutable versions out."""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from llmcloud.api.base import ApiModel
from llmcloud.api.common import (
    LIST_ATOMIC,
    LIST_SET,
    Digest,
    Output,
    PodSettings,
    Resources,
    Status,
    exactly_one_of,
    rules,
)
from llmcloud.api.model import ModelReference
from llmcloud.api.source import RECORD_MEMBERS as RECORD_MEMBERS
from llmcloud.api.source import DatasetType as DatasetType
from llmcloud.api.source import Fields as Fields
from llmcloud.api.source import Format as Format
from llmcloud.api.source import Source as Source

Algorithm = Literal["bpe", "unigram", "wordpiece"]
Language = Annotated[str, StringConstraints(max_length=3, pattern=r"^[a-z]{2,3}$")]
Entity = Literal["email", "phone", "creditCard", "ipAddress", "iban", "nationalId"]
Label = Annotated[str, StringConstraints(min_length=1, max_length=128)]


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

    model_config = ConfigDict(json_schema_extra=rules(exactly_one_of("train", "model")))

    train: TrainTokenizer | None = Field(default=None, description="Train one on this dataset.")
    model: ModelReference | None = Field(
        default=None,
        description="Take that of a model, which has a tokenizer.json: so that the model can learn "
        "from tokens of this dataset. It is looked at whenever the sources are.",
    )


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
        description="Older versions leave status.versions when a newer one is there, and are "
        "removed from the store a minute later, but for those that a job uses.",
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


class DroppedVersions(ApiModel):
    """Versions on their way out; they come back to `versions` if a job turns out to use them."""

    versions: list[Digest] = Field(
        description="No job begins with these any more.",
        max_length=16,
        json_schema_extra=LIST_ATOMIC,
    )
    time: str = Field(description="When they are removed from the store.", max_length=64)


class LLMDatasetStatus(Status):
    """The newest version and what it holds."""

    version: Digest | None = Field(default=None, description="The newest version.")
    versions: list[Digest] = Field(
        default=[],
        description="All versions, the newest first.",
        max_length=64,
        json_schema_extra=LIST_ATOMIC,
    )
    dropping: DroppedVersions | None = Field(
        default=None, description="Versions that are too many."
    )
    url: str | None = Field(
        default=None, description="Where the newest version lies.", max_length=2048
    )
    tokenizer: TokenizerStatus | None = Field(
        default=None, description="The tokenizer of the newest version."
    )
    documents: int | None = Field(default=None, description="Documents kept.", ge=0)
    validation_documents: int | None = Field(
        default=None, description="Of these, documents held out for validation.", ge=0
    )
    documents_read: int | None = Field(
        default=None, description="Documents found in the sources.", ge=0
    )
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
