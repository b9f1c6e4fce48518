"""Dataset versions for training and judging: packed sequences, or examples.

Sequences to learn from are streamed from the store; everything else lies on local disk, verified.
"""

from collections.abc import Iterator, Mapping
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
from llmcloud.cloud.base import open_store
from llmcloud.cloud.manifest import MANIFEST, download, read_manifest, version_path
from llmcloud_runtime.configuration import check_dataset, check_split
from llmcloud_runtime.errors import DatasetVersionNotFound
from llmcloud_runtime.group import Group
from llmcloud_runtime.loader import Loader, Reader, StoredDataset
from llmcloud_runtime.records import ExampleReader, Examples
from llmcloud_runtime.shards import TokenShards


@dataclass(frozen=True)
class Data:
    """One version of a dataset. `train` None: nothing is learned from it."""

    name: str
    manifest: DatasetManifest
    train: Loader | Examples | None
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
        return len(self.train) if isinstance(self.train, Examples) else self.train.epoch_sequences

    def reader(self, seed: int, end: int, group: Group) -> Reader | ExampleReader:
        """Reads this rank's part of the training run, which is `end` records long."""
        assert self.train is not None, "there is nothing to learn from"
        if isinstance(self.train, Examples):
            return ExampleReader(self.train, seed, group.rank, group.ranks)
        return Reader(self.train, end, group.rank, group.ranks)


@contextmanager
def opened_data(task: TrainingTask, scratch: Path) -> Iterator[tuple[Data, Data]]:
    """The dataset that is learned from, and that which is judged by: often the same.

    Raises DatasetVersionNotFound, DigestMismatch, ConfigurationInvalid.
    """
    with ExitStack() as stack:
        judged = learned = None
        if task.evaluation_dataset is not None:
            folder = scratch / "evaluation"
            judged = _opened(task, task.evaluation_dataset, folder, stack, whole=True)
        if task.dataset is not None:
            learned = _opened(task, task.dataset, scratch / "dataset", stack, whole=False)
        one, other = learned or judged, judged or learned
        assert one is not None, "admission: there is a dataset"
        assert other is not None, "admission: there is a dataset"
        if task.metrics:
            check_split(other.name, len(other.validation), "validation")
        yield one, other


def _opened(
    task: TrainingTask, dataset: DatasetInput, folder: Path, stack: ExitStack, *, whole: bool
) -> Data:
    """`whole`: nothing of it is learned from, and all of it is judged by."""
    store = open_store(dataset.store)
    path = version_path(dataset.path, dataset.version)
    manifest = read_manifest(store, path + MANIFEST, DatasetManifest)
    if manifest is None:
        raise DatasetVersionNotFound(
            f"Version {dataset.version} of dataset {dataset.name} is not at {store.url(path)}; pin "
            "a version that the dataset's status lists."
        )
    check_dataset(task, dataset.name, manifest)
    judged = [*manifest.train, *manifest.validation] if whole else manifest.validation
    download(store, path, [*manifest.tokenizer, *judged], folder)
    train: Loader | Examples | None = None
    if not whole:
        count = sum(entry.sequences + entry.examples for entry in manifest.train)
        check_split(dataset.name, count, "training")
        if manifest.type == "text":
            length = manifest.sequence_length_tokens
            stored = StoredDataset(store, path, manifest.train, length)
            train = stack.enter_context(Loader([stored], task.seed, folder / "shards"))
        else:
            download(store, path, manifest.train, folder)
            train = _examples(folder, manifest.train)
    validation: TokenShards | Examples
    if manifest.type == "text":
        files = [(folder / entry.key, entry.sequences) for entry in judged]
        validation = TokenShards(files, manifest.sequence_length_tokens)
    else:
        validation = _examples(folder, judged)
    tokenizer = _tokenizer_folder(folder, manifest.tokenizer)
    return Data(dataset.name, manifest, train, validation, tokenizer)


def _examples(folder: Path, entries: list[ShardEntry]) -> Examples:
    return Examples([(folder / entry.key, entry.examples) for entry in entries])


def _tokenizer_folder(folder: Path, files: list[FileEntry]) -> Path | None:
    """Where tokenizer.json lies below the dataset's folder."""
    found = (folder / file.key for file in files if file.key.endswith("tokenizer.json"))
    return next((file.parent for file in found), None)
