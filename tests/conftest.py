"""Order, options, lanes and seconds of the whole run.

`make test` runs a process for each lane: they mostly wait for servers and pods. That of the pods
takes longest, and the others let it go first. Figures and seconds of all are printed at the end.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.support.figures import LINES

PHASES = (
    "unit",
    "golden",
    "rules",
    "gateway",
    "contract",
    "chart",
    "cluster",
    "localcluster",
    "training",
    "e2e",
    "serving",
)
"""Quick before slow; what needs no cluster runs while its programs are being built."""

LANES = {"e2e": "pods", "chart": "servers", "cluster": "servers", "training": "servers"}
"""What runs beside what, by phase; all others are one lane of their own."""
NICENESS = 4
"""Of the lanes that are not that of the pods."""

SOAKED = ("serving", "test_memory.py")
"""Left to `make soak`."""

settings.register_profile("untimed", deadline=None)  # a timing decides no test
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak", action="store_true", help="the whole matrices instead of a seeded tenth"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The load of tests/serving would be that of all other tests as well; a corpus of hundreds of
    megabytes takes minutes."""
    left_out = collection_path.name in SOAKED and not config.getoption("--soak")
    return True if left_out else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: PHASES.index(_phase(item)))


class Lanes(LoadScopeScheduling):  # type: ignore[misc]  # untyped
    """Each process takes one lane, in the order of its phases."""

    def _split_scope(self, nodeid: str) -> str:
        return _lane(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes | None:
    """Lanes for `make test`; xdist's own for `make check`, whose tests wait for nothing."""
    return Lanes(config, log) if config.getoption("dist") == "loadscope" else None


def _phase(item: pytest.Item) -> str:
    return item.nodeid.split("/")[1]


def _lane(nodeid: str) -> str:
    return LANES.get(nodeid.split("/")[1], "processes")


def _let_pods_go_first(item: pytest.Item) -> None:
    """In a process that has a lane; what it starts inherits this."""
    beside_others = hasattr(item.config, "workerinput")
    if beside_others and _lane(item.nodeid) != "pods" and os.nice(0) < NICENESS:
        os.nice(NICENESS - os.nice(0))


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    """True: the whole matrices."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture(scope="session")
def settled_seconds(soak: bool) -> int:
    """How long a settled world is watched."""
    return 300 if soak else 60


_seconds: dict[str, float] = defaultdict(float)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _let_pods_go_first(item)
    started = time.monotonic()
    result = yield
    _seconds[_phase(item)] += time.monotonic() - started
    return result


def pytest_testnodedown(node: WorkerController) -> None:
    """What a lane's process noted comes to the one that prints."""
    noted = getattr(node, "workeroutput", {})  # a process that crashed has none
    LINES.extend(noted.get("lines", []))
    for phase, seconds in noted.get("seconds", {}).items():
        _seconds[phase] += seconds


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output.update(lines=LINES, seconds=dict(_seconds))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for phase, seconds in _seconds.items():
        terminalreporter.write_line(f"phase {phase}: {seconds:.0f} s")
    for line in LINES:
        terminalreporter.write_line(line)
