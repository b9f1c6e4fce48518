"""The autoscaler's Prometheus series."""

from prometheus_client import CollectorRegistry, generate_latest

from llmcloud.api.contract import GatewaySamples, RouteSample
from llmcloud.control.scaling_metrics import ScalingCollector
from llmcloud.scaling.book import Replicas, ScalingBook, Terms
from llmcloud.scaling.observation import Bounds


def text(book: ScalingBook) -> str:
    registry = CollectorRegistry()
    registry.register(ScalingCollector(book))
    return generate_latest(registry).decode()


def test_a_deployments_series_come_and_go_with_it() -> None:
    book, key = ScalingBook(), ("ns", "a")
    book.watch(0.0, key, Terms(Bounds(4, 0, 8), None, 30.0, "m"), Replicas(0, (), ()), None, 45.0)
    waits = RouteSample(
        namespace="ns", name="a", in_flight=0, waiting=1, idle_seconds=0.0, arrivals=1,
        completions=0, flight_seconds=0.0, loads={},
    )  # fmt: skip
    book.record(1.0, {"g": GatewaySamples(samples=[waits])})
    book.judge(1.0)
    which = '{deployment="a",namespace="ns"}'
    told = text(book).splitlines()
    assert f"llmcloud_scaling_wanted_replicas{which} 1.0" in told
    assert f"llmcloud_scaling_holding{which} 0.0" in told
    assert f"llmcloud_scaling_cold_start_seconds{which} 45.0" in told
    book.forget(key)
    assert 'deployment="a"' not in text(book)
