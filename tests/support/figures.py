"""What the end of the run prints: measured figures, one JSON line each, and what was tried."""

import json
from typing import Final

LINES: Final[list[str]] = []


def figure(
    name: str,
    value: float,
    unit: str,
    goal: float | None = None,
    *,
    floor: bool = False,
    anchor: tuple[str, float] | None = None,
) -> None:
    """Note a figure; it decides nothing.

    The goal is a ceiling, or a `floor`; with an anchor (name, value) it is one of their ratio.
    """
    ratio = None if anchor is None else value / anchor[1]
    judged = value if ratio is None else ratio
    met = None if goal is None else (judged >= goal if floor else judged <= goal)
    line = {
        "figure": name,
        "value": round(value, 3),
        "unit": unit,
        "anchor": None if anchor is None else anchor[0],
        "anchor_value": None if anchor is None else round(anchor[1], 3),
        "ratio": None if ratio is None else round(ratio, 3),
        "goal": goal,
        "met": met,
    }
    LINES.append(json.dumps(line))
