"""The two laws of planning, over drawn histories of all kinds.

Fixpoint: a plan that was executed is planned again as nothing to do. Crash: whatever prefix of a
plan's steps was executed, starting again leads to the same world.
"""

import copy
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from llmcloud.api.names import Kind
from llmcloud.plan.model import Manifest
from tests.support import worlds
from tests.support.ideal import IdealCluster, intents_hold, plan_routes_of
from tests.unit.plan.fates import BEGINNINGS, FATES, ROLLOUT_FATES, VARIANTS
from tests.unit.plan.happenings import Fate, references

LAW = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
DAY_SECONDS = 86400.0


POOLS: dict[str, tuple[Kind, dict[str, Fate]]] = {
    **{str(kind): (kind, FATES[kind]) for kind in Kind},
    "a canary": (Kind.DEPLOYMENT, ROLLOUT_FATES),
}
EVERY_POOL = pytest.mark.parametrize("pool", POOLS)


@st.composite
def histories(draw: st.DrawFn, pool: str) -> tuple[IdealCluster, datetime]:
    """A cluster after a drawn history: fates, time that passes, looks of the operator."""
    kind, fates = POOLS[pool]
    variants = VARIANTS.get(kind, [{}])
    variant = draw(st.sampled_from(variants)) if fates is FATES[kind] else variants[-1]
    cluster = IdealCluster(worlds.raw_owner(kind, spec=variant), references())
    now = worlds.NOW
    if fates is ROLLOUT_FATES:
        begin = draw(st.sampled_from(sorted(BEGINNINGS)))
        BEGINNINGS[begin](cluster, now)
        cluster.history.append(begin)
    names = draw(st.lists(st.sampled_from(sorted(fates)), max_size=9))
    for name in names:
        looks, seconds = draw(st.booleans()), draw(st.sampled_from([0, 1, 7, 45, 301, 3700]))
        if looks:
            cluster.execute(cluster.plan(now), now)
        now += timedelta(seconds=seconds)
        cluster.history.append(f"{'look, ' if looks else ''}{seconds} s, {name}")
        if not cluster.gone:
            fates[name](cluster, now)
    return cluster, now


def settled_state(cluster: IdealCluster) -> Manifest:
    """What two runs are compared by. Why replicas were last changed is told by whichever look
    recorded the change, and may be worded by the one after a crash."""
    state = copy.deepcopy(cluster.state())
    state["status"].get("scaling", {}).pop("reason", None)
    return state


def check_attempts(cluster: IdealCluster) -> None:
    assert len(cluster.active_jobs()) <= 1, "two active attempts"
    assert len(set(cluster.made)) == len(cluster.made), f"a number was used twice: {cluster.made}"


@EVERY_POOL
def test_a_plan_that_was_executed_is_planned_again_as_nothing_to_do(pool: str) -> None:
    @LAW
    @given(histories(pool))
    def law(history: tuple[IdealCluster, datetime]) -> None:
        cluster, now = history
        first = cluster.plan(now)
        cluster.execute(first, now)
        second = cluster.plan(now)
        if cluster.gone:
            return
        assert intents_hold(cluster, second)
        assert second.deletes == ()
        if second.status is not None:
            assert second.status == cluster.owner["status"]
        before = copy.deepcopy(cluster.state())
        cluster.execute(second, now)
        assert cluster.state() == before
        check_attempts(cluster)

    law()


@EVERY_POOL
def test_any_prefix_of_a_plan_and_a_new_start_lead_to_the_same_world(pool: str) -> None:
    @LAW
    @given(histories(pool), st.integers(0, 4), st.integers(0, 2))
    def law(history: tuple[IdealCluster, datetime], first: int, second: int) -> None:
        undisturbed, now = history
        crashed = undisturbed.copy()
        undisturbed.converge(now)
        for most in (first, second):
            crashed.execute(crashed.plan(now), now, most)
        crashed.converge(now)
        assert settled_state(crashed) == settled_state(undisturbed)
        assert crashed.made == undisturbed.made
        check_attempts(crashed)

    law()


@EVERY_POOL
def test_time_alone_changes_nothing_before_the_next_look(pool: str) -> None:
    @LAW
    @given(histories(pool))
    def law(history: tuple[IdealCluster, datetime]) -> None:
        cluster, now = history
        plan = cluster.converge(now)
        wait = DAY_SECONDS if plan.requeue_seconds is None else plan.requeue_seconds
        before = copy.deepcopy(cluster.state())
        later = now + timedelta(seconds=wait * 0.99)
        cluster.execute(cluster.plan(later), later)
        assert cluster.state() == before

    law()


@LAW
@given(st.lists(histories(str(Kind.DEPLOYMENT)), max_size=3))
def test_routes_follow_from_the_deployments_alone(
    drawn: list[tuple[IdealCluster, datetime]],
) -> None:
    clusters = [cluster for cluster, _ in drawn]
    for number, (cluster, now) in enumerate(drawn):
        cluster.owner["metadata"] |= {"name": f"d{number}", "uid": f"uid-{number}"}
        cluster.execute(cluster.plan(now), now)
    plan = plan_routes_of(clusters)
    assert plan == plan_routes_of(list(reversed(clusters)))
    assert (len(plan.applies), plan.deletes, plan.status) == (1, (), None)
