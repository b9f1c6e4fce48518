"""The embedded store: its volume is laid out and served by the very words of the chart."""

import base64
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import pytest

from llmcloud.api.contract import ProvisionTask, StoreLocation
from llmcloud.cloud.provision import provision
from llmcloud.cloud.s3 import S3Store
from tests.chart.chart import CHART, Object, Values, find, names, pod_specs, render
from tests.contract.servers import free_port, write_keys
from tests.localcluster import ensure_tool

SAMPLES: Values = {"embeddedStore": {"enabled": True, "samples": True}}
START_SECONDS = 30


@dataclass(frozen=True)
class Served:
    """A running embedded store."""

    url: str
    keys: Path

    def location(self, bucket: str) -> StoreLocation:
        return StoreLocation(
            name="store",
            provider="aws",
            bucket=bucket,
            region="us-east-1",
            endpoint_url=self.url,
            credentials_path=str(self.keys),
        )


def prepare(data: Path, *options: str) -> str:
    """Run the init container's script."""
    script = CHART / "files" / "prepare_store.py"
    command = [sys.executable, str(script), str(data), *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def await_health(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                assert response.status == 200
                return
        except URLError:
            time.sleep(0.05)
    raise RuntimeError(f"{url} did not answer")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """versitygw with the arguments and the keys of the chart, on a volume as the chart's."""
    objects = render(SAMPLES)
    spec = pod_specs(objects)["llmcloud-store"]
    (init,), (container,) = spec["initContainers"], spec["containers"]
    data, port = tmp_path_factory.mktemp("volume"), free_port()
    prepare(data, *init["args"])
    secret = find(objects, "Secret", "llmcloud-store-keys")["data"]
    keys = {key: base64.b64decode(value).decode() for key, value in secret.items()}
    words = [w.replace("/data", str(data)).replace(":9000", f":{port}") for w in container["args"]]
    environment = {
        item["name"]: keys[item["valueFrom"]["secretKeyRef"]["key"]] for item in container["env"]
    }
    process = subprocess.Popen([str(ensure_tool("versitygw")), *words], env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        await_health(url + container["readinessProbe"]["httpGet"]["path"], process)
        files = write_keys(data / "keys", keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
        yield Served(url, files)
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def test_samples_are_objects_that_a_dataset_can_read(served: Served) -> None:
    store = S3Store(served.location("samples"))
    found = {item.path: item for item in store.list("python/")}
    assert 200 <= len(found) <= 600
    assert 5_000_000 <= sum(item.bytes for item in found.values()) <= 10_000_000
    assert all(path.endswith(".py") for path in found)
    assert {"python/argparse.py", "python/json/decoder.py"} <= found.keys()
    assert not any("/test/" in path or "/tests/" in path for path in found)
    item = found["python/argparse.py"]
    assert store.head("python/argparse.py") == item
    text = b"".join(store.open("python/argparse.py", etag=item.etag))
    assert len(text) == item.bytes
    assert b"class ArgumentParser" in text


def test_samples_can_be_told_apart(served: Served) -> None:
    etags = [item.etag for item in S3Store(served.location("samples")).list("python/")]
    assert len(set(etags)) > 0.9 * len(etags)


def test_an_object_store_can_be_provisioned_on_it(served: Served) -> None:
    found = provision(ProvisionTask(store=served.location("samples"), create=False, owner_uid="u"))
    assert found.succeeded
    made = provision(ProvisionTask(store=served.location("work"), create=True, owner_uid="u"))
    assert made.succeeded
    assert made.provision is not None
    assert made.provision.protections["versioned"] is True


def test_a_volume_is_laid_out_once(tmp_path: Path) -> None:
    assert "samples" not in prepare(tmp_path)
    assert not (tmp_path / "objects" / "samples").exists()
    prepare(tmp_path, "--samples")
    file = tmp_path / "objects" / "samples" / "python" / "argparse.py"
    file.write_text("changed by its user")
    prepare(tmp_path, "--samples")
    assert file.read_text() == "changed by its user"


def claim_of(objects: list[Object]) -> Object:
    return find(objects, "PersistentVolumeClaim", "llmcloud-store")


def test_a_persistent_store_outlives_the_release_with_its_keys() -> None:
    objects = render({"embeddedStore": {"enabled": True, "persistent": True, "size": "5Gi"}})
    kept = {"helm.sh/resource-policy": "keep"}
    assert claim_of(objects)["metadata"]["annotations"] == kept
    assert claim_of(objects)["spec"]["resources"]["requests"] == {"storage": "5Gi"}
    assert find(objects, "Secret", "llmcloud-store-keys")["metadata"]["annotations"] == kept
    volumes = pod_specs(objects)["llmcloud-store"]["volumes"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "llmcloud-store"}} in volumes


def test_keys_of_ones_own_can_be_used() -> None:
    objects = render({"embeddedStore": {"enabled": True, "existingSecret": "mine"}})
    assert names(objects, "Secret") == set()
    (container,) = pod_specs(objects)["llmcloud-store"]["containers"]
    assert {item["valueFrom"]["secretKeyRef"]["name"] for item in container["env"]} == {"mine"}
