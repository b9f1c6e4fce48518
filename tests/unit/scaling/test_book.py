"""The gateways' samples, summed and remembered."""

from llmcloud.api.contract import GatewaySamples, RouteSample
from llmcloud.scaling.book import STALE_SECONDS, WINDOW_SECONDS, LoadBook
from llmcloud.scaling.decide import Policy

POLICY = Policy(0, 4, 10, scale_down_delay_seconds=60, scale_to_zero_after_seconds=30)


def samples(in_flight: int = 0, waiting: int = 0, idle: float = 0.0) -> GatewaySamples:
    sample = RouteSample(
        namespace="ns", name="a", in_flight=in_flight, waiting=waiting, idle_seconds=idle,
        arrivals=0,
    )  # fmt: skip
    return GatewaySamples(samples=[sample])


def test_gateways_are_summed_and_the_shortest_silence_counts() -> None:
    book = LoadBook()
    book.record(1.0, [samples(2, 1, 0.0), samples(3, 0, 7.0)])
    load = book.load("ns", "a", POLICY)
    assert load is not None
    assert (load.in_flight, load.waiting, load.idle_seconds) == (5, 1, 0.0)
    assert load.peak_in_flight == 6


def test_a_gateway_that_does_not_answer_voids_the_round() -> None:
    book = LoadBook()
    book.record(1.0, [samples(9)])
    book.record(2.0, [samples(1), None])
    load = book.load("ns", "a", POLICY)
    assert load is not None
    assert load.in_flight == 9


def test_old_samples_are_no_samples() -> None:
    book = LoadBook()
    book.record(0.0, [samples(9)])
    book.record(STALE_SECONDS, [None])
    assert book.load("ns", "a", POLICY) is not None
    book.record(STALE_SECONDS + 0.1, [None])
    assert book.load("ns", "a", POLICY) is None


def test_no_gateways_are_not_zero_load() -> None:
    book = LoadBook()
    book.record(0.0, [])
    assert book.load("ns", "a", POLICY) is None


def test_a_route_that_no_gateway_knows_is_forgotten() -> None:
    book = LoadBook()
    book.record(0.0, [samples(9)])
    book.record(1.0, [GatewaySamples(samples=[])])
    assert book.load("ns", "a", POLICY) is None


def test_the_peak_is_that_of_the_policys_window() -> None:
    book = LoadBook()
    for now, requests in ((0.0, 40), (30.0, 5), (59.0, 20), (80.0, 1)):
        book.record(now, [samples(requests)])
    load = book.load("ns", "a", POLICY)
    assert load is not None
    assert (load.peak_in_flight, load.observed_seconds) == (20, 80.0)


def test_the_book_stays_small() -> None:
    book = LoadBook()
    for second in range(int(WINDOW_SECONDS) * 2):
        book.record(float(second), [samples(1)])
    (entry,) = book._entries.values()
    assert len(entry.peaks) == 1


def test_a_watched_deployment_is_told_of_until_it_has_what_it_needs() -> None:
    book = LoadBook()
    book.watch("ns", "a", POLICY, 0)
    assert book.changed() == []
    book.record(1.0, [samples(0, 1)])
    assert book.changed() == [("ns", "a")]
    book.watch("ns", "a", POLICY, 1)
    assert book.changed() == []
    book.forget("ns", "a")
    book.record(2.0, [samples(0, 99)])
    assert book.changed() == []
