"""The taste of the code: small modules that say what they are, and tests of the real thing."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE_LINES = 400
FUNCTION_LINES = 60
FORBIDDEN_WORDS = ("manager", "helper", "util")
FORBIDDEN_IMPORTS = ("unittest.mock", "mock", "pytest_mock", "responses", "respx")
FORBIDDEN_FIXTURES = ("monkeypatch", "mocker")
FORBIDDEN_MARKS = ("skip", "skipif", "xfail", "importorskip")

SOURCES = sorted(
    path for folder in ("operator", "images", "tests") for path in (ROOT / folder).rglob("*.py")
)
TESTS = [path for path in SOURCES if path.is_relative_to(ROOT / "tests")]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_module_says_what_it_is() -> None:
    assert [
        name_of(path)
        for path in SOURCES
        if path.read_text().strip() and not ast.get_docstring(tree_of(path))
    ] == []


def test_modules_are_small() -> None:
    lines = {name_of(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > FILE_LINES} == {}


def test_functions_are_small() -> None:
    lines = {
        f"{name_of(path)}:{function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path in SOURCES
        for function in functions(path)
    }
    assert {name: count for name, count in lines.items() if count > FUNCTION_LINES} == {}


def test_things_are_named_for_what_they_are() -> None:
    named = [(path, path.stem) for path in SOURCES]
    named += [(path, path.parent.name) for path in SOURCES]
    for path in SOURCES:
        classes = [n.name for n in ast.walk(tree_of(path)) if isinstance(n, ast.ClassDef)]
        named += [(path, name) for name in classes]
    vague = [f"{name_of(p)}: {n}" for p, n in named for w in FORBIDDEN_WORDS if w in n.lower()]
    assert vague == []


def test_source_is_ascii() -> None:
    assert [name_of(path) for path in SOURCES if not path.read_bytes().isascii()] == []


def test_tests_are_of_the_real_thing_and_never_skipped() -> None:
    assert [offence for path in TESTS for offence in offences(path)] == []


def offences(path: Path) -> Iterator[str]:
    """What a test module does to avoid the real thing, each with its line."""
    for node in ast.walk(tree_of(path)):
        imported: list[str] = []
        if isinstance(node, ast.ImportFrom):
            imported = [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
        elif isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("pytest."):
            imported = [node.attr] if node.attr in FORBIDDEN_MARKS else []
        for name in set(imported) & {*FORBIDDEN_IMPORTS, *FORBIDDEN_MARKS}:
            yield f"{name_of(path)}:{getattr(node, 'lineno', 0)}: {name}"
    for function in functions(path):
        for argument in function.args.args:
            if argument.arg in FORBIDDEN_FIXTURES:
                yield f"{name_of(path)}:{function.lineno}: {argument.arg}"
