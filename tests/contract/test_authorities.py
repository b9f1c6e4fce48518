"""The installation's own certificate authorities, by the code of pods in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from llmcloud.api.contract import ENV_AUTHORITIES, ExitCode, Outcome, ProvisionTask, Retry
from llmcloud.api.names import Reason
from tests.contract.certificates import write_certificate
from tests.contract.servers import Certificate, Server, azurite, fake_gcs, versitygw
from tests.contract.test_pod import environment, run, wire
from tests.contract.website import website

ATTEMPTS = 3
__all__ = ["environment"]  # the fixture

CLIENTS = """
import ssl, sys
from llmcloud.cloud.authorities import trust_authorities

trust_authorities()
import requests
from huggingface_hub import get_session

url = sys.argv[1]
print(requests.get(url).text, get_session().get(url).text)
trusted = ssl.create_default_context().get_ca_certs()
print(len(trusted), "llmcloud-contract" in str(trusted))
"""


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """Of an authority that no image knows."""
    return write_certificate(tmp_path / "tls")


def provisioned(environment: dict[str, str], task: str) -> tuple[int, Outcome]:
    """Of a task that is tried again while the environment is to blame, as the operator does."""
    for _ in range(ATTEMPTS):
        code, outcome, _ = run(environment, task)
        if outcome.retry is not Retry.ENVIRONMENT:
            break
    return code, outcome


@pytest.mark.parametrize("start", [versitygw, fake_gcs, azurite], ids=["aws", "gcp", "azure"])
def test_a_store_is_trusted_by_them_and_not_without(
    start: Callable[[Path, Certificate], AbstractContextManager[Server]],
    certificate: Certificate,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    with start(tmp_path / "server", certificate) as server:
        task = wire(ProvisionTask(store=server.location("signed"), create=True, owner_uid="uid"))
        code, outcome, _ = run(environment, task)
        assert (code, outcome.reason) == (ExitCode.FAILED, Reason.STORE_UNREACHABLE)
        assert "is not trusted" in outcome.message
        assert "caBundle" in outcome.message
        code, outcome = provisioned(environment | {ENV_AUTHORITIES: str(certificate[0])}, task)
        assert (code, outcome.reason) == (ExitCode.OK, Reason.PROVISIONED), outcome.message


def test_clients_trust_them_besides_the_roots_of_the_image(
    certificate: Certificate, environment: dict[str, str]
) -> None:
    with website(certificate) as site:
        site.files["/"] = b"hello"
        told = subprocess.check_output(
            [sys.executable, "-c", CLIENTS, site.url],
            env=os.environ | environment | {ENV_AUTHORITIES: str(certificate[0])},
            text=True,
            timeout=60,
        )
    greetings, (number, ours) = told.splitlines()[0], told.splitlines()[1].split()
    assert greetings == "hello hello"
    assert int(number) > 50
    assert ours == "True"
