"""Adapters that come and go while an engine runs: fetched from a real store, loaded by HTTP."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llmcloud.api.adapter import WantedAdapter, WantedAdapters
from llmcloud.api.contract import ProvisionTask, SidecarTask, StoreLocation
from llmcloud.cloud.adapters import LATEST_SECONDS, TRIES, EngineAdapters
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.provision import provision
from llmcloud.cloud.sidecar import Sidecar
from tests.contract.servers import Server
from tests.support.lora_engine import MODEL, LoraEngine


@dataclass
class Pod:
    """A sidecar's adapters beside an engine; the clock is the test's."""

    engine: LoraEngine
    location: StoreLocation
    store: Store
    folder: Path
    now: float = 0.0
    adapters: EngineAdapters = field(init=False)

    def __post_init__(self) -> None:
        self.adapters = EngineAdapters(
            MODEL, self.engine.url, self.told, self.folder / "files", lambda: self.now
        )

    @property
    def told(self) -> Path:
        return self.folder / "adapters.json"

    def wanted(self, name: str, path: str, digest: str | None = None) -> WantedAdapter:
        return WantedAdapter(name=name, store=self.location, path=path, digest=digest)

    def tell(self, *wanted: WantedAdapter) -> None:
        """As the kubelet shows a change of the pod's annotation."""
        self.told.write_text(WantedAdapters(adapters=list(wanted)).model_dump_json(by_alias=True))

    def upload(self, path: str, *names: str) -> None:
        for name in names:
            self.store.put(path + name, b"{}")


@pytest.fixture
def pod(versitygw: Server, tmp_path: Path) -> Iterator[Pod]:
    location = versitygw.location("adapters", prefix=f"{tmp_path.name}/")
    assert provision(ProvisionTask(store=location, create=True, owner_uid="uid")).succeeded
    engine = LoraEngine().start()
    pod = Pod(engine, location, open_store(location), tmp_path)
    pod.upload("a/", "adapter_config.json", "adapter_model.safetensors")
    pod.upload("b/", "adapter_config.json", "adapter_model.safetensors")
    yield pod
    engine.stop()


def test_adapters_come_and_go_without_a_restart(pod: Pod) -> None:
    first, second = pod.wanted("team-a", "a/"), pod.wanted("team-b", "b/")
    pod.tell(first)
    assert pod.adapters.look()
    assert list(pod.engine.served) == ["wiki:team-a"]
    pod.tell(first, second)
    assert pod.adapters.look()
    assert pod.adapters.report.loaded == {"team-a": first.key, "team-b": second.key}
    pod.tell(second)
    assert pod.adapters.look()
    assert list(pod.engine.served) == ["wiki:team-b"]
    assert pod.engine.loads == ["wiki:team-a", "wiki:team-b"]
    assert [path.name for path in (pod.folder / "files").iterdir()] == [f"team-b-{second.key}"]


def test_another_version_takes_the_place_of_the_first_from_another_folder(pod: Pod) -> None:
    pod.tell(pod.wanted("team", "a/"))
    assert pod.adapters.look()
    before = pod.engine.served["wiki:team"]
    newer = pod.wanted("team", "b/")
    pod.tell(newer)
    assert pod.adapters.look()
    assert pod.engine.served["wiki:team"] != before
    assert pod.adapters.report.loaded == {"team": newer.key}
    assert not Path(before).exists()


def test_an_engine_that_was_started_anew_gets_its_adapters_again(pod: Pod) -> None:
    pod.tell(pod.wanted("team", "a/"))
    assert pod.adapters.look()
    port = pod.engine.port
    pod.engine.stop()
    with pytest.raises(OSError, match="refused"):
        pod.adapters.look()
    pod.engine.start(port)
    assert pod.adapters.look()
    assert list(pod.engine.served) == ["wiki:team"]


def test_one_that_cannot_be_fetched_keeps_none_of_the_others_and_is_told(pod: Pod) -> None:
    pod.upload("code/", "adapter_config.json", "run.py")
    good, missing = pod.wanted("good", "a/"), pod.wanted("missing", "nowhere/")
    pod.tell(missing, pod.wanted("code", "code/"), pod.wanted("wrong", "b/", "sha256:00"), good)
    tried = [pod.adapters.look()]
    while len(tried) < TRIES:
        pod.now += LATEST_SECONDS
        tried.append(pod.adapters.look())
    assert tried == [False] * (TRIES - 1) + [True]
    report = pod.adapters.report
    assert report.loaded == {"good": good.key}
    assert "check the path" in report.failed["missing"]
    assert "run.py, which may hold code" in report.failed["code"]
    assert "sha256:00 is wanted" in report.failed["wrong"]
    pod.upload("nowhere/", "adapter_config.json")
    assert pod.adapters.look()
    assert "missing" not in pod.adapters.report.loaded, "it is tried again after a pause"
    pod.now += LATEST_SECONDS
    assert pod.adapters.look()
    assert pod.adapters.report.loaded["missing"] == missing.key


def test_what_an_engine_says_against_an_adapter_is_told(pod: Pod) -> None:
    pod.upload("other/", "model.safetensors")
    pod.tell(pod.wanted("other", "other/"))
    pod.adapters.look()
    assert "The engine refuses to load it (404): No adapter" in pod.adapters.report.failed["other"]


def test_a_replica_is_not_ready_before_it_has_been_told_and_has_loaded(pod: Pod) -> None:
    task = SidecarTask(model=MODEL, adapters=True)
    sidecar = Sidecar(task, pod.engine.url, pod.told, pod.folder / "sidecar")
    for text in (None, "", "{"):
        if text is not None:
            pod.told.write_text(text)
        sidecar.look()
        assert not sidecar.ready
    pod.tell(pod.wanted("team", "a/"))
    sidecar.look()
    assert sidecar.ready
    assert sidecar.adapters.loaded.keys() == {"team"}
    port = pod.engine.port
    pod.engine.stop()
    sidecar.look()
    assert not sidecar.ready
    pod.engine.start(port)
    sidecar.look()
    assert sidecar.ready
