"""What the gateway counts of each route, and its Prometheus text.

The hot path adds to plain integers; Prometheus families are made from them when scraped, so that a
deployment's series end with the deployment.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from llmcloud.api.contract import RouteSample

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Histogram:
    """Counts of values in seconds, by upper bound."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(_SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(_SECONDS, seconds)] += 1
        self._sum += seconds

    def add_to(self, family: HistogramMetricFamily, labels: list[str]) -> None:
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, number in zip((*map(str, _SECONDS), "+Inf"), self._counts, strict=True):
            total += number
            buckets.append((bound, total))
        family.add_metric(labels, buckets, self._sum)


class RouteStats:
    """Counters of one route since the gateway started."""

    __slots__ = (
        "arrivals", "codes", "duration", "first_byte", "gaps", "input_tokens", "output_tokens",
        "queued", "spilled",
    )  # fmt: skip

    def __init__(self) -> None:
        self.arrivals = 0
        self.codes: dict[int, int] = {}
        self.first_byte = Histogram()
        self.gaps = Histogram()
        self.queued = Histogram()
        self.duration = Histogram()
        self.input_tokens = 0
        self.output_tokens = 0
        self.spilled: Counter[str] = Counter()

    def ended(self, code: int, seconds: float) -> None:
        """A request was answered. `code` is 499 where its client left first (nginx's number)."""
        self.codes[code] = self.codes.get(code, 0) + 1
        self.duration.observe(seconds)


_TIMES: Mapping[str, tuple[str, Callable[[RouteStats], Histogram]]] = {
    "time_to_first_token_seconds": (
        "From a streaming request's arrival to its first byte from an engine.",
        lambda stats: stats.first_byte,
    ),
    "inter_token_seconds": (
        "Between two reads of a stream from an engine, which mostly hold a token each.",
        lambda stats: stats.gaps,
    ),
    "queue_seconds": (
        "How long requests that found no free replica waited for one.",
        lambda stats: stats.queued,
    ),
    "request_duration_seconds": (
        "From a request's arrival to the end of its answer.",
        lambda stats: stats.duration,
    ),
}


class _Named(Protocol):
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...


class _Live(Protocol):
    @property
    def route(self) -> _Named: ...
    @property
    def stats(self) -> RouteStats: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def in_flight_on_fallback(self) -> int: ...
    def sample(self) -> RouteSample: ...


class _Server(Protocol):
    @property
    def connections(self) -> Sized: ...
    @property
    def refusals(self) -> Mapping[str, int]: ...


class _GatewayCollector(Collector):
    def __init__(self, routes: Iterable[_Live], server: _Server) -> None:
        self._routes = routes
        self._server = server

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        which = ["namespace", "deployment"]
        requests = CounterMetricFamily(
            "llmcloud_gateway_requests",
            "Requests answered, by status code; 499: the client left first.",
            labels=[*which, "code"],
        )
        tokens = CounterMetricFamily(
            "llmcloud_gateway_tokens",
            "Tokens by the engines' own usage, or by stream events where they give none.",
            labels=[*which, "kind"],
        )
        spilled = CounterMetricFamily(
            "llmcloud_gateway_spilled",
            "Requests that went to the fallback, by what the replicas could not do.",
            labels=[*which, "reason"],
        )
        tried = CounterMetricFamily(
            "llmcloud_gateway_group_requests",
            "While a canary is tried: requests by revision, since the step began.",
            labels=[*which, "revision", "outcome"],
        )
        in_flight = GaugeMetricFamily(
            "llmcloud_gateway_in_flight", "Requests on a replica.", labels=which
        )
        on_fallback = GaugeMetricFamily(
            "llmcloud_gateway_fallback_in_flight", "Requests on the fallback.", labels=which
        )
        waiting = GaugeMetricFamily(
            "llmcloud_gateway_waiting", "Requests held for a replica.", labels=which
        )
        for live in self._routes:
            labels = [live.route.namespace, live.route.name]
            stats = live.stats
            for code, number in sorted(stats.codes.items()):
                requests.add_metric([*labels, str(code)], number)
            tokens.add_metric([*labels, "input"], stats.input_tokens)
            tokens.add_metric([*labels, "output"], stats.output_tokens)
            for reason, number in sorted(stats.spilled.items()):
                spilled.add_metric([*labels, reason], number)
            for group in live.sample().groups:
                answered = group.requests - group.errors - group.refusals
                tried.add_metric([*labels, group.name, "answered"], answered)
                tried.add_metric([*labels, group.name, "refused"], group.refusals)
                tried.add_metric([*labels, group.name, "failed"], group.errors)
            in_flight.add_metric(labels, live.in_flight)
            on_fallback.add_metric(labels, live.in_flight_on_fallback)
            waiting.add_metric(labels, live.waiting)
        yield from (requests, tokens, spilled, tried, in_flight, on_fallback, waiting)
        yield from self._times(which)
        yield from self._of_the_server()

    def _times(self, which: list[str]) -> Iterator[Metric]:
        for name, (help_text, histogram_of) in _TIMES.items():
            family = HistogramMetricFamily(f"llmcloud_gateway_{name}", help_text, labels=which)
            for live in self._routes:
                route = live.route
                histogram_of(live.stats).add_to(family, [route.namespace, route.name])
            yield family

    def _of_the_server(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "llmcloud_gateway_connections",
            "Client connections.",
            value=len(self._server.connections),
        )
        refusals = CounterMetricFamily(
            "llmcloud_gateway_refusals",
            "Errors of the gateway's own, by the reason in X-Llmcloud-Reason.",
            labels=["reason"],
        )
        for reason, number in sorted(self._server.refusals.items()):
            refusals.add_metric([reason], number)
        yield refusals


class Metrics:
    """The text of GET /metrics."""

    def __init__(self, routes: Iterable[_Live], server: _Server) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_GatewayCollector(routes, server))

    def text(self) -> bytes:
        return generate_latest(self._registry)
