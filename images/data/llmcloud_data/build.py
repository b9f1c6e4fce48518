"""Building a version: read the parts, merge, make the tokenizer, pack, join what is left.

Every phase is units of work (`work`) whose results depend on the task and the sources alone, so
any number of workers makes the same shards. What is on its way lies below the folders of the
work, what is to stay below the version's; nothing names the latter before the manifest.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from llmcloud.api.contract import DatasetManifest, DatasetTask
from llmcloud.cloud.manifest import MANIFEST, dataset_version, version_path
from llmcloud_data.examples import Shape
from llmcloud_data.merging import STATES, merge
from llmcloud_data.model_tokenizer import ModelTokenizer
from llmcloud_data.packed import PackedVersion
from llmcloud_data.parts import part_name
from llmcloud_data.progress import PERCENT_MERGED, PERCENT_READ, Percent
from llmcloud_data.reading import BANDS, TABLE, TEXTS, Texts, read_part
from llmcloud_data.results import MergeResult, PartResult
from llmcloud_data.sources import SourceObject, read_sources
from llmcloud_data.work import Unit, Work

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Build:
    """One worker's share of a version. `parts` are the same for all; `scratch` is on disk.

    `reading`: the work on parts, which is the same whatever other parts there are. `taken`: the
    tokenizer, where none is trained.
    """

    task: DatasetTask
    work: Work
    reading: Work
    parts: Sequence[Sequence[SourceObject]]
    scratch: Path
    progress: Percent
    taken: ModelTokenizer | None = None

    def manifest(self) -> DatasetManifest:
        """Make and upload the files, as far as nobody else has. The manifest is not written."""
        names = [part_name(part, self.task.recipe) for part in self.parts]
        units = [
            Unit(name, partial(self._read, name, part))
            for name, part in zip(names, self.parts, strict=True)
        ]
        advance = self.progress.between(0, PERCENT_READ, len(units))
        parts = self.reading.results(units, PartResult, advance)
        sources = [source for part in parts for source in part.sources]
        version = dataset_version(
            self.task.recipe, sources, self.taken.digest if self.taken else None
        )
        self.work.require_new(version, version_path(self.task.output_path, version) + MANIFEST)
        log.info("Version %s: %d documents were read", version, sum(p.documents for p in parts))
        advance = self.progress.between(PERCENT_READ, PERCENT_MERGED, 1)
        unit = Unit("merge", partial(self._merge, parts))
        (merged,) = self.work.results([unit], MergeResult, advance)
        packed = PackedVersion(
            self.task,
            self.work,
            self.reading,
            version,
            parts,
            merged,
            self.scratch,
            self.progress,
            self.taken,
        )
        return packed.manifest()

    def _read(self, unit: str, part: Sequence[SourceObject]) -> PartResult:
        folder = _emptied(self.scratch / "read")
        files = read_sources(list(part), folder / "sources", lambda _: None)
        shape = Shape(self.task.type, tuple(self.task.labels))
        counts = read_part(files, shape, self.task.prepare, folder / "part")
        kept = {
            name: self.reading.keep(file, f"{unit}-{name}")
            for name in (TEXTS, TABLE, BANDS)
            if (file := folder / "part" / name).exists()
        }
        shutil.rmtree(folder)
        return PartResult(
            sources=[source.entry for source in files],
            documents=counts.documents,
            rejected=counts.rejected,
            texts=kept[TEXTS],
            table=kept[TABLE],
            bands=kept.get(BANDS),
        )

    def _merge(self, parts: Sequence[PartResult]) -> MergeResult:
        folder = _emptied(self.scratch / "merge")
        places = [folder / f"{number:06d}" for number in range(len(parts))]
        for part, place in zip(parts, places, strict=True):
            self.reading.fetch(part.table, place / TABLE)
            if part.bands is not None:
                self.reading.fetch(part.bands, place / BANDS)

        def texts_of(number: int) -> Texts:
            self.reading.fetch(parts[number].texts, places[number] / TEXTS)
            return Texts(places[number])

        opened: dict[int, Texts] = {}

        def text_of(number: int, place: int) -> str:
            if number not in opened:
                opened[number] = texts_of(number)
            return opened[number].text(self.task.type, place)

        counts = merge(places, self.task.prepare, text_of, folder)
        states = self.work.keep(folder / STATES, STATES)
        shutil.rmtree(folder)
        return MergeResult(
            duplicates=counts.duplicates,
            near_duplicates=counts.near_duplicates,
            train=counts.train,
            validation=counts.validation,
            states=states,
        )


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
