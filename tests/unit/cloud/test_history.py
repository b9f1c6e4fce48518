"""Reading a ledger, as pure decisions: an entry counts only if its writer held the job."""

from typing import Literal

import pytest

from llmcloud.api.contract import CheckpointEntry, LedgerEntry
from llmcloud.cloud.ledger import history

RECIPE = "sha256:" + "1" * 64


def entry(
    kind: Literal["attempt", "checkpoint"],
    attempt: int,
    step: int = 0,
    owner: str = "a",
    recipe: str = RECIPE,
) -> LedgerEntry:
    checkpoint = CheckpointEntry(step=step, path="", files=[], bytes=0, time="")
    return LedgerEntry(
        kind=kind,
        attempt=attempt,
        recipe=recipe,
        owner_uid=owner,
        checkpoint=checkpoint if kind == "checkpoint" else None,
    )


@pytest.mark.parametrize(
    ("sentence", "entries", "steps"),
    [
        ("an empty ledger has nothing", [], []),
        (
            "checkpoints of all attempts count, the newest first",
            [
                entry("attempt", 1),
                entry("checkpoint", 1, 5),
                entry("attempt", 2),
                entry("checkpoint", 2, 9),
            ],
            [9, 5],
        ),
        (
            "what an older attempt slips in after a newer one does not count",
            [entry("attempt", 1), entry("attempt", 2), entry("checkpoint", 1, 5)],
            [],
        ),
        (
            "a newer attempt whose own slot was overwritten still holds by its checkpoint",
            [entry("attempt", 1), entry("checkpoint", 2, 7), entry("checkpoint", 1, 5)],
            [7],
        ),
        (
            "a new owner holds though its attempt is lower",
            [
                entry("attempt", 5),
                entry("attempt", 1, owner="b"),
                entry("checkpoint", 5, 50),
                entry("checkpoint", 1, 3, owner="b"),
            ],
            [3],
        ),
        (
            "checkpoints of another recipe are not resumed from",
            [entry("attempt", 1), entry("checkpoint", 1, 5, recipe="sha256:other")],
            [],
        ),
    ],
)
def test_history(sentence: str, entries: list[LedgerEntry], steps: list[int]) -> None:
    assert [item.step for item in history(entries, RECIPE).checkpoints] == steps, sentence
