"""Replicas over time under several policies, as an SVG image."""

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from llmcloud.scaling.replay import Row

WIDTH: Final = 960
PANEL: Final = 110
LEFT: Final = 60
TOP: Final = 24
_STYLE: Final = "font-family:sans-serif;font-size:12px"


def plot(rows: Sequence[Row]) -> str:
    """A panel per row that has a timeline, all with the same axes."""
    shown = [row for row in rows if row.timeline]
    end = max((row.timeline[-1][0] for row in shown), default=1.0) or 1.0
    most = max((row.most_replicas for row in shown), default=1) or 1
    height = len(shown) * (PANEL + TOP) + TOP
    panels = [_panel(row, index, end, most) for index, row in enumerate(shown)]
    axis = _text(LEFT, height - 6, f"0 to {end / 3600:.2f} h; replicas asked for, 0 to {most}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'style="{_STYLE}">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "".join(panels)
        + axis
        + "</svg>\n"
    )


def _panel(row: Row, index: int, end: float, most: int) -> str:
    top = index * (PANEL + TOP) + TOP
    bottom = top + PANEL
    points = []
    height = float(bottom)
    for seconds, replicas in row.timeline:
        across = LEFT + seconds / end * (WIDTH - LEFT - 10)
        points.append(f"{across:.1f},{height:.1f}")
        height = bottom - replicas / most * PANEL
        points.append(f"{across:.1f},{height:.1f}")
    title = (
        f"{row.policy}: p95 wait {row.wait_p95_seconds:.1f} s, {row.gpu_hours:.2f} GPU-hours, "
        f"at most {row.most_replicas} replicas"
    )
    return (
        f'<line x1="{LEFT}" y1="{bottom}" x2="{WIDTH - 10}" y2="{bottom}" stroke="#999"/>\n'
        f'<polyline points="{" ".join(points)}" fill="none" stroke="#0b6" stroke-width="1.5"/>\n'
        + _text(LEFT, top - 6, title)
        + _text(LEFT - 30, top + 10, str(most))
    )


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}">{escape(text)}</text>\n'
