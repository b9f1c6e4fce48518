"""Nodes that the next attempt keeps away from, and when they are given up."""

from dataclasses import replace

import pytest

from llmcloud.api.contract import Retry
from llmcloud.api.names import Kind, Reason
from llmcloud.plan.attempts import STEADY_SECONDS, retry_delay_seconds
from llmcloud.plan.avoidance import GIVEN_UP_SECONDS, NODES_MOST, avoided_after, suspects
from llmcloud.plan.children import ANNOTATION_AVOIDED, JobView, job_view
from llmcloud.plan.group import SHRINK_SECONDS
from llmcloud.plan.model import Manifest, Plan
from llmcloud.plan.placement import Scheduling
from llmcloud.plan.training import plan_training
from llmcloud.plan.training_world import TrainingWorld
from tests.support.worlds import (
    DEFAULTS,
    NOW,
    VERSION_1,
    at,
    by_type,
    end_job,
    ended,
    make_owner,
    make_pod,
    raw_job,
    ready_dataset,
    ready_store,
    refusal,
    scheduled,
    unschedulable,
)

STORES = (("work", ready_store("work")),)


def says(reason: Reason, **more: Manifest) -> Manifest:
    outcome = refusal(reason, Retry.ENVIRONMENT)
    return {"phase": "Failed", **ended(1, "Error", outcome.model_dump_json(by_alias=True)), **more}


HUNG, LEFT = says(Reason.HUNG), says(Reason.PEER_LOST)
SILENT: Manifest = {"phase": "Running"}
NO_NODE: Manifest = {"phase": "Pending", **unschedulable("0/2 nodes are available.")}
PLACED: Manifest = {"phase": "Running", **scheduled(NOW)}


def job_of(
    *pods: Manifest, attempt: int = 1, avoided: str = "", over: bool = False, recipe: str = "r"
) -> JobView:
    """A Job whose pods are on the nodes n0, n1, ... if they have one."""
    raw = raw_job(attempt, recipe, nodes=len(pods), version=VERSION_1)
    if avoided:
        raw["metadata"]["annotations"][ANNOTATION_AVOIDED] = avoided
    if over:
        end_job(raw, NOW, succeeded=False)
    views = [make_pod(raw, index=index, **status) for index, status in enumerate(pods)]
    nodes = ["" if pod.unschedulable else f"n{index}" for index, pod in enumerate(views)]
    return job_view(raw, [replace(v, node=n) for v, n in zip(views, nodes, strict=True)])


@pytest.mark.parametrize(
    ("pods", "nodes"),
    [
        pytest.param([HUNG], ("n0",), id="the one that hung"),
        pytest.param([LEFT, HUNG], ("n1",), id="the one that hung, not those that it left"),
        pytest.param([HUNG, HUNG], (), id="nobody if all hung: each may wait for the other"),
        pytest.param([LEFT, SILENT], ("n1",), id="the one that has no end where others lost it"),
        pytest.param([LEFT, LEFT], (), id="nobody if all have an end"),
        pytest.param([SILENT, SILENT], (), id="nobody if nobody said a word"),
        pytest.param([says(Reason.PREEMPTED), SILENT], (), id="nobody where pods were stopped"),
        pytest.param([LEFT, NO_NODE], (), id="a pod without a node names none"),
    ],
)
def test_whose_node_is_suspected(pods: list[Manifest], nodes: tuple[str, ...]) -> None:
    assert suspects(job_of(*pods)) == nodes


def test_what_was_avoided_stays_until_an_attempt_ran_steadily() -> None:
    hung = job_of(HUNG, avoided="n5 n0")
    assert avoided_after(hung, steady=False) == ("n0", "n5")
    assert avoided_after(hung, steady=True) == ("n0",)


def test_the_list_is_bounded_and_the_newest_stays() -> None:
    many = " ".join(f"m{number}" for number in range(20))
    avoided = avoided_after(job_of(HUNG, avoided=many), steady=False)
    assert (len(avoided), avoided[0]) == (NODES_MOST, "n0")


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
N0 = {"key": "metadata.name", "operator": "NotIn", "values": ["n0"]}
N1 = {"key": "metadata.name", "operator": "NotIn", "values": ["n1"]}


def test_an_avoided_node_is_left_out_of_every_place() -> None:
    zone = {"key": "zone", "operator": "In", "values": ["a"]}
    preferred = [{"weight": 64, "preference": {"matchExpressions": [zone]}}]
    assert Scheduling(((zone,), ()), avoided=("n0", "n1")).affinity == {
        "nodeAffinity": {
            REQUIRED: {
                "nodeSelectorTerms": [
                    {"matchExpressions": [zone], "matchFields": [N0, N1]},
                    {"matchFields": [N0, N1]},
                ]
            },
            "preferredDuringSchedulingIgnoredDuringExecution": preferred,
        }
    }
    assert Scheduling(avoided=("n0",)).affinity == {
        "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [N0]}]}}
    }


def plan(*jobs: JobView, seconds: float = 0, nodes: tuple[int, int] = (2, 2)) -> Plan:
    spec = {"nodes": {"min": nodes[0], "max": nodes[1]}}
    owner = make_owner(Kind.TRAINING_JOB, spec=spec, status={"attempt": len(jobs)})
    pods = tuple(pod for job in jobs for pod in job.pods)
    world = TrainingWorld(owner, (ready_dataset(),), STORES, jobs, at(seconds), pods)
    return plan_training(world, DEFAULTS)


def made(planned: Plan) -> Manifest:
    (job,) = [manifest for manifest in planned.applies if manifest["kind"] == "Job"]
    return job


def affinity_of(job: Manifest) -> Manifest | None:
    affinity: Manifest | None = job["spec"]["template"]["spec"].get("affinity")
    return affinity


DELAY_SECONDS = retry_delay_seconds(0)


def test_the_attempt_after_a_lost_node_avoids_it_and_says_so() -> None:
    planned = plan(job_of(LEFT, SILENT, over=True), seconds=DELAY_SECONDS)
    job = made(planned)
    assert job["metadata"]["annotations"][ANNOTATION_AVOIDED] == "n1"
    assert affinity_of(job) == {
        "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [N1]}]}}
    }
    message = by_type(planned.status)["Ready"]["message"]
    assert message.startswith("Attempt 2 starts, away from n1")


def test_an_operator_that_starts_anew_knows_the_nodes_by_the_job() -> None:
    running = job_of(LEFT, HUNG, attempt=2, avoided="n9", over=True)
    job = made(plan(running, seconds=DELAY_SECONDS))
    assert job["metadata"]["annotations"][ANNOTATION_AVOIDED] == "n1 n9"


def test_an_attempt_after_one_that_ran_steadily_starts_anywhere() -> None:
    long_ago, crashed = at(-STEADY_SECONDS), refusal(Reason.STORE_UNREACHABLE, Retry.ENVIRONMENT)
    end = ended(1, "Error", crashed.model_dump_json(by_alias=True), long_ago, NOW)
    job = made(plan(job_of({"phase": "Failed", **end}, avoided="n9", over=True), seconds=10))
    assert ANNOTATION_AVOIDED not in job["metadata"]["annotations"]
    assert affinity_of(job) is None


def test_pods_that_find_no_other_node_may_have_any_after_a_while() -> None:
    waiting = job_of(NO_NODE, attempt=2, avoided="n0")
    early = plan(waiting, seconds=GIVEN_UP_SECONDS - 1, nodes=(1, 1))
    assert (early.applies, early.requeue_seconds) == ((), 1.0)
    late = plan(waiting, seconds=GIVEN_UP_SECONDS, nodes=(1, 1))
    job = made(late)
    assert job["metadata"]["name"] == "it-train-a3"
    assert affinity_of(job) is None
    assert ANNOTATION_AVOIDED not in job["metadata"]["annotations"]
    assert late.deletes == (waiting.ref,)


def test_once_given_up_nothing_is_given_up_again() -> None:
    waiting = job_of(NO_NODE, attempt=3)
    assert plan(waiting, seconds=1000, nodes=(1, 1)).applies == ()


def test_a_group_that_may_be_smaller_rather_shrinks_than_goes_back() -> None:
    short = job_of(PLACED, NO_NODE, attempt=2, avoided="n1")
    job = made(plan(short, seconds=SHRINK_SECONDS, nodes=(1, 2)))
    assert job["spec"]["completions"] == 1
    assert job["metadata"]["annotations"][ANNOTATION_AVOIDED] == "n1"
