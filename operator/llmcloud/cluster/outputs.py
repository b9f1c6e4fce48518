"""Which training jobs name one output: as last looked at, and read again where it matters.

An index and no list: of many jobs that begin at once, none costs a request. What it does not know
yet, after a start of the operator, is refused by the store's ledger.
"""

from collections.abc import Awaitable, Callable

from llmcloud.api.names import Kind
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.model import Owner
from llmcloud.plan.training_world import rival_of

Read = Callable[[Kind, str, str], Awaitable[Owner | None]]
Output = tuple[str, str, str]
"""Namespace, store and path."""


class Outputs:
    """The jobs of each output that have not ended."""

    def __init__(self) -> None:
        self._outputs: dict[tuple[str, str], Output] = {}
        self._jobs: dict[Output, set[str]] = {}

    def forget(self, namespace: str, name: str) -> None:
        """The job has ended or is gone."""
        output = self._outputs.pop((namespace, name), None)
        if output is not None:
            self._jobs[output].discard(name)
            if not self._jobs[output]:
                del self._jobs[output]

    async def rival(self, owner: Owner, spec: LLMTrainingJobSpec, read: Read) -> str:
        """The name of the job that has this job's output before it; empty if none has."""
        output = (owner.namespace, spec.output.store.name, spec.output.store.path)
        self._outputs[owner.namespace, owner.name] = output
        names = self._jobs.setdefault(output, set())
        names.add(owner.name)
        others = [await read(Kind.TRAINING_JOB, owner.namespace, n) for n in names - {owner.name}]
        return rival_of(owner, [other for other in others if other is not None])
