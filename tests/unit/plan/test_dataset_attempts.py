"""LLMDataset: which attempts follow, and when it is left to the user to ask for another."""

import json
from datetime import datetime, timedelta
from typing import Any

from llmcloud.api.contract import Retry
from llmcloud.api.names import ANNOTATION_RECIPE, ANNOTATION_REFRESH, Kind, Reason
from llmcloud.plan.children import JobView
from llmcloud.plan.dataset import BACKOFF_LIMIT, DatasetWorld, plan_dataset
from llmcloud.plan.model import Manifest, Plan
from tests.support.worlds import (
    DEFAULTS,
    NOW,
    by_type,
    failed_job,
    make_owner,
    ready_store,
    refusal,
)

STORES = tuple((name, ready_store(name)) for name in ("work", "raw"))


def plan(
    *jobs: JobView, spec: Manifest | None = None, now: datetime = NOW, **metadata: Any
) -> Plan:
    owner = make_owner(Kind.DATASET, spec=spec, **metadata)
    return plan_dataset(DatasetWorld(owner, STORES, jobs, now), DEFAULTS)


def trigger_of(planned: Plan) -> str:
    trigger: str = planned.applies[0]["metadata"]["annotations"][ANNOTATION_RECIPE]
    return trigger


TRIGGER = trigger_of(plan())


def test_what_the_user_must_mend_is_not_tried_for_ever() -> None:
    last = failed_job(137, "OOMKilled", recipe=TRIGGER, failures=BACKOFF_LIMIT - 1)
    assert by_type(plan(last).status)["Stalled"]["status"] == "False"
    over = failed_job(137, "OOMKilled", recipe=TRIGGER, failures=BACKOFF_LIMIT)
    planned = plan(over, now=NOW + timedelta(days=9))
    stalled = by_type(planned.status)["Stalled"]
    assert (planned.applies, stalled["status"], planned.requeue_seconds) == ((), "True", None)
    assert ANNOTATION_REFRESH in stalled["message"]
    asked = plan(over, annotations={ANNOTATION_REFRESH: "now"})
    assert asked.applies[0]["metadata"]["name"] == "it-data-a2"


def test_what_heals_by_itself_is_tried_for_ever() -> None:
    gone = refusal(Reason.STORE_UNREACHABLE, Retry.ENVIRONMENT).model_dump_json()
    job = failed_job(message=gone, recipe=TRIGGER, retries=99)
    again = plan(job, now=NOW + timedelta(seconds=300))
    assert again.applies[0]["metadata"]["name"] == "it-data-a2"


def test_what_opens_a_source_makes_no_other_version_but_another_attempt() -> None:
    def opened_by(key: str) -> Plan:
        url = {"url": f"https://example.com/a.txt?signature={key}", "sha256": "0" * 64}
        hub = {"hub": {"name": "wikitext", "tokenSecretRef": {"name": key, "key": "token"}}}
        return plan(spec={"sources": [url, hub]})

    def recipe_of(planned: Plan) -> str:
        (container,) = planned.applies[0]["spec"]["template"]["spec"]["containers"]
        recipe: str = json.loads(container["env"][0]["value"])["recipe"]
        return recipe

    one, other = opened_by("old"), opened_by("renewed")
    assert recipe_of(one) == recipe_of(other)
    assert trigger_of(one) != trigger_of(other)
