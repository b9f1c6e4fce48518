"""How a checkpoint's tensors are copied and written so that training hardly waits.

DCP takes new memory for every copy, and touching it takes longer than copying; then it holds
Python's lock while it makes one string of a whole file, and the steps wait for that too.
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch.distributed._state_dict_utils import _copy_state_dict, _create_cpu_state_dict
from torch.distributed.checkpoint._hf_utils import (
    CUSTOM_METADATA_KEY,
    SAVED_OFFSETS_KEY,
    _gen_file_name,
)
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.staging import BlockingAsyncStager
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future


class Copies(BlockingAsyncStager):
    """Every copy lies where the one before did, which must have been written by then."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, Any] | None = None

    def stage(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """The tensors on the CPU, under the same names."""
        if self._kept is None:
            self._kept = _create_cpu_state_dict(state_dict)
        copied: dict[str, Any] = _copy_state_dict(state_dict, self._kept)
        return copied


class ShardWriter(HuggingFaceStorageWriter):
    """Writes this rank's file as its base does, straight from the tensors' memory.

    It is not flushed to the disk, which nobody reads after a crash: the store has it or nobody.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), save_distributed=True)

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> "Future[list[WriteResult]]":
        """One file of all that the plan leaves to this rank."""
        tensors = {item.index.fqn: planner.resolve_data(item).detach() for item in plan.items}
        offsets = {
            item.index.fqn: {SAVED_OFFSETS_KEY: item.tensor_data.chunk.offsets}
            for item in plan.items
        }
        if tensors:
            name = _gen_file_name(1, 1, plan.storage_data["shard_index"])
            metadata = {"format": "pt", CUSTOM_METADATA_KEY: json.dumps(offsets)}
            save_file(tensors, Path(self.path, name), metadata)
        written: Future[list[WriteResult]] = Future()
        written.set_result(
            [WriteResult(item.index, tensors[item.index.fqn].nbytes, None) for item in plan.items]
        )
        return written
