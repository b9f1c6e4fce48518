"""The second half of a build, when it is known what is kept: tokenizer, shards, manifest."""

import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from llmcloud.api.contract import DatasetManifest, DatasetTask, FileEntry, ShardEntry
from llmcloud.cloud.errors import ConfigurationInvalid, SourceEmpty
from llmcloud.cloud.manifest import files_digest, sha256_of, version_path
from llmcloud_data import tokens
from llmcloud_data.examples import decoded
from llmcloud_data.merging import GONE, STATES, TRAIN, VALIDATION, States
from llmcloud_data.model_tokenizer import ModelTokenizer
from llmcloud_data.packing import Packing
from llmcloud_data.progress import PERCENT_MERGED, PERCENT_PACKED, PERCENT_TOKENIZER, Percent
from llmcloud_data.reading import (
    CHUNK_DOCUMENTS,
    ENTITIES,
    TABLE,
    TEXTS,
    numbers,
    read_texts,
    table_of,
)
from llmcloud_data.rejections import Rejection
from llmcloud_data.results import (
    JoinResult,
    MergeResult,
    PackResult,
    PartResult,
    SplitResult,
    TokenizerResult,
)
from llmcloud_data.shards import REST, Shard
from llmcloud_data.sources import describe
from llmcloud_data.work import Unit, Work

SPLITS: Final = (("train", TRAIN), ("validation", VALIDATION))

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackedVersion:
    """A version whose parts are read and merged, as one worker packs it."""

    task: DatasetTask
    work: Work
    reading: Work
    version: str
    parts: Sequence[PartResult]
    merged: MergeResult
    scratch: Path
    progress: Percent
    taken: ModelTokenizer | None

    def manifest(self) -> DatasetManifest:
        """Make and upload the files, as far as nobody else has. Raises SourceEmpty,
        ConfigurationInvalid."""
        if not self.merged.train:
            raise SourceEmpty(
                f"None of the {sum(len(part.sources) for part in self.parts)} objects of "
                f"{describe(self.task.sources)} holds a {self.task.type} document that is kept "
                f"({self._rejected()}); texts are UTF-8 and not empty."
            )
        advance = self.progress.between(PERCENT_MERGED, PERCENT_TOKENIZER, 1)
        unit = Unit("tokenizer", self._make_tokenizer)
        (tokenizer,) = self.work.results([unit], TokenizerResult, advance)
        count = len(self.parts)
        units = [Unit(f"pack-{n:06d}", partial(self._pack, n, tokenizer)) for n in range(count)]
        advance = self.progress.between(PERCENT_TOKENIZER, PERCENT_PACKED, count)
        packed = self.work.results(units, PackResult, advance)
        unit = Unit("join", partial(self._join, packed, tokenizer))
        (joined,) = self.work.results([unit], JoinResult, lambda _: None)
        return self._assembled(tokenizer, packed, joined)

    @property
    def _folder(self) -> str:
        return version_path(self.task.output_path, self.version)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(part.documents for part in self.parts)]

    @cached_property
    def _states(self) -> States:
        """Of all documents; empty files cannot be mapped."""
        file = self.work.fetch(self.merged.states, self.scratch / STATES)
        if not self.merged.states.bytes:
            return np.zeros(0, dtype=np.uint8)
        return np.memmap(file, dtype=np.uint8, mode="r")

    def _states_of(self, number: int) -> States:
        return self._states[self._starts[number] : self._starts[number + 1]]

    def _fetched(self, number: int) -> Path:
        """A folder with texts and table of a part, in place of the one before."""
        folder = self.scratch / "packed"
        shutil.rmtree(folder, ignore_errors=True)
        part = self.parts[number]
        self.reading.fetch(part.table, folder / TABLE)
        self.reading.fetch(part.texts, folder / TEXTS)
        return folder

    def _make_tokenizer(self) -> TokenizerResult:
        if self.taken is not None:
            return TokenizerResult(
                files=self._stored(self.taken.folder),
                vocabulary_size=self.taken.vocabulary_size,
                end_of_text_id=self.taken.end_of_text_id,
            )
        log.info("Training the tokenizer on %d documents", self.merged.train)
        task = self.task
        tokenizer = tokens.train(
            task.tokenizer_algorithm, self._training_texts(), task.vocabulary_size
        )
        folder = self.scratch / "trained"
        shutil.rmtree(folder, ignore_errors=True)
        tokens.save(tokenizer, folder, task.sequence_length_tokens)
        return TokenizerResult(
            files=self._stored(folder),
            vocabulary_size=tokenizer.get_vocab_size(),
            end_of_text_id=tokens.end_of_text_id(tokenizer),
        )

    def _training_texts(self) -> Iterator[str]:
        for number in range(len(self.parts)):
            folder = self._fetched(number)
            for line in _lines(folder, self._states_of(number), TRAIN):
                yield decoded(self.task.type, line).text

    def _stored(self, folder: Path) -> list[FileEntry]:
        """Upload a tokenizer's files below a folder that bears the beginning of their digest."""
        entries = [
            FileEntry(key=file.name, bytes=file.stat().st_size, sha256=sha256_of(file))
            for file in sorted(folder.iterdir())
        ]
        prefix = f"tokenizer/{files_digest(entries).removeprefix('sha256:')[:16]}/"
        for entry in entries:
            self.work.put(self._folder + prefix + entry.key, folder / entry.key)
        return [entry.model_copy(update={"key": prefix + entry.key}) for entry in entries]

    def _packing(self, tokenizer: TokenizerResult) -> Packing:
        (entry,) = [e for e in tokenizer.files if e.key.endswith("/tokenizer.json")]
        file = self.scratch / "tokenizer.json"
        if not file.exists():
            there = entry.model_copy(update={"key": self._folder + entry.key})
            self.work.fetch(there, file)
        return Packing(
            self.task.type,
            Tokenizer.from_file(str(file)),
            self.task.sequence_length_tokens,
            tokenizer.end_of_text_id,
        )

    def _pack(self, number: int, tokenizer: TokenizerResult) -> PackResult:
        part, packing = self._fetched(number), self._packing(tokenizer)
        states = self._states_of(number)
        results = {
            name: self._pack_split(f"{name}/{number:06d}", part, states, side, packing)
            for name, side in SPLITS
        }
        redacted = _redacted(part, states)
        shutil.rmtree(part)
        return PackResult(
            train=results["train"],
            validation=results["validation"],
            redacted=dict(zip(ENTITIES, redacted.tolist(), strict=True)),
        )

    def _pack_split(
        self, name: str, part: Path, states: States, side: int, packing: Packing
    ) -> SplitResult:
        folder = part / "shards"
        lines = partial(_lines, part, states, side)
        entries = [self._uploaded(name, shard) for shard in packing.shards(lines, folder)]
        rest = folder / REST
        kept = None
        if rest.exists() and rest.stat().st_size:
            kept = self.work.keep(rest, f"{name.replace('/', '-')}-rest.bin")
        shutil.rmtree(folder)
        return SplitResult(shards=entries, example_tokens=packing.example_tokens(lines), rest=kept)

    def _join(self, packed: Sequence[PackResult], tokenizer: TokenizerResult) -> JoinResult:
        packing = self._packing(tokenizer)
        return JoinResult(
            train=self._joined("train/rest", [p.train.rest for p in packed], packing),
            validation=self._joined(
                "validation/rest", [p.validation.rest for p in packed], packing
            ),
        )

    def _joined(
        self, name: str, rests: Sequence[FileEntry | None], packing: Packing
    ) -> list[ShardEntry]:
        folder = self.scratch / "joined"
        shutil.rmtree(folder, ignore_errors=True)
        files = [
            self.work.fetch(rest, folder / "rests" / str(number))
            for number, rest in enumerate(rests)
            if rest is not None
        ]
        return [self._uploaded(name, shard) for shard in packing.joined(files, folder / "shards")]

    def _uploaded(self, name: str, shard: Shard) -> ShardEntry:
        entry = self.work.upload(shard.file, f"{self._folder}{name}-{shard.file.name}")
        shard.file.unlink()
        return ShardEntry(
            key=entry.key.removeprefix(self._folder),
            bytes=entry.bytes,
            sha256=entry.sha256,
            sequences=shard.sequences,
            examples=shard.examples,
        )

    def _rejected(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for part in self.parts:
            counts.update(part.rejected)
        counts[Rejection.DUPLICATE] = self.merged.duplicates
        counts[Rejection.NEAR_DUPLICATE] = self.merged.near_duplicates
        return dict(sorted((reason, count) for reason, count in counts.items() if count))

    def _assembled(
        self, tokenizer: TokenizerResult, packed: Sequence[PackResult], joined: JoinResult
    ) -> DatasetManifest:
        task, length = self.task, self.task.sequence_length_tokens
        train = [*(shard for part in packed for shard in part.train.shards), *joined.train]
        validation = [
            *(shard for part in packed for shard in part.validation.shards),
            *joined.validation,
        ]
        if not train:
            raise ConfigurationInvalid(
                f"The texts of {describe(task.sources)} are shorter than one sequence of {length} "
                "tokens; add texts, or lower spec.sequenceLength."
            )
        redacted: Counter[str] = Counter()
        for part in packed:
            redacted.update(part.redacted)
        example_tokens = [
            sum(part.train.example_tokens for part in packed),
            sum(part.validation.example_tokens for part in packed),
        ]
        return DatasetManifest(
            version=self.version,
            recipe=task.recipe,
            attempt=task.attempt,
            type=task.type,
            labels=task.labels,
            sources=[source for part in self.parts for source in part.sources],
            documents=self.merged.train + self.merged.validation,
            validation_documents=self.merged.validation,
            tokens=sum(shard.sequences for shard in train) * length + example_tokens[0],
            validation_tokens=sum(s.sequences for s in validation) * length + example_tokens[1],
            sequence_length_tokens=length,
            vocabulary_size=tokenizer.vocabulary_size,
            end_of_text_id=tokenizer.end_of_text_id,
            documents_read=sum(p.documents + sum(p.rejected.values()) for p in self.parts),
            rejected=self._rejected(),
            redacted={entity: count for entity, count in sorted(redacted.items()) if count},
            tokenizer_digest=self.taken.name if self.taken else digest_of(tokenizer.files),
            tokenizer=tokenizer.files,
            train=train,
            validation=validation,
        )


def digest_of(tokenizer: Iterable[FileEntry]) -> str:
    """The digest of a tokenizer's files, wherever they lie in the version."""
    return files_digest(
        entry.model_copy(update={"key": entry.key.rpartition("/")[2]}) for entry in tokenizer
    )


def _redacted(part: Path, states: States) -> NDArray[np.uint64]:
    """How many of each of `ENTITIES` the documents of a part have that are kept."""
    column = table_of(part)["redacted"]
    found = np.zeros(len(ENTITIES), dtype=np.uint64)
    for start in range(0, len(column), CHUNK_DOCUMENTS):
        chunk = slice(start, start + CHUNK_DOCUMENTS)
        found += column[chunk][states[chunk] != GONE].sum(axis=0, dtype=np.uint64)
    return found


def _lines(part: Path, states: States, wanted: int) -> Iterator[str]:
    """The documents of a part that have the state `wanted`."""
    for line, state in zip(read_texts(part), numbers(states), strict=True):
        if state == wanted:
            yield line
