"""Dataset versions for training and judging: packed sequences or examples, of one or several.

Sequences to learn from are streamed from the store; everything else lies on local disk, verified.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmcloud.api.contract import (
    DatasetInput,
    DatasetManifest,
    FileEntry,
    ShardEntry,
    TrainingTask,
)
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.manifest import MANIFEST, download, read_manifest, version_path
from llmcloud_runtime.configuration import check_alike, check_dataset, check_split
from llmcloud_runtime.errors import DatasetVersionNotFound
from llmcloud_runtime.group import Group
from llmcloud_runtime.loader import Loader, Reader, StoredDataset
from llmcloud_runtime.records import ExampleReader, Examples, Mixture
from llmcloud_runtime.shards import TokenShards


@dataclass(frozen=True)
class Data:
    """A version of a dataset, or of several that are alike. `train` None: nothing is learned from
    it. `manifest`: of the first; what all share."""

    name: str
    manifest: DatasetManifest
    train: Loader | Mixture | None
    validation: TokenShards | Examples
    tokenizer: Path | None

    @property
    def labels(self) -> Mapping[str, int]:
        """The number of every label."""
        return {label: number for number, label in enumerate(self.manifest.labels)}

    @property
    def epoch_examples(self) -> int:
        """Sequences or examples of one epoch."""
        assert self.train is not None, "there is nothing to learn from"
        if isinstance(self.train, Mixture):
            return self.train.epoch_examples
        return self.train.epoch_sequences

    def reader(self, seed: int, end: int, group: Group) -> Reader | ExampleReader:
        """Reads this rank's part of the training run, which is `end` records long."""
        assert self.train is not None, "there is nothing to learn from"
        if isinstance(self.train, Mixture):
            return ExampleReader(self.train, seed, group.rank, group.ranks)
        return Reader(self.train, end, group.rank, group.ranks)


@contextmanager
def opened_data(task: TrainingTask, scratch: Path) -> Iterator[tuple[Data, Data]]:
    """What is learned from, of one or several datasets, and what is judged by: often the same.

    Raises DatasetVersionNotFound, DigestMismatch, ConfigurationInvalid, VocabularyMismatch.
    """
    with ExitStack() as stack:
        judged = learned = None
        if task.evaluation_dataset is not None:
            judged = _judged(_version(task, task.evaluation_dataset, scratch / "evaluation"))
        if task.datasets:
            folder = scratch / "datasets"
            versions = [
                _version(task, dataset, folder / str(number))
                for number, dataset in enumerate(task.datasets)
            ]
            learned = _learned(versions, task.seed, folder / "shards", stack)
        one, other = learned or judged, judged or learned
        assert one is not None, "admission: there is a dataset"
        assert other is not None, "admission: there is a dataset"
        if task.metrics:
            check_split(other.name, len(other.validation), "validation")
        yield one, other


@dataclass(frozen=True)
class _Version:
    """A version of a dataset, and the folder that has its files once they are downloaded."""

    dataset: DatasetInput
    store: Store
    path: str
    manifest: DatasetManifest
    folder: Path

    def download(self, files: Sequence[FileEntry]) -> None:
        """Raises DigestMismatch."""
        download(self.store, self.path, files, self.folder)


def _version(task: TrainingTask, dataset: DatasetInput, folder: Path) -> _Version:
    store = open_store(dataset.store)
    path = version_path(dataset.path, dataset.version)
    manifest = read_manifest(store, path + MANIFEST, DatasetManifest)
    if manifest is None:
        raise DatasetVersionNotFound(
            f"Version {dataset.version} of dataset {dataset.name} is not at {store.url(path)}; pin "
            "a version that the dataset's status lists."
        )
    check_dataset(task, dataset.name, manifest)
    return _Version(dataset, store, path, manifest, folder)


def _judged(version: _Version) -> Data:
    """All of it, and nothing of it is learned from."""
    manifest = version.manifest
    files = [*manifest.train, *manifest.validation]
    version.download([*manifest.tokenizer, *files])
    records = _records(manifest, [(version.folder, files)])
    tokenizer = _tokenizer_folder(version.folder, manifest.tokenizer)
    return Data(version.dataset.name, manifest, None, records, tokenizer)


def _learned(versions: Sequence[_Version], seed: int, shards: Path, stack: ExitStack) -> Data:
    """The training splits by their weights, and the validation splits one after the other."""
    check_alike([(version.dataset.name, version.manifest) for version in versions])
    first = versions[0]
    for version in versions:
        count = sum(entry.sequences + entry.examples for entry in version.manifest.train)
        check_split(version.dataset.name, count, "training")
        version.download(version.manifest.validation)
    first.download(first.manifest.tokenizer)
    return Data(
        ", ".join(version.dataset.name for version in versions),
        first.manifest,
        _training(versions, seed, shards, stack),
        _records(first.manifest, [(one.folder, one.manifest.validation) for one in versions]),
        _tokenizer_folder(first.folder, first.manifest.tokenizer),
    )


def _training(
    versions: Sequence[_Version], seed: int, shards: Path, stack: ExitStack
) -> Loader | Mixture:
    weights = [version.dataset.weight for version in versions]
    if versions[0].manifest.type == "text":
        stored = [
            StoredDataset(
                one.store, one.path, one.manifest.train, one.manifest.sequence_length_tokens, weight
            )
            for one, weight in zip(versions, weights, strict=True)
        ]
        return stack.enter_context(Loader(stored, seed, shards))
    for version in versions:
        version.download(version.manifest.train)
    return Mixture([_examples([(one.folder, one.manifest.train)]) for one in versions], weights)


Located = Sequence[tuple[Path, Sequence[ShardEntry]]]
"""Shards, and the folder in which they lie."""


def _records(manifest: DatasetManifest, located: Located) -> TokenShards | Examples:
    """Packed sequences or examples, as the type of `manifest` has them."""
    if manifest.type != "text":
        return _examples(located)
    files = [
        (folder / entry.key, entry.sequences) for folder, shards in located for entry in shards
    ]
    return TokenShards(files, manifest.sequence_length_tokens)


def _examples(located: Located) -> Examples:
    return Examples(
        [(folder / entry.key, entry.examples) for folder, shards in located for entry in shards]
    )


def _tokenizer_folder(folder: Path, files: list[FileEntry]) -> Path | None:
    """Where tokenizer.json lies below the dataset's folder."""
    found = (folder / file.key for file in files if file.key.endswith("tokenizer.json"))
    return next((file.parent for file in found), None)
