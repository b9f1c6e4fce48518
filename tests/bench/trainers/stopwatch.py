"""Runs the module that STOPWATCH_MODULE names and writes to STOPWATCH_FILE what it took.

A JSON object: `seconds` and `cpu_seconds` of `Trainer.train` with all that it calls;
`process_cpu_seconds`; `loss`, the mean over the steps; `parameters`; `steps`, when each ended, in
seconds since training began; `saves`, for each checkpoint when the step loop came to it, and how
long it stood there.
"""

import json
import os
import runpy
import time
from pathlib import Path
from typing import Any

from transformers import Trainer

inner_train, inner_after_step = Trainer.train, Trainer._maybe_log_save_evaluate
taken: dict[str, Any] = {"steps": [], "saves": []}
began = 0.0


def train(self: Any, *more: Any, **named: Any) -> Any:
    global began
    began, cpu = time.perf_counter(), time.process_time()
    output = inner_train(self, *more, **named)
    taken["seconds"] = time.perf_counter() - began
    taken["cpu_seconds"] = time.process_time() - cpu
    taken["loss"] = output.training_loss
    taken["parameters"] = sum(part.numel() for part in self.model.parameters())
    return output


def after_step(self: Any, *more: Any, **named: Any) -> None:
    saving, arrived = self.control.should_save, time.perf_counter()
    inner_after_step(self, *more, **named)
    ended = time.perf_counter()
    taken["steps"].append(ended - began)
    if saving:
        taken["saves"].append((arrived - began, ended - arrived))


Trainer.train, Trainer._maybe_log_save_evaluate = train, after_step
try:
    runpy.run_module(os.environ["STOPWATCH_MODULE"], run_name="__main__", alter_sys=True)
finally:
    taken["process_cpu_seconds"] = time.process_time()
    Path(os.environ["STOPWATCH_FILE"]).write_text(json.dumps(taken))
