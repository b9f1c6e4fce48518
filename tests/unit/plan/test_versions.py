"""Versions that are too many: they leave the status, then the store, and no job loses its own."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud.api.names import Kind, Reason
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.children import JobView
from llmcloud.plan.dataset import DatasetWorld, plan_dataset
from llmcloud.plan.inputs import Inputs, resolve
from llmcloud.plan.model import Manifest, Owner
from llmcloud.plan.stores import Missing
from llmcloud.plan.training_world import TrainingWorld
from llmcloud.plan.versions import IN_USE_SECONDS, versions_in_use
from tests.support.worlds import (
    DEFAULTS,
    NOW,
    VERSION_1,
    condition,
    make_owner,
    prepared,
    ready_store,
    succeeded_job,
)
from tests.unit.plan.test_dataset import DONE, GOOD, READY, RECIPE, after, plan, task_of

VERSIONS = ["sha256:" + letter * 64 for letter in "1edcb"]
MANY: Manifest = {**GOOD, "versions": VERSIONS}


@pytest.mark.parametrize(
    ("keep", "in_use", "dropped"),
    [
        pytest.param(3, [], [4, 3], id="the oldest first"),
        pytest.param(5, [], [], id="none is too many"),
        pytest.param(1, [4, 2], [3, 1], id="what is in use stays, the newest too"),
    ],
)
def test_of_too_many_versions_the_oldest_go(
    keep: int, in_use: list[int], dropped: list[int]
) -> None:
    used = frozenset(VERSIONS[place] for place in in_use)
    spec = {"keepVersions": keep}
    told = plan(DONE, status=MANY, spec=spec, now=after(30), in_use=used)
    gone = [VERSIONS[place] for place in dropped]
    assert told.applies == ()
    assert told.status is not None
    assert told.status["versions"] == [version for version in VERSIONS if version not in gone]
    assert told.status.get("dropping", {}).get("versions", []) == gone
    soon = plan(DONE, status=told.status, spec=spec, now=after(89), in_use=used)
    assert soon.applies == ()
    assert soon.requeue_seconds == (1 if dropped else None)
    planned = plan(DONE, status=told.status, spec=spec, now=after(90), in_use=used)
    assert bool(planned.applies) is bool(dropped)
    if dropped:
        task = task_of(planned)
        assert task["drop"] == gone
        assert (task["current"], task["workers"]) == (VERSION_1, 1)
        assert {k: (planned.status or {})[k] for k in ("versions", "dropping")} == {
            k: told.status[k] for k in ("versions", "dropping")
        }


LEAVING: Manifest = plan(DONE, status=MANY).status or {}


def test_what_was_dropped_is_told_no_more() -> None:
    job = succeeded_job(prepared(VERSION_1, VERSIONS[:2:-1]), 2, RECIPE)
    status = plan(job, status={**LEAVING, "attempt": 2}).status or {}
    assert status["versions"] == VERSIONS[:3]
    assert "dropping" not in status


def test_a_version_that_a_job_named_before_it_left_comes_back() -> None:
    """Whatever was read before, the last look comes after the status."""
    used = frozenset([VERSIONS[4]])
    planned = plan(DONE, status=LEAVING, in_use=used, now=after(999))
    assert planned.applies == ()
    assert planned.status is not None
    assert planned.status["versions"] == [*VERSIONS[:3], VERSIONS[4]]
    assert planned.status["dropping"]["versions"] == [VERSIONS[3]]
    later = plan(DONE, status=planned.status, in_use=used, now=after(999 + 60))
    assert task_of(later)["drop"] == [VERSIONS[3]]


def test_a_version_that_is_the_newest_again_does_not_go() -> None:
    job = succeeded_job(prepared(VERSIONS[3]), 2, RECIPE)
    status = plan(job, status={**LEAVING, "attempt": 2}, now=after(999)).status or {}
    assert status["versions"] == [VERSIONS[3], *VERSIONS[:2]]
    assert status["dropping"]["versions"] == [VERSIONS[4], VERSIONS[2]]


def test_when_the_last_look_is_forgotten_what_was_to_go_comes_back() -> None:
    """Until there is another one nothing would remove it."""
    status = plan(status=LEAVING, now=after(999)).status or {}
    assert status["versions"] == VERSIONS
    assert "dropping" not in status


def test_a_version_in_use_is_looked_at_again() -> None:
    planned = plan(DONE, status=MANY, in_use=frozenset(VERSIONS[3:]), now=after(999))
    assert (planned.applies, planned.requeue_seconds) == ((), IN_USE_SECONDS)


def test_nothing_goes_before_the_newest_version_is_told() -> None:
    """Jobs that start read the newest version from the status."""
    before = {**MANY, "version": VERSIONS[1], "versions": VERSIONS[1:]}
    planned = plan(DONE, status=before, now=after(999))
    assert planned.applies == ()
    assert (planned.status or {})["version"] == VERSION_1


def test_versions_are_in_use_by_jobs_that_have_not_ended() -> None:
    def job(name: str, status: Manifest, **spec: Any) -> Owner:
        return make_owner(Kind.TRAINING_JOB, name, spec=spec, status=status)

    pinned = {"inputs": {"datasets": [{"name": "corpus", "version": VERSIONS[0]}]}}
    jobs = [
        job("pinned", pinned),
        job("asks", {}, datasets=[{"name": "corpus", "version": VERSIONS[1]}]),
        job("newest", {}),
    ]
    assert versions_in_use(jobs) == {VERSIONS[0], VERSIONS[1]}
    ended = make_owner(
        Kind.TRAINING_JOB,
        status={**pinned, "conditions": [condition("Complete", "True")]},
    )
    assert versions_in_use([ended]) == frozenset()


def training(name: str, version: str | None = None, pinned: str | None = None) -> Owner:
    dataset = {"name": "corpus", **({"version": version} if version else {})}
    inputs = {"inputs": {"datasets": [{"name": "corpus", "version": pinned}]}} if pinned else {}
    return make_owner(Kind.TRAINING_JOB, name, spec={"datasets": [dataset]}, status=inputs)


def resolved(job: Owner, dataset_status: Manifest) -> Inputs | Missing:
    dataset = make_owner(Kind.DATASET, "corpus", status=dataset_status)
    stores = (("work", ready_store("work")),)
    spec = LLMTrainingJobSpec.model_validate(job.spec)
    return resolve(TrainingWorld(job, (dataset,), stores, (), NOW), spec)


def test_no_job_begins_with_a_version_that_leaves_and_one_that_did_goes_on() -> None:
    refused = resolved(training("late", VERSIONS[4]), LEAVING)
    assert isinstance(refused, Missing)
    assert refused.reason is Reason.DATASET_NOT_READY
    assert "about to be removed" in refused.message
    for job in (training("other", VERSIONS[1]), training("old", VERSIONS[4], VERSIONS[4])):
        found = resolved(job, LEAVING)
        assert isinstance(found, Inputs)
        assert found.datasets


@dataclass
class Namespace:
    """A dataset, jobs that come and go, and an operator each of whose looks takes its time."""

    status: Manifest = field(default_factory=lambda: dict(MANY))
    job: JobView = DONE
    now: datetime = NOW
    store: set[str] = field(default_factory=lambda: set(VERSIONS))
    drop: list[str] = field(default_factory=list)
    jobs: list[Owner] = field(default_factory=list)
    seen: dict[str, Manifest] = field(default_factory=dict)
    world: DatasetWorld | None = None

    def look_at_the_dataset(self) -> None:
        owner = make_owner(Kind.DATASET, spec={"keepVersions": 2}, status=self.status)
        jobs, in_use = (self.job,), versions_in_use(self.jobs)
        self.world = DatasetWorld(owner, READY, jobs, self.now, None, in_use)

    def execute(self) -> None:
        if self.world is None or self.drop:
            return
        planned = plan_dataset(self.world, DEFAULTS)
        if planned.applies:
            self.drop = task_of(planned)["drop"]
        self.status, self.world = planned.status or {}, None

    def end_the_drop(self) -> None:
        """The store has it done; only now, and not one by one, since who looks sees no half."""
        if not self.drop:
            return
        begun = {pin["version"] for job in self.jobs for pin in pins(job)}
        assert not begun & set(self.drop), "a job lost its data"
        self.store -= set(self.drop)
        self.job = succeeded_job(prepared(VERSION_1, self.drop), self.job.attempt + 1, RECIPE)
        self.status, self.drop = {**self.status, "attempt": self.job.attempt}, []

    def create_a_job(self, place: int) -> None:
        self.jobs.append(training(f"job-{len(self.jobs)}", VERSIONS[place]))

    def look_at_the_jobs(self) -> None:
        self.seen = {job.name: self.status for job in self.jobs}

    def begin(self) -> None:
        """All jobs that may, by what they saw; one whose version is not there fails at once."""
        for place, job in enumerate(self.jobs):
            found = resolved(job, self.seen[job.name]) if job.name in self.seen else None
            if isinstance(found, Inputs) and found.datasets and not pins(job):
                version = found.datasets[0].input.version
                if version in self.store:
                    self.jobs[place] = training(job.name, version, version)

    def end_the_jobs(self) -> None:
        self.jobs, self.seen = [], {}

    def pass_time(self) -> None:
        self.now += timedelta(seconds=61)


def pins(job: Owner) -> list[Manifest]:
    inputs: Manifest = job.status.get("inputs") or {}
    return list(inputs.get("datasets", ()))


STEPS = ["look_at_the_dataset", "execute", "end_the_drop", "look_at_the_jobs", "begin",
         "end_the_jobs", "pass_time"]  # fmt: skip


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.sampled_from(STEPS), st.integers(1, 4)), min_size=8, max_size=40))
def test_no_job_ever_loses_the_version_that_it_began_with(steps: list[str | int]) -> None:
    namespace = Namespace()
    for step in steps:
        if isinstance(step, int):
            namespace.create_a_job(step)
        else:
            getattr(namespace, step)()


def test_versions_that_nobody_uses_are_gone_in_the_end() -> None:
    namespace = Namespace()
    namespace.create_a_job(4)
    for _ in range(3):
        for step in STEPS[:-2]:
            getattr(namespace, step)()
        namespace.pass_time()
    assert namespace.store == {VERSIONS[0], VERSIONS[1], VERSIONS[4]}
    assert namespace.status["versions"] == [VERSIONS[0], VERSIONS[1], VERSIONS[4]]
    namespace.end_the_jobs()
    for _ in range(3):
        for step in STEPS[:-2]:
            getattr(namespace, step)()
        namespace.pass_time()
    assert namespace.store == {VERSIONS[0], VERSIONS[1]}
    assert namespace.status["versions"] == [VERSIONS[0], VERSIONS[1]]
