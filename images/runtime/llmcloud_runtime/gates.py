"""Which metrics pass. Pure: gates bound measured values, nothing is measured here."""

from collections.abc import Mapping, Sequence
from typing import get_args

from llmcloud.api.contract import MetricGate, MetricResult
from llmcloud.api.model import MetricName


def judge(gates: Sequence[MetricGate], metrics: Mapping[str, float]) -> list[MetricResult]:
    """One result for every gate, in their order. Bounds are inclusive."""
    return [
        MetricResult(name=gate.name, value=metrics[gate.name], passed=_within(gate, metrics))
        for gate in gates
    ]


def baselines(metrics: Mapping[str, float]) -> list[MetricResult]:
    """What the model is compared with; nothing is asked of them."""
    return [
        MetricResult(name=name, value=value)
        for name, value in metrics.items()
        if name not in get_args(MetricName)
    ]


def _within(gate: MetricGate, metrics: Mapping[str, float]) -> bool:
    value = metrics[gate.name]
    return (gate.min is None or value >= gate.min) and (gate.max is None or value <= gate.max)
