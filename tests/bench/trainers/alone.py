"""transformers' Trainer alone: the model, tokens and arguments that ALONE names, from local files.

ALONE is a JSON object: `tokens`, a file of uint32; `length_tokens` of a sequence; `family` and
`model`, of a configuration; `arguments`; `folder`, for the model.
"""

import json
import os
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)


class Sequences(Dataset[dict[str, torch.Tensor]]):  # type: ignore[misc]  # untyped
    """Every token is predicted from those before it."""

    def __init__(self, file: str, length_tokens: int) -> None:
        self._tokens = np.memmap(file, dtype="<u4", mode="r").reshape(-1, length_tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = torch.from_numpy(self._tokens[index].astype(np.int64))
        return {"input_ids": ids, "labels": ids}


def main(told: dict[str, Any]) -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    set_seed(told["arguments"]["seed"])
    config = AutoConfig.for_model(told["family"], **told["model"])
    trainer = Trainer(
        model=AutoModelForCausalLM.from_config(config),
        args=TrainingArguments(output_dir=told["folder"], **told["arguments"]),
        train_dataset=Sequences(told["tokens"], told["length_tokens"]),
        data_collator=default_data_collator,
    )
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    main(json.loads(os.environ["ALONE"]))
