"""Every method and task beats what needs no model, or no training."""

from collections.abc import Callable

import pytest

from llmcloud.api.contract import ExitCode, StoreLocation
from llmcloud.cloud.base import open_store
from tests.support.methods import CASES, Methods
from tests.support.ranks import Runtime
from tests.support.trainer import Trainer, architecture

CHEAP = ("pretrain masked-lm",)
"""Without --soak: these, of one seed."""
SEEDS = range(3)


@pytest.fixture(scope="module")
def methods(runtime: Runtime, location: StoreLocation) -> Callable[[int], Methods]:
    """The cases of a seed; what they share is made once."""
    made: dict[int, Methods] = {}

    def of(seed: int) -> Methods:
        if seed not in made:
            made[seed] = Methods(open_store(location), Trainer(runtime, location), seed)
        return made[seed]

    return of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    names = list(CASES) if metafunc.config.getoption("--soak") else CHEAP
    seeds = SEEDS if metafunc.config.getoption("--soak") else SEEDS[:1]
    metafunc.parametrize(("case", "seed"), [(name, seed) for seed in seeds for name in names])


def test_a_method_beats_what_needs_no_training(
    methods: Callable[[int], Methods], case: str, seed: int
) -> None:
    score = CASES[case](methods(seed))
    assert score.better, score


def test_a_chat_is_judged_and_qlora_without_a_gpu_is_refused(
    methods: Callable[[int], Methods],
) -> None:
    ours = methods(0)
    model = ours.run("small", architecture("llama"), ours.text(), max_steps=1).model
    judged = ours.run("judged-small", model, ours.chat(), "perplexity", method="evaluate").metrics
    assert set(judged) == {"perplexity"}
    task = ours.trainer.task("q", model, ours.chat(), method="qlora", max_steps=1)
    run = ours.trainer.run(task)
    assert run.code == ExitCode.CONFIGURATION
    assert "needs an NVIDIA GPU" in run.outcome.message
