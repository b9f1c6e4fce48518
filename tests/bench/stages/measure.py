"""Our stages beside datatrove's: the same texts, the same core, in turns; the best round counts.

datatrove is measured as it comes and, where it splits words with spaCy, also with plain words,
which leaves its own code alone. No stage of ours runs datatrove's code, so all are to be as fast.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from llmcloud_data import tokens
from tests.bench.stages import texts
from tests.bench.stages.ours import LENGTH, READS, STAGES
from tests.support.figures import figure
from tests.support.install import ROOT

DOCUMENTS: Final = 1000
ROUNDS: Final = 3
VOCABULARY: Final = 8000
THEIR_PYTHON: Final = ROOT / ".venv-bench" / "bin" / "python"
CALLED: Final = {
    "read": "JsonlReader",
    "repetition": "GopherRepetitionFilter",
    "exact": "ExactDedup (3 steps)",
    "near": "MinhashDedup (4 steps)",
    "redact": "PIIFormatter",
    "tokenize": "DocumentTokenizer",
}
WITH_WORDS: Final = ("repetition", "near")


def measure_stages() -> None:
    with tempfile.TemporaryDirectory() as name, one_core():
        folder = Path(name)
        given = texts.write(folder, DOCUMENTS, seed=1)
        tokenizer = tokens.train("bpe", given, VOCABULARY)
        tokens.save(tokenizer, folder, LENGTH)
        total = tokens.count(tokenizer, given)
        figure("stages: the texts", total / 1e6, "million tokens")
        for stage in STAGES:
            measure(stage, folder, total * READS if stage == "read" else total)


def measure(stage: str, folder: Path, total: int) -> None:
    ours, theirs = f"tests.bench.stages.ours {stage}", f"tests.bench.stages.theirs {stage}"
    runs = {"ours": (sys.executable, ours), "datatrove": (str(THEIR_PYTHON), theirs)}
    if stage in WITH_WORDS:
        runs["datatrove, plain words"] = (str(THEIR_PYTHON), theirs + " --plain-words")
    rounds = [{who: run(*command, folder) for who, command in runs.items()} for _ in range(ROUNDS)]
    best = {who: min(turn[who]["seconds"] for turn in rounds) for who in runs}
    out = {who: rounds[0][who]["out"] for who in runs}
    for who in list(runs)[1:]:
        anchor = (f"{who}: {CALLED[stage]}", total / best[who])
        figure(f"stage {stage}", total / best["ours"], "tokens/s", 1.0, floor=True, anchor=anchor)
        unit = "tokens" if stage == "tokenize" else "documents"
        difference = abs(out["ours"] - out[who])
        figure(f"stage {stage}: counts out, ours less {who}'s", difference, unit, 0)


def run(python: str, module: str, folder: Path) -> dict[str, Any]:
    """One process in a copy of the folder of its own, so that nobody finds another's files."""
    name, stage, *options = module.split()
    with tempfile.TemporaryDirectory() as own:
        shutil.copytree(folder, own, dirs_exist_ok=True)
        command = [python, "-m", name, stage, own, *options]
        environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@contextmanager
def one_core() -> Iterator[None]:
    """Everything below runs on the first of this process' cores."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
