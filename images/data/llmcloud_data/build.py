"""The files of one version: a corpus becomes a tokenizer and packed shards, uploaded as they fill.

Everything lies below `a<attempt>/` of the version's folder, and nothing names it before its
manifest is published.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from llmcloud.api.contract import DatasetManifest, DatasetTask, FileEntry, ShardEntry
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import ConfigurationInvalid, SourceEmpty
from llmcloud.cloud.manifest import files_digest, sha256_of, upload_folder
from llmcloud_data import shards, tokens
from llmcloud_data.corpus import Corpus, build_corpus
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
        steps, scratch = self.task.prepare, self.scratch / "corpus"
        with build_corpus(files, steps, scratch, advance) as corpus:
            if not len(corpus.train):
                raise SourceEmpty(
                    f"None of the {len(files)} objects of {describe(self.task.sources)} holds a "
                    f"text that is kept ({corpus.rejected}); texts are UTF-8 and not empty."
                )
            return self._manifest(files, corpus)

    def _manifest(self, files: list[SourceFile], corpus: Corpus) -> DatasetManifest:
        task, length = self.task, self.task.sequence_length_tokens
        tokenizer = self._trained(corpus)
        prefix = f"{self._attempt}tokenizer/"
        tokenizer_files = upload_folder(
            self.store, self.scratch / "tokenizer", self.folder + prefix
        )
        train, validation = self._packed(tokenizer, corpus)
        if not train:
            raise ConfigurationInvalid(
                f"The texts of {describe(task.sources)} are shorter than one sequence of {length} "
                "tokens; add texts, or lower spec.sequenceLength."
            )
        return DatasetManifest(
            version=self.version,
            recipe=task.recipe,
            attempt=task.attempt,
            sources=[source.entry for source in files],
            documents=len(corpus.train) + len(corpus.validation),
            validation_documents=len(corpus.validation),
            tokens=sum(shard.sequences for shard in train) * length,
            validation_tokens=sum(shard.sequences for shard in validation) * length,
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
        tokenizer = tokens.train(task.tokenizer_algorithm, corpus.train, task.vocabulary_size)
        tokens.save(tokenizer, self.scratch / "tokenizer", self.task.sequence_length_tokens)
        self.progress.set(PERCENT_TOKENIZER)
        return tokenizer

    def _packed(
        self, tokenizer: Tokenizer, corpus: Corpus
    ) -> tuple[list[ShardEntry], list[ShardEntry]]:
        """The shards of both splits; scratch holds one at a time."""
        total_bytes = corpus.train.bytes + corpus.validation.bytes
        advance = self.progress.between(PERCENT_TOKENIZER, PERCENT_PACKED, total_bytes)

        def taken(texts: Spool) -> Iterator[str]:
            for text in texts:
                yield text
                advance(len(text))

        def upload(name: str, texts: Spool) -> list[ShardEntry]:
            log.info("Packing %d documents for %s", len(texts), name)
            stream = tokens.encode(tokenizer, taken(texts))
            length = self.task.sequence_length_tokens
            packed = shards.pack(stream, self.scratch / name, length)
            return [self._uploaded(f"{self._attempt}{name}/", shard) for shard in packed]

        return upload("train", corpus.train), upload("validation", corpus.validation)

    def _uploaded(self, prefix: str, shard: Shard) -> ShardEntry:
        entry = ShardEntry(
            key=prefix + shard.file.name,
            bytes=shard.file.stat().st_size,
            sha256=sha256_of(shard.file),
            sequences=shard.sequences,
        )
        self.store.put(self.folder + entry.key, shard.file)
        shard.file.unlink()
        return entry


def _below(folder: str, entry: FileEntry) -> FileEntry:
    return entry.model_copy(update={"key": folder + entry.key})
