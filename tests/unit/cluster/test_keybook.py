"""What the leader remembers of keys: usage by differences, and who needs a look."""

from datetime import timedelta

from llmcloud.api.contract import GatewaySamples
from llmcloud.api.leases import KeySample, WindowSample, minute_of
from llmcloud.api.names import Kind
from llmcloud.cluster.keybook import FORGOTTEN_SECONDS, SILENT_SECONDS, KeyBook
from llmcloud.plan.accesskey import USAGE_SECONDS, KeyWorld, plan_access_key
from llmcloud.plan.model import Manifest, Owner
from tests.support.worlds import DEFAULTS, NOW, make_owner

NAME = ("ns", "it")


def told(gateway: str, requests: int, wanted: int = 0) -> GatewaySamples:
    window = WindowSample(
        window=minute_of(NOW.timestamp()),
        requests=requests,
        tokens=0,
        wanted_requests=wanted,
        wanted_tokens=0,
    )
    key = KeySample(
        namespace="ns",
        name="it",
        requests=requests,
        input_tokens=10 * requests,
        output_tokens=requests,
        last_used=int(NOW.timestamp()),
        windows=[window],
    )
    return GatewaySamples(samples=[], gateway=gateway, keys=[key])


def key(status: Manifest | None = None, **spec: object) -> Owner:
    return make_owner(Kind.ACCESS_KEY, spec=spec, status=status)


def used(book: KeyBook, owner: Owner) -> int:
    usage = book.watch(owner)
    return usage.requests if usage else 0


def test_usage_grows_by_what_gateways_count_from_where_the_status_ended() -> None:
    book = KeyBook()
    owner = key({"usage": {"requests": 100}})
    book.record(0, [])
    book.record(1, [told("a", 3), None, told("b", 1)])
    assert used(book, owner) == 104
    book.record(2, [told("a", 5), told("b", 1)])
    assert used(book, owner) == 106
    book.record(3, [told("a-restarted", 2)])
    assert used(book, owner) == 108


def test_a_new_leader_leaves_out_what_was_counted_before_it() -> None:
    book = KeyBook()
    book.record(0, [told("a", 50)])
    assert used(book, key({"usage": {"requests": 50}})) == 0
    book.record(1, [told("a", 51)])
    assert used(book, key({"usage": {"requests": 50}})) == 51


def test_a_gateway_that_was_silent_is_not_counted_twice_and_has_no_demands() -> None:
    book = KeyBook()
    book.record(0, [])
    book.record(1, [told("a", 3)])
    book.record(2 + SILENT_SECONDS, [])
    assert book.samples(*NAME) == {}
    book.record(3 + SILENT_SECONDS, [told("a", 4)])
    assert used(book, key()) == 4
    book.record(4 + FORGOTTEN_SECONDS * 2, [])
    assert book.samples(*NAME) == {}


def test_a_key_made_anew_begins_anew() -> None:
    book = KeyBook()
    book.record(0, [])
    book.record(1, [told("a", 3)])
    assert used(book, key()) == 3
    again = make_owner(Kind.ACCESS_KEY, uid="another")
    assert used(book, again) == 0


def test_a_key_is_due_until_its_leases_and_its_usage_are_written() -> None:
    book = KeyBook()
    book.record(0, [])
    assert book.due(NOW) == []
    book.record(1, [told("a", 1, wanted=2)])
    assert book.due(NOW) == [NAME], "nobody has looked at it"
    owner = key(limits={"requestsPerMinute": 100})
    plan = plan_access_key(KeyWorld(owner, NOW, book.samples(*NAME), book.watch(owner)), DEFAULTS)
    assert book.due(NOW) == [NAME], "the status is not written"
    written = key(plan.status, limits={"requestsPerMinute": 100})
    book.watch(written)
    assert book.due(NOW) == []
    book.record(2, [told("a", 2, wanted=0)])
    assert book.due(NOW) == [], "a use is not worth a write"
    book.record(2 + USAGE_SECONDS, [told("a", 2, wanted=0)])
    assert book.due(NOW) == [NAME]
    book.forget(*NAME)
    assert book.due(NOW + timedelta(days=1)) == [NAME]
