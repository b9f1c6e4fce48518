"""Features of several examples as the tensors of one batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from llmcloud_runtime.encoding import IGNORED, Features

Batch = dict[str, torch.Tensor]


class Collator:
    """Pads what differs in length on the right; where nothing does, there is no attention mask."""

    def __init__(self, pad_token_id: int) -> None:
        self._padding: Mapping[str, int] = {
            "input_ids": pad_token_id,
            "decoder_input_ids": pad_token_id,
            "labels": IGNORED,
        }

    def __call__(self, examples: Sequence[Features]) -> Batch:
        batch = {name: self._stack(name, [e[name] for e in examples]) for name in examples[0]}
        lengths = torch.tensor([len(example["input_ids"]) for example in examples])
        longest = batch["input_ids"].shape[1]
        if (lengths < longest).any():
            batch["attention_mask"] = (torch.arange(longest) < lengths[:, None]).long()
        return batch

    def _stack(self, name: str, values: list[Any]) -> torch.Tensor:
        if isinstance(values[0], int):
            return torch.tensor(values)
        rows = [torch.as_tensor(value, dtype=torch.int64) for value in values]
        return torch.nn.utils.rnn.pad_sequence(
            rows, batch_first=True, padding_value=self._padding[name]
        )
