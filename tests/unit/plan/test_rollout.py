"""A change comes in: replica by replica, or as a canary that is judged, promoted or rolled back."""

import copy
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

import pytest

from llmcloud.api.rollout import Canary
from llmcloud.plan.model import Manifest, timestamp
from llmcloud.plan.rollout import Look, RevisionView, Rollout, Wanted, decide, part
from tests.support import worlds
from tests.unit.plan import happenings as happen
from tests.unit.plan.fates import CANARY, CHANGES
from tests.unit.plan.story import Story
from tests.unit.plan.test_laws import settled_state


def replaced(story: Story) -> Iterator[dict[str, int]]:
    """The numbers of replicas while those that are asked for become ready, one look each."""
    for _ in range(40):
        yield story.replicas()
        before = story.replicas()
        story.happen(happen.replicas_ready)
        if story.replicas() == before:
            return
    raise AssertionError("it never ends")


def test_a_change_without_a_rollout_replaces_replica_by_replica() -> None:
    story = Story(4, rollout=None)
    old = story.stable
    story.changed()
    assert story.stable != old
    assert story.status["model"]["replaces"] == [old]
    seen = list(replaced(story))
    assert all(sum(numbers.values()) <= 5 for numbers in seen)
    assert [numbers[story.stable] for numbers in seen] == [1, 2, 3, 4, 4]
    assert seen[-1] == {story.stable: 4}
    assert story.said == ("True", "Serving")
    assert "replaces" not in story.status["model"]


def test_a_revision_that_serves_nothing_makes_room_at_once() -> None:
    story = Story(2, rollout=None)
    story.happen(happen.replicas_unready).changed()
    assert story.replicas() == {story.stable: 2}


def test_a_canary_gets_one_replica_beside_all_that_serve() -> None:
    story = Story(4)
    old = story.stable
    story.changed()
    canary = story.status["canary"]
    assert story.stable == old
    assert story.replicas() == {old: 4, canary["revision"]: 1}
    assert (canary["weight"], "stepStartTime" in canary) == (10, False)
    assert story.said == ("True", "Canary")
    assert story.events[-2:] == ["Canary", "CanaryStarted"]


def test_it_is_judged_from_its_first_ready_replica_on() -> None:
    story = Story().changed().after(3600)
    assert "stepStartTime" not in story.status["canary"]
    story.happen(happen.replicas_ready)
    assert story.status["canary"]["stepStartTime"] == timestamp(story.now)


def test_one_that_does_well_is_raised_step_by_step_and_promoted_without_a_dip() -> None:
    story = Story(4).tried()
    old, new = story.stable, story.status["canary"]["revision"]
    story.happen(happen.counts(100), seconds=44)
    assert story.weight() == 10
    story.after(1)
    assert (story.weight(), story.replicas()) == (50, {old: 3, new: 2})
    story.happen(happen.counts(100), seconds=45)
    assert story.weight() == 50, "it has one of the two replicas of its share"
    story.happen(happen.replicas_ready)
    assert (story.stable, story.status["model"]["replaces"]) == (new, [old])
    assert "canary" not in story.status
    seen = list(replaced(story))
    assert all(4 <= sum(numbers.values()) <= 5 for numbers in seen)
    assert story.replicas() == {new: 4}
    assert [e for e in story.events if e.startswith("Canary")] == [
        "Canary", "CanaryStarted", "CanaryRaised", "CanaryPromoted",
    ]  # fmt: skip
    assert story.said == ("True", "Serving")


@pytest.mark.parametrize(
    ("counts", "word"),
    [
        pytest.param(happen.counts(100, errors=9), "9 of its 100 requests failed", id="errors"),
        pytest.param(happen.counts(100, seconds=3), "200 % longer", id="slow first tokens"),
    ],
)
def test_one_that_does_badly_is_rolled_back_at_once_and_not_tried_again(
    counts: happen.Fate, word: str
) -> None:
    story = Story(4).tried()
    old, new = story.stable, story.status["canary"]["revision"]
    story.happen(happen.replicas_ready).after(1).happen(counts)
    rejected = story.status["model"]["rejected"]
    assert (story.stable, rejected["revision"]) == (old, new)
    assert word in rejected["message"]
    assert story.replicas() == {old: 4, new: 0}
    assert story.said == ("True", "CanaryRejected")
    assert worlds.by_type(story.status)["Stalled"]["status"] == "True"
    assert "canary" not in story.after(86400).status
    story.happen(happen.uncounted, happen.replicas_ready).after(86400)
    assert story.status["model"]["rejected"] == rejected


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(happen.spec(resources={"memory": "5Gi"}), id="another specification"),
        pytest.param(CHANGES["a newer model"], id="a newer model"),
    ],
)
def test_after_a_rollback_the_next_change_is_tried(change: happen.Fate) -> None:
    story = Story().tried().after(1).happen(happen.counts(100, errors=9))
    rejected = story.status["model"]["rejected"]["revision"]
    story.happen(change)
    assert story.status["canary"]["revision"] not in (rejected, story.stable)


OLD_DIGEST, NEW_DIGEST = worlds.MODEL_DIGEST, worlds.VERSION_2


def decided(rejected: Manifest, wanted: Wanted, stable: str = OLD_DIGEST) -> Rollout:
    status = {"model": {"revision": "old", "digest": stable, "rejected": rejected}}
    there = {"old": RevisionView(1, 1)}
    return decide(status, Look(wanted, Canary(), there, 1, worlds.NOW))


REJECTED: Manifest = {
    "revision": "bad",
    "digest": NEW_DIGEST,
    "generation": 4,
    "message": "",
    "time": "",
}


@pytest.mark.parametrize(
    ("wanted", "stable", "tried"),
    [
        pytest.param(Wanted("bad", NEW_DIGEST, None, 9), OLD_DIGEST, False, id="itself"),
        pytest.param(Wanted("new", NEW_DIGEST, None, 4), OLD_DIGEST, False, id="with new images"),
        pytest.param(Wanted("new", NEW_DIGEST, None, 5), OLD_DIGEST, True, id="corrected"),
        pytest.param(Wanted("new", OLD_DIGEST, None, 4), OLD_DIGEST, True, id="another model"),
        pytest.param(Wanted("new", None, None, 4), OLD_DIGEST, True, id="an unknown model"),
        pytest.param(
            Wanted("new", NEW_DIGEST, None, 4), NEW_DIGEST, True, id="the model that serves"
        ),
    ],
)
def test_a_rejected_model_is_not_tried_again_because_images_are_new(
    wanted: Wanted, stable: str, tried: bool
) -> None:
    rollout = decided(REJECTED, wanted, stable)
    assert (rollout.canary is not None) == tried
    assert rollout.stable == "old"


def test_what_is_rejected_is_kept_with_its_specification() -> None:
    story = Story().tried().after(1).happen(happen.counts(100, errors=9))
    generation = story.cluster.owner["metadata"]["generation"]
    assert story.status["model"]["rejected"]["generation"] == generation


def test_who_takes_a_rejected_change_back_may_try_it_again() -> None:
    story = Story(rollout=None)
    story.happen(CHANGES["less memory"], happen.replicas_ready, happen.spec(rollout=CANARY))
    story.tried().after(1).happen(happen.counts(100, errors=9))
    assert story.said[1] == "CanaryRejected"
    story.happen(CHANGES["less memory"])
    assert story.said == ("True", "Serving")
    assert "rejected" not in story.status["model"]
    assert story.changed().weight() == 10


def test_what_was_rejected_comes_in_where_no_canary_is_asked_for() -> None:
    story = Story().tried().after(1).happen(happen.counts(100, errors=9))
    rejected = story.status["model"]["rejected"]["revision"]
    story.happen(happen.replace("rollout"))
    assert story.stable == rejected


def test_one_that_is_never_ready_is_rolled_back_with_the_reason() -> None:
    story = Story().changed()
    new = story.status["canary"]["revision"]
    stuck = happen.engine_pod(7, ready=False, revision=new, **worlds.unschedulable("No node."))
    story.cluster.pods["e7"] = stuck
    story.look()
    assert "No node." in worlds.by_type(story.status)["Ready"]["message"]
    story.happen(happen.late)
    assert "No node." in story.status["model"]["rejected"]["message"]
    assert story.replicas()[new] == 0


def test_one_that_waited_at_zero_is_late_by_the_age_of_its_pods() -> None:
    story = Story(0).changed().happen(happen.decided(1, "1 waits"), happen.replicas_ready)
    new = story.status["canary"]["revision"]
    story.happen(happen.replicas_unready)
    story.happen(happen.decided(0, "no request"), happen.decided(1, "1 waits"))
    story.cluster.pods = {"e7": happen.engine_pod(7, ready=False, revision=new)}
    waits = looks(story, worlds.at(1000))
    assert waits == 200
    assert "canary" in story.after(1199).status
    assert "in time" in story.after(1).status["model"]["rejected"]["message"]


def test_one_whose_replicas_fail_later_is_rolled_back_at_the_end_of_its_step() -> None:
    story = Story().tried().happen(happen.counts(0), happen.replicas_unready)
    assert story.after(4 * 45 - 1).weight() == 10
    story.after(1)
    assert "none of its replicas is ready" in story.status["model"]["rejected"]["message"]


def test_with_too_few_requests_a_step_waits_and_then_takes_what_there_is() -> None:
    story = Story().tried().happen(happen.counts(2), seconds=4 * 45 - 1)
    assert story.weight() == 10
    assert story.after(1).weight() == 50
    story.happen(happen.counts(2, errors=1), seconds=4 * 45)
    assert "1 of its 2 requests failed" in story.status["model"]["rejected"]["message"]


def test_without_samples_nothing_is_promoted() -> None:
    story = Story().tried().after(86400)
    assert story.weight() == 10
    assert story.happen(happen.counts(100)).weight() == 50


def test_counts_of_another_step_do_not_count() -> None:
    story = Story().tried().happen(happen.counts(100), seconds=45)
    assert story.weight() == 50
    assert story.after(45).weight() == 50


def test_a_second_change_is_tried_from_the_first_step_on() -> None:
    story = Story().tried().happen(happen.counts(100), seconds=45)
    first, old = story.status["canary"]["revision"], story.stable
    story.happen(happen.spec(resources={"memory": "5Gi"}))
    canary = story.status["canary"]
    assert canary["revision"] != first
    assert (canary["weight"], "stepStartTime" in canary) == (10, False)
    assert story.replicas() == {old: 1, canary["revision"]: 1}


def test_a_change_that_is_taken_back_ends_the_canary() -> None:
    story = Story()
    story.happen(CHANGES["a newer model"], happen.replicas_ready)
    assert story.weight() == 10
    story.happen(CHANGES["the first model"])
    assert "canary" not in story.status
    assert "rejected" not in story.status["model"]
    assert story.replicas() == {story.stable: 1}


def test_the_served_model_is_told_and_the_tried_one_apart() -> None:
    story = Story()
    story.happen(CHANGES["a newer model"])
    assert story.status["model"]["digest"] == worlds.MODEL_DIGEST
    assert story.status["canary"]["digest"] == worlds.VERSION_2
    story.happen(happen.replicas_ready).happen(happen.counts(100), seconds=45)
    story.happen(happen.counts(100), seconds=45)
    assert story.status["model"]["digest"] == worlds.VERSION_2


def test_at_zero_a_change_waits_for_requests_and_starts_beside_the_old_one() -> None:
    story = Story(0).changed()
    new = story.status["canary"]["revision"]
    assert story.replicas() == {story.stable: 0, new: 0}
    assert story.said == ("True", "ScaledToZero")
    story.after(86400).happen(happen.decided(1, "1 waits"))
    assert story.replicas() == {story.stable: 1, new: 1}


def test_a_canary_that_goes_to_zero_stands_still_until_it_is_asked_again() -> None:
    story = Story().tried().happen(happen.counts(100), happen.decided(0, "no request"))
    assert "stepStartTime" not in story.status["canary"]
    assert story.after(86400).weight() == 10
    story.happen(happen.decided(1, "1 waits"), happen.replicas_ready)
    assert story.status["canary"]["stepStartTime"] == timestamp(story.now)


def test_the_first_revision_is_nobodys_canary() -> None:
    story = Story()
    assert "canary" not in story.status
    assert story.replicas() == {story.stable: 1}


def test_what_never_worked_is_replaced_without_a_canary() -> None:
    story = Story()
    old = story.stable
    story.happen(happen.replicas_unready, happen.late).changed()
    assert "canary" not in story.status
    assert story.stable != old
    assert story.replicas() == {story.stable: 1}


def test_the_autoscaler_sizes_the_whole_while_a_canary_is_tried() -> None:
    story = Story(2).tried().happen(happen.counts(100), seconds=45)
    assert story.weight() == 50
    new = story.status["canary"]["revision"]
    for replicas in (6, 3, 8, 1):
        story.happen(happen.decided(replicas, "the load"))
        story.happen(*[happen.replicas_ready] * 8)
        assert sum(story.replicas().values()) in (replicas, replicas + 1)
        assert story.replicas()[new] == part(replicas, 50)


def test_a_deployment_of_an_earlier_version_is_replaced_and_serves_until_then() -> None:
    story = Story(2)
    (engine,) = happen.engines(story.cluster)
    legacy = copy.deepcopy(engine)
    legacy["metadata"] |= {"name": "it-engine-", "uid": "old", "labels": {}}
    legacy["status"] = {"readyReplicas": 2}
    story.cluster.children = {("Deployment", "it-engine-"): legacy}
    del story.status["model"]["revision"]
    story.cluster.execute(story.cluster.plan(story.now), story.now)
    assert story.status["model"]["replaces"] == [""]
    list(replaced(story))
    assert len(story.replicas()) == 1


def test_the_steps_of_a_replacement_are_of_one_replica() -> None:
    story = Story(6, rollout=None).changed()
    totals = [sum(numbers.values()) for numbers in replaced(story)]
    assert all(abs(a - b) <= 1 for a, b in pairwise(totals))


def test_the_moments_of_a_look_are_those_of_the_step() -> None:
    story = Story().tried()
    assert looks(story, story.now) == 5
    assert looks(story.happen(happen.counts(2)), worlds.at(43)) == 2
    assert looks(story, worlds.at(177)) == 3


def looks(story: Story, now: datetime) -> float | None:
    return story.cluster.plan(now).requeue_seconds


@pytest.mark.parametrize(
    ("fate", "seconds", "outcome"),
    [
        pytest.param(happen.counts(100), 45, "raised", id="is raised"),
        pytest.param(happen.counts(100, errors=9), 1, "rejected", id="is rolled back"),
        pytest.param(happen.replicas_unready, 180, "rejected", id="fails"),
        pytest.param(happen.spec(resources={"memory": "5Gi"}), 1, "anew", id="is changed"),
        pytest.param(happen.replace("rollout"), 1, "replaces", id="is not wanted any more"),
    ],
)
def test_an_operator_that_stops_while_a_canary_goes_on_where_it_stopped(
    fate: happen.Fate, seconds: float, outcome: str
) -> None:
    story = Story(4).tried()
    before = story.status["canary"]
    fate(story.cluster, story.now)
    moment = worlds.at(seconds)
    undisturbed = story.cluster.copy()
    undisturbed.converge(moment)
    for first in range(8):
        crashed = story.cluster.copy()
        crashed.execute(crashed.plan(moment), moment, first)
        crashed.converge(moment)
        assert settled_state(crashed) == settled_state(undisturbed)
    model, canary = undisturbed.owner["status"]["model"], undisturbed.owner["status"].get("canary")
    assert {
        "raised": canary is not None and canary["weight"] == 50,
        "rejected": canary is None and model.get("rejected", {}).get("message") is not None,
        "anew": canary is not None and canary["revision"] != before["revision"],
        "replaces": model["revision"] == before["revision"],
    }[outcome]
