"""Warnings of the cluster about pods that do not start, and how many objects wait for some."""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import replace

from llmcloud.cluster.client import Client, object_path
from llmcloud.plan.children import PodView
from llmcloud.plan.waiting import standing_warnings, to_explain


class Awaited:
    """The objects whose pods do not start yet."""

    def __init__(self) -> None:
        self._who: set[Hashable] = set()

    def note(self, who: Hashable, *, waits: bool) -> int:
        """Whether `who` waits from now on; how many do."""
        (self._who.add if waits else self._who.discard)(who)
        return len(self._who)


async def warnings_of(client: Client, namespace: str, uid: str) -> tuple[str, ...]:
    """What still stands of the warnings about one object, the newest last."""
    path = object_path("v1", "Event", namespace)
    events, _ = await client.list(path, fields=f"involvedObject.uid={uid}")
    return standing_warnings(events)


async def explain(client: Client, namespace: str, pods: Sequence[PodView]) -> list[PodView]:
    """The pods; those that do not start with what the cluster warns of."""
    asked = to_explain(pods)
    told = await asyncio.gather(*(warnings_of(client, namespace, pod.uid) for pod in asked))
    warnings = {pod.uid: said for pod, said in zip(asked, told, strict=True)}
    return [
        replace(pod, warnings=warnings[pod.uid]) if pod.uid in warnings else pod for pod in pods
    ]
