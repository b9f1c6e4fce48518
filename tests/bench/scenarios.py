"""Loads for the autoscaler's benchmark: the recorded trace, and three that are drawn by seed."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from llmcloud.scaling.simulate import Request
from llmcloud.scaling.trace import Columns, read_trace

TRACE: Final = Path(__file__).parents[3] / "shared/data/azure-llm-inference-2023-code.csv"
"""Beside the checkout; never copied into it."""

INPUT_TOKENS: Final = 2000.0
OUTPUT_TOKENS: Final = 28.0
LONG_OUTPUT_TOKENS: Final = 150.0
"""The day is one of long answers, which keeps the number of requests small."""
SIGMA: Final = 0.6
HOUR: Final = 3600.0


def draw(
    seed: int, seconds: float, rate: Callable[[float], float], most: float, outputs: float
) -> list[Request]:
    """A Poisson process of `rate` (requests per second, at most `most`), by thinning.

    Lengths are log-normal around INPUT_TOKENS and `outputs`.
    """
    dice = random.Random(seed)
    requests = []
    now = dice.expovariate(most)
    while now < seconds:
        if dice.random() * most < rate(now):
            inputs = INPUT_TOKENS * dice.lognormvariate(-(SIGMA**2) / 2, SIGMA)
            out = outputs * dice.lognormvariate(-(SIGMA**2) / 2, SIGMA)
            requests.append(Request(now, round(inputs), round(out)))
        now += dice.expovariate(most)
    return requests


def steps(seed: int) -> list[Request]:
    """0.5 requests/s, and from minute 10 on 16 for 20 minutes; an hour in all."""
    return draw(seed, HOUR, lambda now: 16.0 if 600 <= now < 1800 else 0.5, 16.0, OUTPUT_TOKENS)


def bursts(seed: int) -> list[Request]:
    """45 s of 20 requests/s every 5 minutes for an hour, 0.2 between."""
    return draw(seed, HOUR, lambda now: 20.0 if now % 300 < 45 else 0.2, 20.0, OUTPUT_TOKENS)


def day(seed: int) -> list[Request]:
    """24 hours from midnight on; nobody until 7 and after 22, most at 14:30."""

    def rate(now: float) -> float:
        hour = now / HOUR
        return 4.0 * math.sin(math.pi * (hour - 7) / 15) if 7 <= hour < 22 else 0.0

    return draw(seed, 24 * HOUR, rate, 4.0, LONG_OUTPUT_TOKENS)


def recorded(seed: int) -> list[Request]:
    """The recorded hour; the seed changes nothing of it."""
    return read_trace(TRACE, Columns())
