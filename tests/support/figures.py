"""What the end of the run prints: measured figures, one JSON line each, and what was tried."""

import json
from typing import Final

LINES: Final[list[str]] = []


def figure(name: str, value: float, unit: str, goal: float | None = None) -> None:
    """Note a figure whose goal is a ceiling; it decides nothing."""
    met = None if goal is None else value <= goal
    line = {
        "figure": name,
        "value": round(value, 3),
        "unit": unit,
        "anchor": None,
        "anchor_value": None,
        "ratio": None,
        "goal": goal,
        "met": met,
    }
    LINES.append(json.dumps(line))
