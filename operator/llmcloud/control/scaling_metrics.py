"""Prometheus' view of the autoscaler. A deployment's series end with the deployment."""

from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from llmcloud.scaling.book import ScalingBook


class ScalingCollector(Collector):
    """What each policy decided last, and what it had learned."""

    def __init__(self, book: ScalingBook) -> None:
        self._book = book

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        which = ["namespace", "deployment"]
        wanted = GaugeMetricFamily(
            "llmcloud_scaling_wanted_replicas", "Replicas that the load needs.", labels=which
        )
        holding = GaugeMetricFamily(
            "llmcloud_scaling_holding", "1 while there are no samples of it.", labels=which
        )
        needs = GaugeMetricFamily(
            "llmcloud_scaling_need_replicas",
            "Replicas by what asks for them: recent load, the general rate, or backlog.",
            labels=[*which, "need"],
        )
        service = GaugeMetricFamily(
            "llmcloud_scaling_service_seconds",
            "How long a request holds its slot, as learned; 0: not known yet.",
            labels=which,
        )
        cold = GaugeMetricFamily(
            "llmcloud_scaling_cold_start_seconds",
            "From a replica's creation to its first Ready, as learned or believed.",
            labels=which,
        )
        for key, policy, decision in self._book.explain():
            wanted.add_metric(key, decision.replicas)
            holding.add_metric(key, float(decision.holding))
            needs.add_metric([*key, "recent"], policy.needs.recent)
            needs.add_metric([*key, "general"], policy.needs.general)
            needs.add_metric([*key, "backlog"], policy.needs.backlog)
            service.add_metric(key, policy.service_seconds)
            cold.add_metric(key, policy.cold_start_seconds)
        yield from (wanted, holding, needs, service, cold)
