"""`llmcloud replay`: a trace under scaling policies, without a cluster."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from llmcloud.scaling.observation import Bounds
from llmcloud.scaling.plot import plot
from llmcloud.scaling.replay import POLICIES, Row, replay
from llmcloud.scaling.simulate import Model
from llmcloud.scaling.trace import Columns, TraceError, read_trace

_TABLE = "{:<14} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10}"
_HEADER = ("policy", "p50 wait", "p95 wait", "p99 wait", "most", "GPU-hours", "reversals")
_EPILOG = f"""policies: {", ".join(POLICIES)}, or all.

Waits are seconds between arrival and a free slot. The constant count is the fewest replicas
whose p95 wait is not above the lowest of the policies, in hindsight; the clairvoyant knows the
trace, lets nobody wait who need not, and pays the fewest GPU-hours for that."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `llmcloud replay`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("--trace", type=Path, required=True, help="CSV file, a line per request")
    parser.add_argument(
        "--policy", default="all", metavar="NAME[,NAME]", help="which (default: all)"
    )
    parser.add_argument("--timestamp-column", default="", help="ISO 8601 or seconds")
    parser.add_argument("--input-column", default="", help="input tokens")
    parser.add_argument("--output-column", default="", help="output tokens")
    parser.add_argument(
        "--slots", type=_count, default=32, help="requests at once per replica (32)"
    )
    parser.add_argument(
        "--base-seconds", type=_amount, default=1.0, help="service: of every request (1.0)"
    )
    parser.add_argument(
        "--seconds-per-input-token", type=_amount, default=0.002, help="and of its input (0.002)"
    )
    parser.add_argument(
        "--seconds-per-output-token", type=_amount, default=0.18, help="and of its output (0.18)"
    )
    parser.add_argument(
        "--cold-start-seconds", type=_amount, default=180.0, help="creation to Ready (180)"
    )
    parser.add_argument("--min-replicas", type=_whole, default=1, help="fewest (1)")
    parser.add_argument("--max-replicas", type=_count, default=32, help="most (32)")
    parser.add_argument("--warm-replicas", type=_whole, default=1, help="ready at the start (1)")
    parser.add_argument("--seed", type=int, default=1, help="of cold starts and clocks (1)")
    parser.add_argument("--json", action="store_true", help="one JSON document, no table")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="write replicas over time")


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """Replay and print; 2 and one line on stderr if the request makes no sense."""
    try:
        rows = _rows(arguments)
        if arguments.plot is not None:
            _write(arguments.plot, rows)
    except TraceError as error:
        print(f"llmcloud replay: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]), file=out)
    else:
        print(table(rows), file=out)
    return 0


def table(rows: Sequence[Row]) -> str:
    """The figures for people; waits in seconds."""
    lines = [_TABLE.format(*_HEADER)]
    for row in rows:
        waits = (row.wait_p50_seconds, row.wait_p95_seconds, row.wait_p99_seconds)
        figures = [f"{wait:.1f}" for wait in waits]
        lines.append(
            _TABLE.format(
                row.policy, *figures, row.most_replicas, f"{row.gpu_hours:.2f}", row.reversals
            )
        )
        if row.unserved:
            lines[-1] += f"  ({row.unserved} never served)"
    return "\n".join(lines)


def _rows(arguments: argparse.Namespace) -> list[Row]:
    names = list(POLICIES) if arguments.policy == "all" else arguments.policy.split(",")
    unknown = [name for name in names if name not in POLICIES]
    if unknown:
        raise TraceError(f"no policy {', '.join(unknown)}: choose of {', '.join(POLICIES)}")
    low, high = arguments.min_replicas, arguments.max_replicas
    if not low <= arguments.warm_replicas <= high:
        raise TraceError(
            f"--warm-replicas {arguments.warm_replicas} is not within --min-replicas {low} and "
            f"--max-replicas {high}"
        )
    columns = Columns(arguments.timestamp_column, arguments.input_column, arguments.output_column)
    model = Model(
        bounds=Bounds(arguments.slots, low, high),
        base_seconds=arguments.base_seconds,
        seconds_per_input_token=arguments.seconds_per_input_token,
        seconds_per_output_token=arguments.seconds_per_output_token,
        cold_start_seconds=arguments.cold_start_seconds,
        warm_replicas=arguments.warm_replicas,
    )
    return replay(read_trace(arguments.trace, columns), model, names, arguments.seed)


def _write(path: Path, rows: Sequence[Row]) -> None:
    if path.suffix != ".svg":
        raise TraceError(f"{path} does not end with .svg, the only format there is")
    try:
        path.write_text(plot(rows))
    except OSError as error:
        raise TraceError(f"{path} cannot be written: {error}") from error


def _amount(text: str) -> float:
    amount = float(text)
    if not 0 <= amount < float("inf"):
        raise ValueError(text)
    return amount


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


_amount.__name__, _whole.__name__, _count.__name__ = "amount", "whole number", "positive number"
