"""Gates, the CPU limit and the model card."""

import pytest

from llmcloud.api.contract import MetricGate
from llmcloud_runtime.gates import baselines, judge
from llmcloud_runtime.resources import limit_from, threads_for


@pytest.mark.parametrize(
    ("least", "most", "passed"),
    [
        (None, None, True),
        (None, 20.0, True),
        (20.0, 20.0, True),
        (None, 19.9, False),
        (21.0, None, False),
    ],
)
def test_bounds_are_inclusive(least: float | None, most: float | None, passed: bool) -> None:
    gate = MetricGate(name="perplexity", min=least, max=most)
    (result,) = judge([gate], {"perplexity": 20.0})
    assert result.passed is passed
    assert result.value == 20.0


def test_baselines_are_shown_where_they_were_measured() -> None:
    assert baselines({}) == []
    shown = baselines({"perplexity": 1.0, "bigramPerplexity": 3.0, "unigramPerplexity": 2.0})
    assert [(result.name, result.value) for result in shown] == [
        ("bigramPerplexity", 3.0),
        ("unigramPerplexity", 2.0),
    ]


@pytest.mark.parametrize(
    ("quota", "period", "limit"),
    [("max", "100000", None), ("-1", "100000", None), ("150000", "100000", 1.5)],
)
def test_the_quota_of_a_control_group_is_cpus(quota: str, period: str, limit: float | None) -> None:
    assert limit_from(quota, period) == limit


@pytest.mark.parametrize(
    ("limit", "processors", "threads"),
    [(None, 4, 4), (0.1, 4, 1), (1.0, 4, 1), (1.5, 4, 2), (8.0, 4, 4)],
)
def test_threads_follow_the_limit(limit: float | None, processors: int, threads: int) -> None:
    assert threads_for(limit, processors) == threads
