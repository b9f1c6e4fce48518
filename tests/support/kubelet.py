"""The test plays kubelet where there is none: it ends pods as a kubelet would report them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from llmcloud.api.contract import (
    ENV_TASK,
    TASK,
    DatasetResult,
    DatasetTask,
    Outcome,
    ProvisionResult,
    ProvisionTask,
)
from llmcloud.api.names import Reason
from tests.support.kube import Kube

Object = dict[str, Any]


def task_of(pod: Object) -> Any:
    """The contract's task that a pod carries."""
    env = {e["name"]: e.get("value", "") for e in pod["spec"]["containers"][0]["env"]}
    return TASK.validate_json(env[ENV_TASK])


def good_outcome(pod: Object) -> Outcome:
    """What the pod would say if all went well."""
    task = task_of(pod)
    if isinstance(task, ProvisionTask):
        result = ProvisionResult(url=f"s3://{task.store.bucket}/", protections={"versioned": True})
        return Outcome(succeeded=True, reason=Reason.PROVISIONED, provision=result)
    assert isinstance(task, DatasetTask), f"no outcome is played for {task.kind}"
    made = DatasetResult(
        version=task.recipe,
        tokenizer_digest=task.recipe,
        documents=3,
        validation_documents=1,
        tokens=1000,
        bytes=5000,
        shards=1,
        rejected={},
        reused=False,
    )
    return Outcome(succeeded=True, reason=Reason.PREPARED, dataset=made)


def end_pod(kube: Kube, pod: Object, outcome: Outcome | str, exit_code: int = 0) -> None:
    """Report the pod as ended, with an outcome or raw words as its termination message."""
    now = _written(datetime.now(UTC))
    raw = outcome if isinstance(outcome, str) else json.dumps(outcome.wire())
    ended = {"exitCode": exit_code, "message": raw, "startedAt": now, "finishedAt": now}
    ended["reason"] = "Completed" if exit_code == 0 else "Error"
    _report(kube, pod, "Succeeded" if exit_code == 0 else "Failed", {"terminated": ended})


def bind_pod(kube: Kube, pod: Object, node: str = "none") -> None:
    """Give the pod a node, so that only its kubelet, which is the test, ends it."""
    meta = pod["metadata"]
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": meta["name"]},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
    kube.call("POST", f"{path}/binding", binding)


def run_pod(kube: Kube, pod: Object, seconds_ago: float) -> None:
    """Report the pod as running since so long."""
    since = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    _report(kube, pod, "Running", {"running": {"startedAt": _written(since)}})


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _report(kube: Kube, pod: Object, phase: str, state: Object) -> None:
    container = pod["spec"]["containers"][0]
    reported = {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": state,
    }
    status = {"phase": phase, "containerStatuses": [reported]}
    meta = pod["metadata"]
    kube.patch("Pod", meta["namespace"], meta["name"], {"status": status}, "status")


def end_all(kube: Kube, namespace: str) -> int:
    """End every unfinished pod of the namespace well; how many there were."""
    pods = [
        pod
        for pod in kube.list("Pod", namespace)
        if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        and "deletionTimestamp" not in pod["metadata"]
    ]
    for pod in pods:
        end_pod(kube, pod, good_outcome(pod))
    return len(pods)
