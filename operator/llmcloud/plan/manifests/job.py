"""The Job of one numbered attempt. It is created once and never changed."""

from llmcloud.api.names import ANNOTATION_RECIPE, LABEL_QUEUE
from llmcloud.plan.attempts import Attempt
from llmcloud.plan.children import (
    ANNOTATION_AVOIDED,
    ANNOTATION_FAILURES,
    ANNOTATION_LOST,
    ANNOTATION_PLACE,
    ANNOTATION_RETRIES,
)
from llmcloud.plan.manifests.pod import attempt_labels
from llmcloud.plan.model import Manifest, Owner


def attempt_job(
    owner: Owner,
    role: str,
    attempt: Attempt,
    recipe: str,
    template: Manifest,
    annotations: dict[str, str] | None = None,
    *,
    workers: int = 1,
    queue: str | None = None,
) -> Manifest:
    """`<owner>-<role>-a<number>`: a pod for each worker, which knows its index; no retries of its
    own, the operator makes attempts.

    With a `queue` it is Kueue's to let it start: `suspend` is said once and never again.
    """
    queued = {LABEL_QUEUE: queue} if queue else {}
    suspended = {"suspend": True} if queue else {}
    avoided = {ANNOTATION_AVOIDED: " ".join(attempt.avoided)} if attempt.avoided else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{owner.name}-{role}-a{attempt.number}",
            "namespace": owner.namespace,
            "labels": {**attempt_labels(owner, role, attempt.number), **queued},
            "annotations": {
                ANNOTATION_RECIPE: recipe,
                ANNOTATION_RETRIES: str(attempt.retries),
                ANNOTATION_FAILURES: str(attempt.failures),
                **({ANNOTATION_PLACE: str(attempt.place)} if attempt.place else {}),
                **({ANNOTATION_LOST: str(attempt.lost)} if attempt.lost else {}),
                **avoided,
                **(annotations or {}),
            },
            "ownerReferences": [owner.reference],
        },
        "spec": {
            **suspended,
            "backoffLimit": 0,
            "completions": workers,
            "parallelism": workers,
            "completionMode": "Indexed",
            "podReplacementPolicy": "Failed",
            "template": template,
        },
    }
