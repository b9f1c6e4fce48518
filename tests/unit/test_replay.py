"""`llmcloud replay` on small traces: the table, the JSON, the plot, and what it refuses."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llmcloud.cli import main

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Two requests at once, then one, on a model of 10 s and one slot."""
    file = tmp_path / "trace.csv"
    file.write_text(HEADER + "0,0,0\n0,0,0\n60,0,0\n")
    return file


def options(trace: Path, *more: str) -> list[str]:
    return [
        "replay", "--trace", str(trace), "--slots", "1", "--base-seconds", "10", "--policy", "wva",
        *more,
    ]  # fmt: skip


def test_the_table_has_a_line_per_policy_and_the_two_limits(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options(trace, "--policy", "llmcloud,hpa")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["policy", "p50"]
    assert [line.split()[0] for line in lines[1:]] == ["llmcloud", "hpa", "constant", "clairvoyant"]


def test_the_figures_are_those_of_the_simulator(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options(trace, "--json", "--max-replicas", "1")) == 0
    wva, constant, clairvoyant = json.loads(capsys.readouterr().out)
    # One replica: the second request waits for the first; the last ends at 70 s.
    assert (wva["wait_p50_seconds"], wva["wait_p95_seconds"]) == (0, 10)
    assert wva["gpu_hours"] == pytest.approx(70 / 3600)
    assert (constant["policy"], constant["gpu_hours"]) == ("constant 1", wva["gpu_hours"])
    assert clairvoyant["gpu_hours"] == pytest.approx(70 / 3600)


def test_the_plot_is_an_image_with_a_panel_per_run(trace: Path, tmp_path: Path) -> None:
    file = tmp_path / "plot.svg"
    assert main(options(trace, "--plot", str(file))) == 0
    svg = ElementTree.fromstring(file.read_text())
    lines = svg.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2
    assert all(len(line.attrib["points"].split()) >= 4 for line in lines)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param(["--policy", "magic"], "no policy magic: choose of llmcloud", id="a policy"),
        pytest.param(["--input-column", "x"], "has no column 'x'", id="a column"),
        pytest.param(["--trace", "none.csv"], "none.csv cannot be read", id="a file"),
        pytest.param(["--plot", "a.png"], "does not end with .svg", id="a format"),
        pytest.param(["--warm-replicas", "40"], "is not within --min-replicas", id="bounds"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(
    trace: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main(options(trace, *more)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_a_bad_row_names_its_line(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace.write_text(HEADER + "0,0,0\n1,many,0\n")
    assert main(options(trace)) == 2
    assert "line 3: ContextTokens is 'many'" in capsys.readouterr().err
