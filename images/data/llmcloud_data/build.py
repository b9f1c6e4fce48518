"""The files of one version: a corpus becomes a tokenizer and shards, uploaded as they fill.

Everything lies below `a<attempt>/` of the version's folder, and nothing names it before its
manifest is published.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from llmcloud.api.contract import DatasetManifest, DatasetTask, FileEntry, ShardEntry
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import ConfigurationInvalid, SourceEmpty
from llmcloud.cloud.manifest import files_digest, sha256_of, upload_folder
from llmcloud_data import shards, tokens
from llmcloud_data.corpus import Corpus, build_corpus
from llmcloud_data.examples import Shape, decoded
from llmcloud_data.progress import (
    PERCENT_CORPUS,
    PERCENT_PACKED,
    PERCENT_READ,
    PERCENT_TOKENIZER,
    Percent,
)
from llmcloud_data.shards import Shard
from llmcloud_data.sources import SourceFile, describe
from llmcloud_data.spool import Spool

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Build:
    """One attempt at one version; `folder` is the version's, `scratch` is on disk."""

    task: DatasetTask
    store: Store
    folder: str
    version: str
    scratch: Path
    progress: Percent

    def run(self, files: list[SourceFile]) -> DatasetManifest:
        """Make and upload the files. Removes `files`. The manifest is not written."""
        total_bytes = sum(source.entry.bytes for source in files)
        advance = self.progress.between(PERCENT_READ, PERCENT_CORPUS, total_bytes)
        shape = Shape(self.task.type, tuple(self.task.labels))
        scratch = self.scratch / "corpus"
        with build_corpus(files, shape, self.task.prepare, scratch, advance) as corpus:
            if not len(corpus.train):
                raise SourceEmpty(
                    f"None of the {len(files)} objects of {describe(self.task.sources)} holds a "
                    f"{self.task.type} document that is kept ({corpus.rejected}); texts are UTF-8 "
                    "and not empty."
                )
            return self._manifest(files, corpus)

    def _manifest(self, files: list[SourceFile], corpus: Corpus) -> DatasetManifest:
        task, length = self.task, self.task.sequence_length_tokens
        tokenizer = self._trained(corpus)
        prefix = f"{self._attempt}tokenizer/"
        tokenizer_files = upload_folder(
            self.store, self.scratch / "tokenizer", self.folder + prefix
        )
        total_bytes = corpus.train.bytes + corpus.validation.bytes
        advance = self.progress.between(PERCENT_TOKENIZER, PERCENT_PACKED, total_bytes)
        train, train_tokens = self._split("train", tokenizer, corpus.train, advance)
        validation, validation_tokens = self._split(
            "validation", tokenizer, corpus.validation, advance
        )
        if not train:
            raise ConfigurationInvalid(
                f"The texts of {describe(task.sources)} are shorter than one sequence of {length} "
                "tokens; add texts, or lower spec.sequenceLength."
            )
        return DatasetManifest(
            version=self.version,
            recipe=task.recipe,
            attempt=task.attempt,
            type=task.type,
            labels=task.labels,
            sources=[source.entry for source in files],
            documents=len(corpus.train) + len(corpus.validation),
            validation_documents=len(corpus.validation),
            tokens=train_tokens,
            validation_tokens=validation_tokens,
            sequence_length_tokens=length,
            vocabulary_size=tokenizer.get_vocab_size(),
            end_of_text_id=tokens.end_of_text_id(tokenizer),
            documents_read=corpus.read,
            rejected=corpus.rejected,
            redacted=corpus.redacted,
            tokenizer_digest=files_digest(tokenizer_files),
            tokenizer=[_below(prefix, entry) for entry in tokenizer_files],
            train=train,
            validation=validation,
        )

    @property
    def _attempt(self) -> str:
        return f"a{self.task.attempt}/"

    def _trained(self, corpus: Corpus) -> Tokenizer:
        log.info("Training the tokenizer on %d documents", len(corpus.train))
        task = self.task
        tokenizer = tokens.train(task.tokenizer_algorithm, corpus.texts(), task.vocabulary_size)
        tokens.save(tokenizer, self.scratch / "tokenizer", self.task.sequence_length_tokens)
        self.progress.set(PERCENT_TOKENIZER)
        return tokenizer

    def _split(
        self, name: str, tokenizer: Tokenizer, lines: Spool, advance: Callable[[int], None]
    ) -> tuple[list[ShardEntry], int]:
        """The shards of a split and their tokens; scratch holds one shard at a time."""
        log.info("Writing %d documents for %s", len(lines), name)
        type_, length = self.task.type, self.task.sequence_length_tokens

        def texts() -> Iterator[str]:
            for line in lines:
                yield decoded(type_, line).text
                advance(len(line))

        stream = tokens.encode(tokenizer, texts())
        if type_ == "text":
            written = shards.pack(stream, self.scratch / name, length)
            count = 0
        else:
            # The end of each text is no token of an example.
            count = sum(map(len, stream)) - len(lines)
            written = shards.write_lines(lines, self.scratch / name)
        entries = [self._uploaded(f"{self._attempt}{name}/", shard) for shard in written]
        return entries, count + sum(entry.sequences for entry in entries) * length

    def _uploaded(self, prefix: str, shard: Shard) -> ShardEntry:
        entry = ShardEntry(
            key=prefix + shard.file.name,
            bytes=shard.file.stat().st_size,
            sha256=sha256_of(shard.file),
            sequences=shard.sequences,
            examples=shard.examples,
        )
        self.store.put(self.folder + entry.key, shard.file)
        shard.file.unlink()
        return entry


def _below(folder: str, entry: FileEntry) -> FileEntry:
    return entry.model_copy(update={"key": folder + entry.key})
