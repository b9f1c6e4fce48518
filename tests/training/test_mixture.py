"""Several datasets learned from as one: the same samples at any number of ranks, and resumed."""

import random
import signal
from collections.abc import Callable
from typing import Any

from tests.support.ranks import Training, send

Job = Callable[..., Training]
MIXED: dict[str, Any] = {"mixed": {"data": 0.5, "other": 2.0}}


def furthest(ours: dict[int, float], theirs: dict[int, float]) -> float:
    assert ours.keys() == theirs.keys()
    return max(abs(loss - theirs[step]) for step, loss in ours.items())


def test_a_mixture_is_resumed_at_its_sample_and_read_alike_by_two_ranks(
    job: Job, undisturbed: dict[int, float]
) -> None:
    whole = job("mixed", **MIXED)
    outcome = whole.run(1)
    assert outcome.training is not None
    assert furthest(whole.losses(), undisturbed) > 1e-3  # of one dataset: others are read
    killed = job("mixed-killed", **MIXED)
    rank = killed.start(1)
    killed.await_checkpoint(rank, random.Random(0).randrange(1, 19))
    send(rank, signal.SIGKILL)
    killed.finish(rank)
    killed.run(2)
    assert killed.losses() == whole.losses()
    pair = job("mixed-pair", **MIXED)
    pair.run(1, ranks=2)
    assert furthest(pair.losses(), whole.losses()) < 1e-4
