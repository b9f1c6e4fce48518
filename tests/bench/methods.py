"""What every method and task reaches on real labels, beside what others reach, over seeds."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud.base import open_store
from tests.support.figures import figure
from tests.support.methods import CASES, UNBEATEN, Methods, Score
from tests.support.ranks import Runtime
from tests.support.trainer import Trainer

ALL = {**CASES, **UNBEATEN}


def measure_methods(
    runtime: Runtime, location: StoreLocation, seeds: Iterable[int], file: Path
) -> None:
    """`file` keeps every score as one line of JSON; what it has is not trained again."""
    kept = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    scores = {(line.pop("case"), line.pop("seed")): Score(**line) for line in kept}
    for seed in seeds:
        methods = Methods(open_store(location), Trainer(runtime, location), seed)
        for case, measure in ALL.items():
            if (case, seed) in scores:
                continue
            scores[case, seed] = score = measure(methods)
            with file.open("a") as lines:
                lines.write(json.dumps({"case": case, "seed": seed, **asdict(score)}) + "\n")
    by_case = defaultdict(list)
    for (case, _), score in sorted(scores.items()):
        by_case[case].append(score)
    for case in ALL:
        report(case, by_case[case])


def report(case: str, scores: Sequence[Score]) -> None:
    """Means and standard deviations; the goal is to beat the best of the others."""
    first = scores[0]
    others = {name: [score.anchors[name] for score in scores] for name in first.anchors}
    best = (min if first.lower else max)(others, key=lambda name: fmean(others[name]))
    values = [score.value for score in scores]
    figure(f"{case}: {first.metric}", fmean(values), f"mean of {len(values)} seeds", 1.0,
           floor=not first.lower, anchor=(best, fmean(others[best])))  # fmt: skip
    for name, each in {first.metric: values, **others}.items():
        figure(f"{case}: {name}, mean", fmean(each), "")
        figure(f"{case}: {name}, standard deviation", stdev(each) if len(each) > 1 else 0.0, "")
    share = fmean(score.better for score in scores)
    figure(f"{case}: better than all others", share, "share of seeds", 1.0, floor=True)
