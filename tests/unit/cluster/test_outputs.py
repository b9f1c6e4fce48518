"""Which job has an output that several name."""

import asyncio
from typing import Any

from llmcloud.api.names import Kind
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.cluster.outputs import Outputs
from llmcloud.plan.model import Owner
from tests.support.worlds import TRAINING_SPEC, condition, make_owner


class Cluster:
    """Jobs by name, and how often one was read."""

    def __init__(self, *jobs: Owner) -> None:
        self.jobs = {job.name: job for job in jobs}
        self.reads = 0
        self.outputs = Outputs()

    async def read(self, kind: Kind, namespace: str, name: str) -> Owner | None:
        self.reads += 1
        return self.jobs.get(name)

    def look(self, name: str) -> str:
        job = self.jobs[name]
        spec = LLMTrainingJobSpec.model_validate({**TRAINING_SPEC, **job.spec})
        return asyncio.run(self.outputs.rival(job, spec, self.read))


def job(name: str, path: str = "models/a/", **status: Any) -> Owner:
    output = {"store": {"name": "work", "path": path}}
    return make_owner(Kind.TRAINING_JOB, name, spec={"output": output}, status=status)


def test_jobs_with_outputs_of_their_own_cost_no_request() -> None:
    cluster = Cluster(job("a"), job("b", "models/b/"))
    assert [cluster.look("a"), cluster.look("b"), cluster.look("a")] == ["", "", ""]
    assert cluster.reads == 0


def test_the_later_one_is_told_the_earlier_until_that_is_gone() -> None:
    cluster = Cluster(job("a"), job("b"))
    assert [cluster.look("a"), cluster.look("b")] == ["", "a"]
    del cluster.jobs["a"]
    assert cluster.look("b") == ""
    cluster.outputs.forget("ns", "a")
    reads = cluster.reads
    assert (cluster.look("b"), cluster.reads) == ("", reads)


def test_an_earlier_one_that_has_ended_is_no_rival() -> None:
    cluster = Cluster(job("a"), job("b"))
    cluster.look("a")
    cluster.jobs["a"] = job("a", conditions=[condition("Complete", "True")])
    assert cluster.look("b") == ""
