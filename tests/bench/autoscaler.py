"""`make bench-autoscaler`: our policy beside others', the best constant and the clairvoyant.

One model, printed first. Each scenario with three cold starts, means over seeds 1 to 10, one
JSON line per figure. Scenarios that a constant count wins come first, then those that fall
short of a goal.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from statistics import mean
from typing import Any, Final

from llmcloud.scaling.limits import best_constant, clairvoyant
from llmcloud.scaling.observation import Bounds
from llmcloud.scaling.replay import OURS, POLICIES, PRODUCTS
from llmcloud.scaling.simulate import Model, Request, simulate
from tests.bench.scenarios import TRACE, bursts, day, recorded, steps

MODEL: Final = Model(
    bounds=Bounds(slots=32, min_replicas=1, max_replicas=32),
    base_seconds=1.0,
    seconds_per_input_token=0.002,
    seconds_per_output_token=0.18,
    cold_start_seconds=180.0,
    warm_replicas=1,
)
COLD_STARTS: Final = (30.0, 180.0, 600.0)
SEEDS: Final = range(1, 11)
WAIT_RATIO: Final = 1.1
WAIT_SECONDS: Final = 2.0
COST_RATIO: Final = 0.7

Scenario = Callable[[int], list[Request]]
Line = dict[str, Any]


@dataclass(frozen=True)
class Figures:
    """Means over the seeds."""

    wait_p95_seconds: float
    gpu_hours: float


@dataclass(frozen=True)
class Result:
    """One scenario with one cold start."""

    name: str
    policies: dict[str, Figures]
    constant: Figures
    constant_counts: list[int]
    clairvoyant: Figures

    def best(self) -> str:
        """The product with the lowest p95 wait; of equals, the cheapest."""
        found = self.policies
        return min(PRODUCTS, key=lambda p: (found[p].wait_p95_seconds, found[p].gpu_hours))

    def dominating(self) -> list[str]:
        """Products that neither wait longer nor cost more."""
        ours = self.policies[OURS]
        return [
            name
            for name in PRODUCTS
            if self.policies[name].wait_p95_seconds <= ours.wait_p95_seconds
            and self.policies[name].gpu_hours <= ours.gpu_hours
        ]

    def constant_wins(self) -> bool:
        """Whether a constant count that waits no longer costs no more."""
        return self.constant.gpu_hours <= self.policies[OURS].gpu_hours

    def lines(self) -> list[Line]:
        """The figures, each with its goal."""
        ours, best = self.policies[OURS], self.best()
        anchor = self.policies[best]
        wait = anchor.wait_p95_seconds
        counts = "/".join(str(count) for count in sorted(set(self.constant_counts)))
        dominating = self.dominating()
        fixed, limit = self.constant.gpu_hours, self.clairvoyant.gpu_hours
        return [
            self._line("wait_p95", ours.wait_p95_seconds, "s", best, wait,
                       max(WAIT_RATIO * wait, wait + WAIT_SECONDS)),
            self._line("gpu_hours", ours.gpu_hours, "h", best, anchor.gpu_hours,
                       COST_RATIO * anchor.gpu_hours),
            self._line("dominating_products", len(dominating), "1", ",".join(dominating), None, 0),
            self._line("gpu_hours_beside_constant", ours.gpu_hours, "h", f"constant {counts}",
                       fixed, fixed),
            self._line("gpu_hours_beside_clairvoyant", ours.gpu_hours, "h", "clairvoyant", limit,
                       None),
        ]  # fmt: skip

    def _line(
        self,
        figure: str,
        value: float,
        unit: str,
        anchor: str,
        anchor_value: float | None,
        goal: float | None,
    ) -> Line:
        return {
            "figure": f"autoscaler {self.name} {figure}",
            "value": round(value, 3),
            "unit": unit,
            "anchor": anchor or None,
            "anchor_value": None if anchor_value is None else round(anchor_value, 3),
            "ratio": round(value / anchor_value, 3) if anchor_value else None,
            "goal": None if goal is None else round(goal, 3),
            "met": None if goal is None else value <= goal,
        }

    def rank(self) -> tuple[bool, bool]:
        """Won by a constant first, then whatever misses a goal."""
        return not self.constant_wins(), all(line["met"] is not False for line in self.lines())


def measure(name: str, scenario: Scenario) -> Iterator[Result]:
    """The scenario with every cold start."""
    traces = {seed: scenario(seed) for seed in SEEDS}
    for cold in COLD_STARTS:
        model = replace(MODEL, cold_start_seconds=cold)
        found: dict[str, list[Figures]] = {policy: [] for policy in POLICIES}
        constants, counts, limits = [], [], []
        for seed, trace in traces.items():
            for policy, make in POLICIES.items():
                outcome = simulate(trace, model, make(model.bounds), seed)
                found[policy].append(Figures(outcome.wait_percentile(95), outcome.gpu_hours))
            count, outcome = best_constant(trace, model, found[OURS][-1].wait_p95_seconds)
            counts.append(count)
            constants.append(Figures(outcome.wait_percentile(95), outcome.gpu_hours))
            limit = clairvoyant(trace, model)
            limits.append(Figures(limit.wait_p95_seconds, limit.gpu_hours))
        yield Result(
            name=f"{name} cold-start {cold:.0f} s",
            policies={policy: average(figures) for policy, figures in found.items()},
            constant=average(constants),
            constant_counts=counts,
            clairvoyant=average(limits),
        )


def average(figures: list[Figures]) -> Figures:
    """The mean of each figure."""
    return Figures(
        mean(one.wait_p95_seconds for one in figures), mean(one.gpu_hours for one in figures)
    )


def table(result: Result) -> str:
    """All policies of a scenario for people."""
    cells = [
        f"{name} {figures.wait_p95_seconds:.1f} s {figures.gpu_hours:.2f} h"
        for name, figures in result.policies.items()
    ]
    return f"{result.name}: " + "; ".join(cells)


def main() -> int:
    """Measure all and print; goals that are missed decide nothing."""
    print(json.dumps({"model": asdict(MODEL), "cold_starts": COLD_STARTS, "seeds": len(SEEDS)}))
    scenarios: dict[str, Scenario] = {"steps": steps, "bursts": bursts, "day": day}
    if TRACE.exists():
        scenarios = {"recorded": recorded, **scenarios}
    else:
        print(f"{TRACE.name} is not there: without the recorded hour", file=sys.stderr)
    results = []
    for name, scenario in scenarios.items():
        for result in measure(name, scenario):
            print(table(result), file=sys.stderr, flush=True)
            results.append(result)
    for result in sorted(results, key=Result.rank):
        for line in result.lines():
            print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
