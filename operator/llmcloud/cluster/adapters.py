"""What the adapters of a deployment refer to."""

from collections.abc import Awaitable, Callable

from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.model import TrainingJobModel
from llmcloud.api.names import Kind
from llmcloud.plan.adapters import AdapterView, adapter_pin
from llmcloud.plan.model import Owner

FindJob = Callable[[str, TrainingJobModel], Awaitable[Owner | None]]
FindOwner = Callable[[Kind, str, str], Awaitable[Owner | None]]


async def adapter_views(
    owner: Owner, spec: LLMDeploymentSpec, find_job: FindJob, find: FindOwner
) -> tuple[tuple[AdapterView, ...], list[tuple[Kind, str, str]]]:
    """Each adapter's training job and store, and all that is referred to."""
    views = []
    references = []
    for adapter in spec.adapters:
        job = store = None
        which = adapter.model.training_job
        if which is not None:
            # Without a name: any job of the namespace may become the newest.
            references.append((Kind.TRAINING_JOB, owner.namespace, which.name or ""))
            job = await find_job(owner.namespace, which)
        pin = adapter_pin(owner, adapter, job)
        if pin is not None:
            references.append((Kind.OBJECT_STORE, owner.namespace, pin["store"]))
            store = await find(Kind.OBJECT_STORE, owner.namespace, pin["store"])
        views.append(AdapterView(adapter.name, job, store))
    return tuple(views), references
