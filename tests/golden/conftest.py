"""`pytest tests/golden --update-golden` writes what it would otherwise compare."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write tests/golden/expected/ anew"
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether the expected files are to be written."""
    return bool(request.config.getoption("--update-golden", default=False))
