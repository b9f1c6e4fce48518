"""The top level of pods, by the operator image's own function, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from uuid import uuid4

import pytest

from llmcloud.api.base import ApiModel
from llmcloud.api.contract import (
    ENV_TASK,
    DatasetTask,
    DeleteStoreTask,
    ExitCode,
    FetchTask,
    Outcome,
    Progress,
    ProvisionTask,
    Retry,
    StoreLocation,
)
from llmcloud.api.dataset import Prepare
from llmcloud.api.names import Reason
from tests.contract.servers import WRONG_KEY, Server, free_port

STORE_TASK = "import sys; from llmcloud.cloud.pod import run_store_task; sys.exit(run_store_task())"
WAITING_WORK = """
import sys, time
from llmcloud.api.contract import Outcome, DatasetTask, Progress
from llmcloud.cloud.pod import run

def work(task, report):
    report.publish(Progress(attempt=7, step=3, percent=42, loss=1.5))
    time.sleep(60)

sys.exit(run((DatasetTask,), work))
"""


SDKS = """
import sys
from llmcloud.api.contract import StoreLocation
from llmcloud.cloud.base import open_store
from llmcloud.cloud.bucket import open_bucket

location = StoreLocation.model_validate({location})
open_store(location), open_bucket(location)
print(*{{"boto3", "google.cloud.storage", "azure.storage.blob"}} & set(sys.modules))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "LLMCLOUD_TERMINATION_LOG": str(tmp_path / "termination-log"),
        "LLMCLOUD_REPORT_PORT": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def run(environment: dict[str, str], task: str) -> tuple[int, Outcome, str]:
    """Exit code, outcome and log of one store task."""
    process = subprocess.run(
        [sys.executable, "-c", STORE_TASK],
        env=os.environ | environment | {ENV_TASK: task},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    log = Path(environment["LLMCLOUD_TERMINATION_LOG"])
    return process.returncode, Outcome.model_validate_json(log.read_bytes()), process.stdout


def wire(task: ApiModel) -> str:
    return json.dumps(task.wire())


def test_a_store_is_provisioned_and_removed_by_tasks(
    marking: Server, environment: dict[str, str]
) -> None:
    location = marking.location(f"bucket-{uuid4().hex[:12]}", prefix="team/")
    provisioning = ProvisionTask(store=location, create=True, owner_uid="uid-a")
    code, outcome, _ = run(environment, wire(provisioning))
    assert (code, outcome.reason) == (ExitCode.OK, Reason.PROVISIONED)
    assert outcome.provision is not None
    assert outcome.provision.url == location.url()
    removal = DeleteStoreTask(store=location, owner_uid="uid-a")
    code, outcome, log = run(environment, wire(removal))
    assert (code, outcome.succeeded) == (ExitCode.OK, True)
    assert f"Removing bucket {location.bucket}" in log


def test_a_refused_key_is_an_outcome_without_secrets(
    strict: Server, environment: dict[str, str], tmp_path: Path
) -> None:
    location = strict.location_with(strict.write_keys(tmp_path / "keys", False), "bucket")
    task = FetchTask(store=location, path="model/", destination=str(tmp_path / "m"))
    code, outcome, log = run(environment, wire(task))
    assert (code, outcome.reason) == (ExitCode.FAILED, Reason.CREDENTIALS_REFUSED)
    assert outcome.retry is Retry.ENVIRONMENT
    assert WRONG_KEY not in log + outcome.message


@pytest.mark.parametrize(
    ("provider", "imported"),
    [("aws", {"boto3"}), ("gcp", {"google.cloud.storage"}), ("azure", {"azure.storage.blob"})],
)
def test_a_pod_imports_its_own_providers_sdk_alone(provider: str, imported: set[str]) -> None:
    location = {"name": "s", "provider": provider, "bucket": "b", "account": "a"}
    program = SDKS.format(location=location)
    found = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert set(found.split()) == imported


@pytest.mark.parametrize(
    ("task", "part"),
    [
        ("", "no LLMCLOUD_TASK"),
        ('{"kind": "unheard-of"}', "invalid"),
        ('{"kind": "provision", "create": "secret"}', "ownerUid: Field required"),
        ("not json", "invalid"),
    ],
)
def test_an_invalid_task_is_refused_for_good(
    environment: dict[str, str], task: str, part: str
) -> None:
    code, outcome, _ = run(environment, task)
    assert (code, outcome.reason) == (ExitCode.CONFIGURATION, Reason.CONFIGURATION_INVALID)
    assert part in outcome.message
    assert "secret" not in outcome.message


def test_a_task_of_another_image_is_refused(environment: dict[str, str]) -> None:
    code, outcome, _ = run(environment, wire(_dataset_task()))
    assert code == ExitCode.CONFIGURATION
    assert "dataset" in outcome.message


def test_a_working_pod_reports_and_ends_as_preempted_when_told_to_stop(
    environment: dict[str, str],
) -> None:
    port = free_port()
    changes = {ENV_TASK: wire(_dataset_task()), "LLMCLOUD_REPORT_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING_WORK],
        env=os.environ | environment | changes,
        stderr=subprocess.DEVNULL,
    )
    progress = Progress.model_validate_json(_await(port, "/progress", b"42"))
    assert (progress.attempt, progress.percent, progress.loss) == (7, 42, 1.5)
    assert _await(port, "/healthz", b"ok") == b"ok\n"
    assert b"llmcloud_progress_loss 1.5\n" in _await(port, "/metrics", b"loss")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == ExitCode.INTERRUPTED
    log = Path(environment["LLMCLOUD_TERMINATION_LOG"])
    outcome = Outcome.model_validate_json(log.read_bytes())
    assert (outcome.reason, outcome.retry) == (Reason.PREEMPTED, Retry.ENVIRONMENT)


def _await(port: int, path: str, part: bytes) -> bytes:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                body = bytes(answer.read())
        except urllib.error.URLError:
            body = b""
        if part in body:
            return body
        time.sleep(0.05)
    raise AssertionError(f"{path} never answered with {part!r}")


def _dataset_task() -> DatasetTask:
    return DatasetTask(
        owner_uid="uid",
        recipe="r",
        attempt=7,
        sources=[],
        prepare=Prepare(),
        tokenizer_algorithm="bpe",
        vocabulary_size=300,
        sequence_length_tokens=16,
        output=StoreLocation(name="corpus", provider="aws", bucket="bucket"),
        output_path="",
    )
