"""Children as decisions see them: small frozen views of Jobs and Pods."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from llmcloud.api.contract import ENGINE_PORT, Outcome
from llmcloud.api.names import (
    ANNOTATION_ADAPTERS,
    ANNOTATION_LEASES,
    ANNOTATION_RECIPE,
    GROUP,
    LABEL_ATTEMPT,
    LABEL_COMPONENT,
    LABEL_QUEUE,
    LABEL_REVISION,
)
from llmcloud.plan.model import Manifest, ObjectRef, from_timestamp

ANNOTATION_RETRIES = f"{GROUP}/retries"
ANNOTATION_FAILURES = f"{GROUP}/failures"
ANNOTATION_LOST = f"{GROUP}/peers-lost"
ANNOTATION_PLACE = f"{GROUP}/place"
ANNOTATION_AVOIDED = f"{GROUP}/avoided-nodes"
ANNOTATION_BASE = f"{GROUP}/base"
ANNOTATION_INPUTS = f"{GROUP}/inputs"
ANNOTATION_SPENT = f"{GROUP}/spent"
ANNOTATION_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True)
class Termination:
    """How a container ended."""

    exit_code: int
    reason: str
    message: str
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def outcome(self) -> Outcome | None:
        """The contract's outcome, if the pod lived to write one."""
        try:
            return Outcome.model_validate_json(self.message)
        except ValidationError:
            return None


@dataclass(frozen=True)
class Waiting:
    """Why a container does not start, in the kubelet's words."""

    reason: str
    message: str


@dataclass(frozen=True)
class PodView:
    """A pod."""

    name: str
    uid: str
    phase: str
    ip: str
    ready: bool
    deleting: bool
    attempt: int
    job: str
    index: int = 0
    """Of the pod in its Job or StatefulSet."""
    gone_by: datetime | None = None
    """When its grace period ends, if it is being deleted."""
    scheduled: datetime | None = None
    node: str = ""
    reason: str = ""
    message: str = ""
    unschedulable: str = ""
    disrupted: str = ""
    waiting: Waiting | None = None
    set_up: bool = False
    """Whether any of its containers has begun: its volumes are there."""
    termination: Termination | None = None
    warnings: tuple[str, ...] = ()
    created: datetime | None = None
    started: datetime | None = None
    """When the main container last started; None while it does not run."""
    ready_flipped: datetime | None = None
    """When Ready last changed."""
    restarts: int = 0
    deletion_cost: str = ""
    """As annotated."""
    adapters: str = ""
    """As annotated: what its sidecar has been told."""
    component: str = ""
    revision: str = ""
    """Of an engine's replica."""
    port: int = ENGINE_PORT
    """Where it serves, if it does."""
    leases: str = ""
    """As annotated: what an egress pod has been told."""
    spent: Manifest = field(default_factory=dict)
    """Of a training pod: what the attempts before it came to, as annotated."""

    @property
    def serves(self) -> bool:
        """Whether it is ready, and stays."""
        return self.ready and not self.deleting

    @property
    def comes(self) -> bool:
        """Whether it is not ready, and stays."""
        return not self.ready and not self.deleting

    def annotated(self, namespace: str, annotations: Mapping[str, str]) -> Manifest:
        """An apply of all that this operator says of the pod: what is left out is taken back. The
        uid keeps it from making a pod anew."""
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": namespace,
                "uid": self.uid,
                "annotations": dict(annotations),
            },
        }

    @property
    def began(self) -> datetime | None:
        """When the main container started, whether or not it has ended."""
        return self.started or (self.termination.started if self.termination else None)

    @property
    def starts(self) -> bool:
        """Whether it is on its way to its first Ready. What has failed once is not counted on."""
        if self.phase not in ("Pending", "Running") or self.deleting or self.ready:
            return False
        served = self.started and self.ready_flipped and self.ready_flipped > self.started
        return not served and not self.restarts


@dataclass(frozen=True)
class JobView:
    """A Job with its pods. `warnings`: messages of events that kept pods from being made.

    `inputs`: what the attempt was pinned to, as in the status.
    `tried`: when the Job controller first made pods for it, or failed to.
    """

    name: str
    namespace: str
    uid: str
    attempt: int
    recipe: str
    retries: int
    failures: int
    inputs: Manifest
    created: datetime
    tried: datetime | None
    deleting: bool
    succeeded: bool
    failed: bool
    finished: datetime | None
    failure_message: str
    image: str
    place: int = 0
    """Index of its entry in spec.placement."""
    lost: int = 0
    """Attempts in a row before it that lost a peer before they made a step."""
    avoided: tuple[str, ...] = ()
    """Nodes that its pods are kept from."""
    nodes: int = 1
    base: int = 0
    """Of a Job that asks for room: nodes of the attempt for which it does."""
    role: str = ""
    queued: bool = False
    """Held back by Kueue, or by whoever set `suspend`."""
    queue: str = ""
    held: str = ""
    """Why the queue holds it back, as far as is known."""
    pods: tuple[PodView, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def active(self) -> bool:
        return not (self.succeeded or self.failed)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef("batch/v1", "Job", self.namespace, self.name, self.uid)


def _number(text: str | None) -> int:
    """A label's number. Anyone may write labels on a pod: what is no number counts as 0."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0


def _moment(text: str | None) -> datetime | None:
    return from_timestamp(text) if text else None


def _object(text: str) -> Manifest:
    """An annotation's JSON object; what is none counts as empty."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _condition(raw: Manifest, type_: str) -> Manifest:
    conditions = (raw.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == type_ and c["status"] == "True"), {})


def _termination(statuses: list[Manifest]) -> Termination | None:
    ended = [s["state"]["terminated"] for s in statuses if "terminated" in s.get("state", {})]
    if not ended:
        return None
    worst = max(ended, key=lambda state: state["exitCode"] != 0)
    return Termination(
        worst["exitCode"],
        worst.get("reason", ""),
        worst.get("message", ""),
        _moment(worst.get("startedAt")),
        _moment(worst.get("finishedAt")),
    )


def _waiting(statuses: list[Manifest]) -> Waiting | None:
    for status in statuses:
        state: dict[str, Any] = status.get("state", {}).get("waiting", {})
        if state:
            return Waiting(state.get("reason", ""), state.get("message", ""))
    return None


def _has_begun(status: Manifest) -> bool:
    return any(status.get(state, {}).keys() - {"waiting"} for state in ("state", "lastState"))


def _last_termination(statuses: list[Manifest]) -> Termination | None:
    ended = [
        s["lastState"]["terminated"] for s in statuses if "terminated" in s.get("lastState", {})
    ]
    return _termination([{"state": {"terminated": ended[0]}}]) if ended else None


def _serving_port(raw: Manifest) -> int:
    containers = (raw.get("spec") or {}).get("containers") or []
    ports = [port for container in containers for port in container.get("ports") or []]
    named = (port["containerPort"] for port in ports if port.get("name") == "http")
    return next(named, ENGINE_PORT)


def pod_view(raw: Manifest, warnings: tuple[str, ...] = ()) -> PodView:
    """A pod as the API server gives it."""
    meta, status = raw["metadata"], raw.get("status") or {}
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    containers = [
        *(status.get("initContainerStatuses") or []),
        *(status.get("containerStatuses") or []),
    ]
    main = status.get("containerStatuses") or []
    scheduled: Manifest = next(
        (c for c in status.get("conditions") or [] if c["type"] == "PodScheduled"), {}
    )
    disruption = _condition(raw, "DisruptionTarget")
    ready: Manifest = next((c for c in status.get("conditions") or [] if c["type"] == "Ready"), {})
    running = main[0].get("state", {}).get("running", {}) if main else {}
    waiting = _waiting(containers)
    failing = [s for s in containers if s.get("state", {}).get("terminated", {}).get("exitCode")]
    return PodView(
        name=meta["name"],
        uid=meta["uid"],
        phase=status.get("phase", "Pending"),
        ip=status.get("podIP", ""),
        ready=ready.get("status") == "True",
        deleting="deletionTimestamp" in meta,
        attempt=_number(labels.get(LABEL_ATTEMPT)),
        job=labels.get("batch.kubernetes.io/job-name", ""),
        index=_number(
            labels.get("batch.kubernetes.io/job-completion-index")
            or labels.get("apps.kubernetes.io/pod-index")
        ),
        gone_by=_moment(meta.get("deletionTimestamp")),
        scheduled=_moment(scheduled.get("lastTransitionTime"))
        if scheduled.get("status") == "True"
        else None,
        node=(raw.get("spec") or {}).get("nodeName", ""),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        unschedulable=scheduled.get("message", "")
        if scheduled.get("reason") == "Unschedulable"
        else "",
        disrupted=str(disruption.get("message") or disruption.get("reason") or ""),
        waiting=waiting,
        set_up=any(_has_begun(status) for status in containers),
        termination=_termination(failing or main) or _last_termination(containers),
        warnings=warnings,
        created=_moment(meta.get("creationTimestamp")),
        started=_moment(running.get("startedAt")),
        ready_flipped=_moment(ready.get("lastTransitionTime")),
        restarts=max((s.get("restartCount", 0) for s in main), default=0),
        adapters=annotations.get(ANNOTATION_ADAPTERS, ""),
        component=labels.get(LABEL_COMPONENT, ""),
        revision=labels.get(LABEL_REVISION, ""),
        port=_serving_port(raw),
        leases=annotations.get(ANNOTATION_LEASES, ""),
        deletion_cost=annotations.get(ANNOTATION_DELETION_COST, ""),
        spent=_object(annotations.get(ANNOTATION_SPENT, "")),
    )


def job_view(raw: Manifest, pods: list[PodView], warnings: tuple[str, ...] = ()) -> JobView:
    """A Job as the API server gives it, with those of `pods` that are its own."""
    meta = raw["metadata"]
    annotations = meta.get("annotations") or {}
    complete = _condition(raw, "Complete")
    # A Job that fails is not Failed before its last pod is gone, which a lost node's never is.
    failed = _condition(raw, "Failed") or _condition(raw, "FailureTarget")
    ended = complete or failed
    tried = (raw.get("status") or {}).get("startTime")
    containers = raw["spec"]["template"]["spec"]["containers"]
    return JobView(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        attempt=_number((meta.get("labels") or {}).get(LABEL_ATTEMPT)),
        recipe=annotations.get(ANNOTATION_RECIPE, ""),
        retries=_number(annotations.get(ANNOTATION_RETRIES)),
        failures=_number(annotations.get(ANNOTATION_FAILURES)),
        inputs=_object(annotations.get(ANNOTATION_INPUTS, "")),
        created=from_timestamp(meta["creationTimestamp"]),
        tried=_moment(tried),
        deleting="deletionTimestamp" in meta,
        succeeded=bool(complete),
        failed=bool(failed),
        finished=_moment(ended.get("lastTransitionTime")),
        failure_message=failed.get("message", ""),
        image=containers[0].get("image", ""),
        place=_number(annotations.get(ANNOTATION_PLACE)),
        lost=_number(annotations.get(ANNOTATION_LOST)),
        avoided=tuple(annotations.get(ANNOTATION_AVOIDED, "").split()),
        nodes=raw["spec"].get("completions", 1),
        base=_number(annotations.get(ANNOTATION_BASE)),
        role=(meta.get("labels") or {}).get(LABEL_COMPONENT, ""),
        queued=bool(raw["spec"].get("suspend")),
        queue=(meta.get("labels") or {}).get(LABEL_QUEUE, ""),
        pods=tuple(pod for pod in pods if pod.job == meta["name"]),
        warnings=warnings,
    )
