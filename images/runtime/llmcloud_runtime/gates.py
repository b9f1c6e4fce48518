"""Which metrics pass. Pure: gates bound measured values, nothing is measured here."""

from collections.abc import Mapping, Sequence

from llmcloud.api.contract import MetricGate, MetricResult

BASELINES = ("unigramPerplexity", "bigramPerplexity")


def judge(gates: Sequence[MetricGate], metrics: Mapping[str, float]) -> list[MetricResult]:
    """One result for every gate, in their order. Bounds are inclusive."""
    return [
        MetricResult(name=gate.name, value=metrics[gate.name], passed=_within(gate, metrics))
        for gate in gates
    ]


def baselines(metrics: Mapping[str, float]) -> list[MetricResult]:
    """What the model is compared with; nothing is asked of them."""
    return [
        MetricResult(name=name, value=metrics[name], passed=True)
        for name in BASELINES
        if name in metrics
    ]


def _within(gate: MetricGate, metrics: Mapping[str, float]) -> bool:
    value = metrics[gate.name]
    return (gate.min is None or value >= gate.min) and (gate.max is None or value <= gate.max)
