"""`llmcloud key new`."""

import hashlib
import io
import re
from contextlib import redirect_stderr, redirect_stdout

import pytest
import yaml

from llmcloud.api.accesskey import LLMAccessKeySpec
from llmcloud.cli import main


def new(*arguments: str) -> tuple[str, str]:
    out, once = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(once):
        assert main(["key", "new", *arguments]) == 0
    return out.getvalue(), once.getvalue()


def test_the_object_holds_the_keys_digest_and_the_key_is_shown_apart() -> None:
    out, once = new("ci")
    key = once.split()[-1]
    manifest = yaml.safe_load(out)
    assert manifest["metadata"] == {"name": "ci"}
    assert manifest["spec"] == {"sha256": hashlib.sha256(key.encode()).hexdigest()}
    assert key not in out
    assert re.fullmatch(r"llmkey-[A-Za-z0-9_-]{43}", key)


def test_no_key_is_made_twice() -> None:
    assert new("ci")[1] != new("ci")[1]


def test_options_become_the_specification() -> None:
    expires = ("--expires-at", "2027-01-01T00:00:00Z")
    out, _ = new("ci", "-n", "team-a", "--deployment", "wiki", "--deployment", "code", *expires)
    manifest = yaml.safe_load(out)
    assert manifest["metadata"]["namespace"] == "team-a"
    spec = LLMAccessKeySpec.model_validate(manifest["spec"])
    assert spec.deployments is not None
    assert spec.deployments.names == ["wiki", "code"]
    assert manifest["spec"]["expiresAt"] == "2027-01-01T00:00:00Z"


def test_a_time_without_its_zone_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["key", "new", "ci", "--expires-at", "2027-01-01T00:00:00"])
    assert "time zone" in capsys.readouterr().err
