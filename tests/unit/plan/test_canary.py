"""How a canary is judged, how many replicas it gets, and what gateways are told of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud.api.contract import GroupSample
from llmcloud.api.rollout import Abort
from llmcloud.plan.canary import complaint
from llmcloud.plan.children import pod_view
from llmcloud.plan.model import Manifest, owner_from
from llmcloud.plan.rollout import RevisionView, Rollout, sizes
from llmcloud.plan.routes import RoutesWorld, route_list
from tests.unit.plan import happenings as happen
from tests.unit.plan.story import Story


def routed(story: Story) -> tuple[list[tuple[str, int, int]], int, str]:
    """Groups by name, weight and size; all endpoints; the window."""
    owner = owner_from(story.cluster.owner)
    pods = tuple(pod_view(raw) for raw in story.cluster.pods.values())
    world = RoutesWorld("system", (owner,), {(owner.namespace, owner.uid): pods})
    (route,) = route_list(world)
    groups = [(group.name, group.weight, len(group.endpoints)) for group in route.groups]
    return groups, len(route.endpoints), route.window


def test_gateways_get_the_groups_their_weights_and_the_window() -> None:
    story = Story(4)
    assert routed(story) == ([], 4, "")
    story.changed()
    old, new = story.stable, story.status["canary"]["revision"]
    assert routed(story) == ([(old, 100, 4), (new, 0, 0)], 4, "")
    story.happen(happen.replicas_ready)
    began = story.status["canary"]["stepStartTime"]
    assert routed(story) == ([(old, 90, 4), (new, 10, 1)], 5, began)
    story.happen(happen.counts(100), seconds=45)
    began = story.status["canary"]["stepStartTime"]
    assert routed(story) == ([(old, 75, 4), (new, 25, 1)], 5, began), "one of two is ready"
    story.happen(happen.replicas_ready, happen.replicas_ready)
    assert routed(story) == ([(old, 50, 2), (new, 50, 2)], 4, began)


def test_what_was_rolled_back_gets_nothing_and_what_is_replaced_serves_on() -> None:
    story = Story(2).tried().after(1)
    story.happen(happen.counts(100, errors=9))
    assert routed(story) == ([], 2, "")
    other = Story(2, rollout=None)
    other.changed().happen(happen.replicas_ready)
    assert routed(other) == ([], 3, "")


ONE = GroupSample(name="", requests=100, streams=100)


@pytest.mark.parametrize(
    ("stable", "canary", "last", "rolled_back"),
    [
        pytest.param({}, {}, False, False, id="both do well"),
        pytest.param({}, {"errors": 1}, False, False, id="errors within the bound"),
        pytest.param({}, {"errors": 2}, False, True, id="errors beyond it"),
        pytest.param({"errors": 30}, {"errors": 31}, False, False, id="as bad as the stable one"),
        pytest.param({}, {"requests": 49, "errors": 49}, False, False, id="too few to judge"),
        pytest.param({}, {"requests": 49, "errors": 49}, True, True, id="but not at the end"),
        pytest.param({}, {"refusals": 50}, False, False, id="clients' mistakes"),
        pytest.param({}, {"refusals": 51}, False, True, id="refuses most of what it is asked"),
        pytest.param({}, {"requests": 9, "refusals": 9}, True, False, id="too few refusals"),
        pytest.param({}, {"requests": 10, "refusals": 9}, True, True, id="not too few"),
        pytest.param({"refusals": 60}, {"refusals": 100}, False, False, id="as all do"),
        pytest.param({"requests": 0}, {"errors": 2}, False, True, id="nothing to compare with"),
        pytest.param({}, {"log_seconds": 40.0}, False, False, id="half as slow again"),
        pytest.param({}, {"log_seconds": 41.0}, False, True, id="slower than that"),
        pytest.param({"streams": 49}, {"log_seconds": 99.0}, True, False, id="too few streams"),
        pytest.param({"streams": 0}, {"streams": 0}, True, False, id="no streams"),
        pytest.param({"requests": 0}, {"requests": 0}, True, False, id="no requests"),
    ],
)
def test_when_a_canary_is_rolled_back(
    stable: Manifest, canary: Manifest, last: bool, rolled_back: bool
) -> None:
    beside, tried = ONE.model_copy(update=stable), ONE.model_copy(update=canary)
    assert bool(complaint(beside, tried, Abort(), last=last)) is rolled_back


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.integers(0, 40), st.integers(1, 99), st.booleans(), st.integers(0, 40), st.integers(0, 40),
    st.integers(0, 40),
)  # fmt: skip
def test_the_whole_is_what_the_load_needs_and_at_most_one_more(
    replicas: int, weight: int, canary: bool, stable: int, tried: int, old: int
) -> None:
    there = {
        "s": RevisionView(stable, stable), "c": RevisionView(tried, tried),
        "o": RevisionView(old, old),
    }  # fmt: skip
    trial = {"revision": "c", "weight": weight} if canary else None
    found = sizes(Rollout("s", ("o",), trial), there, replicas)
    assert replicas <= sum(found.values()) or old + stable < replicas
    assert sum(found.values()) <= replicas + (replicas > 0) * (1 + canary)
    ready = sum(min(found[one], there[one].ready) for one in found)
    assert ready >= min(replicas, stable + old), "what is ready is given up too early"
