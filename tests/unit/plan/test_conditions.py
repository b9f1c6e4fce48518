"""Conditions: complete, in order, with a transition time that moves only on a flip."""

import pytest

from llmcloud.api.kinds import KINDS
from llmcloud.api.names import Condition, Kind, Reason
from llmcloud.plan.conditions import (
    MESSAGE_CHARACTERS,
    Judgement,
    build_conditions,
    notices,
    seen_again,
)
from llmcloud.plan.model import timestamp
from tests.support.worlds import NOW, at, by_type, condition, make_owner

READY = Judgement(True, Reason.PREPARED, "Fine")
WAITING = Judgement(False, Reason.STORE_NOT_FOUND, "Create it", reconciling=True)
STUCK = Judgement(False, Reason.SPEC_INVALID, "Correct it", stalled=True)


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_the_three_of_kstatus_and_its_own(kind: Kind) -> None:
    types = [c["type"] for c in build_conditions(make_owner(kind), NOW, READY)]
    assert types[:3] == ["Ready", "Reconciling", "Stalled"]
    assert set(types) >= set(KINDS[kind].conditions)


@pytest.mark.parametrize(
    ("judgement", "words"),
    [
        pytest.param(READY, ("True", "False", "False"), id="ready"),
        pytest.param(WAITING, ("False", "True", "False"), id="still at work"),
        pytest.param(STUCK, ("False", "False", "True"), id="nothing happens without the user"),
        pytest.param(
            Judgement(None, Reason.PENDING, ""), ("Unknown", "False", "False"), id="not known yet"
        ),
    ],
)
def test_what_follows_from_a_judgement(judgement: Judgement, words: tuple[str, ...]) -> None:
    conditions = build_conditions(make_owner(Kind.DATASET), NOW, judgement)
    assert tuple(c["status"] for c in conditions) == words
    holding = [c for c in conditions if c["status"] == "True" and c["type"] != "Ready"]
    assert all(c["reason"] == judgement.reason for c in holding)


@pytest.mark.parametrize(
    ("before", "moved"),
    [
        pytest.param([], True, id="without a condition before it is now"),
        pytest.param([condition("Ready", "Unknown")], True, id="a flip moves it"),
        pytest.param([condition("Ready", "False", "Starting")], True, id="false to true moves it"),
        pytest.param(
            [condition("Ready", "True", "Provisioned", "Other words")], False,
            id="another reason and other words do not",
        ),
    ],
)  # fmt: skip
def test_the_transition_time(before: list[dict[str, object]], moved: bool) -> None:
    owner = make_owner(Kind.DATASET, status={"conditions": before}, generation=7)
    ready = by_type({"conditions": build_conditions(owner, at(60), READY)})["Ready"]
    assert ready["lastTransitionTime"] == timestamp(at(60) if moved else NOW)
    assert ready["observedGeneration"] == 7
    assert (ready["reason"], ready["message"]) == ("Prepared", "Fine")


def test_a_long_message_is_cut() -> None:
    judgement = Judgement(False, Reason.CRASHED, "x" * 10000)
    ready = build_conditions(make_owner(Kind.DATASET), NOW, judgement)[0]
    assert len(ready["message"]) == MESSAGE_CHARACTERS


def test_what_is_final_is_only_seen_again() -> None:
    done = [condition("Ready", "True", "A word of a later version", "Fine")]
    owner = make_owner(Kind.TRAINING_JOB, generation=4, status={"attempt": 2, "conditions": done})
    status = seen_again(owner)
    assert (status["observedGeneration"], status["attempt"]) == (4, 2)
    assert status["conditions"] == [{**done[0], "observedGeneration": 4}]


@pytest.mark.parametrize(
    ("before", "judgement", "expected"),
    [
        pytest.param([], READY, [(False, "Prepared", "Fine")], id="the first judgement is told"),
        pytest.param(
            [condition("Ready", "True", "Prepared", "Other words")], READY, [],
            id="other words alone are not",
        ),
        pytest.param(
            [condition("Ready", "False", "Starting")], WAITING,
            [(False, "StoreNotFound", "Create it")], id="another reason is",
        ),
        pytest.param(
            [condition("Ready", "True", "Prepared")], STUCK, [(True, "SpecInvalid", "Correct it")],
            id="what needs the user is a warning",
        ),
    ],
)  # fmt: skip
def test_which_transitions_deserve_an_event(
    before: list[dict[str, object]],
    judgement: Judgement,
    expected: list[tuple[bool, str, str]],
) -> None:
    status = {"conditions": before}
    owner = make_owner(Kind.DATASET, status=status)
    told = notices(status, {"conditions": build_conditions(owner, NOW, judgement)})
    assert [(n.warning, n.reason, n.message) for n in told] == expected


def test_a_status_without_ready_is_not_told() -> None:
    assert notices({}, {"conditions": [condition(Condition.STALLED, "True")]}) == []
