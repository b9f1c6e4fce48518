"""The pods of a job that has ended: they stay for a while, go, and nothing follows."""

from dataclasses import replace

import pytest

from llmcloud.api.contract import Retry
from llmcloud.api.names import Reason
from llmcloud.plan.children import JobView
from llmcloud.plan.model import Plan
from tests.support.worlds import at, refusal, succeeded_job, trained
from tests.unit.plan.test_training import RECIPE, failed, plan, status_of

FAILURE = failed(64, message=refusal(Reason.LOSS_NOT_FINITE, Retry.NEVER).model_dump_json())
SUCCESS = succeeded_job(trained(), recipe=RECIPE)
EVERY_END = pytest.mark.parametrize("last", [SUCCESS, FAILURE], ids=["complete", "failed"])


@EVERY_END
def test_nothing_goes_with_the_look_that_tells_the_end(last: JobView) -> None:
    ends = plan(last, spec={"podsTTLSeconds": 0})
    assert (ends.deletes, ends.requeue_seconds) == ((), 0)


@EVERY_END
def test_they_stay_until_their_time_is_over_and_then_go(last: JobView) -> None:
    end = status_of(plan(last))
    before = plan(last, status=end, now=at(86399))
    assert (before.deletes, before.requeue_seconds, before.status) == ((), 1.0, end)
    due = plan(last, status=end, now=at(86400))
    assert (due.deletes, due.requeue_seconds, due.status) == ((last.ref,), None, end)
    assert due.applies == ()


@EVERY_END
def test_without_them_there_is_nothing_to_do_and_no_reason_to_look(last: JobView) -> None:
    end = status_of(plan(last))
    later = plan(status=end, now=at(86400))
    assert later == Plan(status=end)


def test_what_is_going_is_left() -> None:
    end = status_of(plan(SUCCESS))
    going = replace(SUCCESS, deleting=True)
    assert plan(going, status=end, now=at(86400)).deletes == ()


def test_the_time_can_be_changed_after_the_end() -> None:
    end = status_of(plan(SUCCESS))
    short = plan(SUCCESS, status=end, spec={"podsTTLSeconds": 60}, now=at(60))
    assert short.deletes == (SUCCESS.ref,)
    long = plan(SUCCESS, status=end, spec={"podsTTLSeconds": 172800}, now=at(86400))
    assert (long.deletes, long.requeue_seconds) == ((), 86400)
