"""What is left of jobs that have ended: looked at when it may go, and not again once it is gone."""

from datetime import datetime

from llmcloud.cluster.client import Client
from llmcloud.cluster.jobs import read_jobs
from llmcloud.plan.children import JobView
from llmcloud.plan.ended import kept_seconds
from llmcloud.plan.model import Owner


class Remains:
    """Remembers by name which jobs have none left; `forget` when the object is gone."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._cleared: dict[tuple[str, str], str] = {}

    async def jobs(self, owner: Owner, now: datetime) -> tuple[JobView, ...]:
        """The Jobs of what is final, if they may go; a final object gets no new ones."""
        key = (owner.namespace, owner.name)
        if kept_seconds(owner, now) > 0 or self._cleared.get(key) == owner.uid:
            return ()
        jobs, _ = await read_jobs(self._client, owner)
        if not jobs:
            self._cleared[key] = owner.uid
        return jobs

    def forget(self, namespace: str, name: str) -> None:
        """The object is gone."""
        self._cleared.pop((namespace, name), None)
