"""Events become keys, also of those that refer to a kind as a whole."""

import asyncio
from typing import Any

from llmcloud.api.names import Kind
from llmcloud.control.pulse import Pulse
from llmcloud.control.queue import Key, WorkQueue
from llmcloud.control.references import References
from llmcloud.hints import Hints


def event(kind: Kind, namespace: str, name: str) -> dict[str, Any]:
    meta = {"namespace": namespace, "name": name, "resourceVersion": "7"}
    return {"kind": str(kind), "metadata": meta}


async def woken(queue: WorkQueue) -> set[Key]:
    keys = set()
    while queue.depth:
        keys.add(await asyncio.wait_for(queue.take(), 5))
    return keys


async def test_whoever_selects_jobs_is_woken_by_any_job_of_its_namespace() -> None:
    queue, references = WorkQueue(), References[Key]()
    hints = Hints(queue, references, Pulse())
    selects, names = Key(Kind.DEPLOYMENT, "ns", "selects"), Key(Kind.DEPLOYMENT, "ns", "names")
    references.note(selects, [Key(Kind.TRAINING_JOB, "ns", "")])
    references.note(names, [Key(Kind.TRAINING_JOB, "ns", "old")])
    await hints.on_object(event(Kind.TRAINING_JOB, "ns", "new"))
    assert await woken(queue) == {Key(Kind.TRAINING_JOB, "ns", "new"), selects}
    await hints.on_object(event(Kind.TRAINING_JOB, "other", "new"))
    assert await woken(queue) == {Key(Kind.TRAINING_JOB, "other", "new")}
