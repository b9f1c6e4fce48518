"""From text to an answer on a real cluster: everything that examples/quickstart.yaml promises."""

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from openai import APIStatusError, OpenAI

from llmcloud.api.names import Kind
from tests.localcluster.cluster import Cluster
from tests.support.conditions import wait_until
from tests.support.deadlines import delete_and_time
from tests.support.figures import figure
from tests.support.install import apply_quickstart
from tests.support.kube import Kube, Object, condition, status_of
from tests.support.node_client import use_node_client
from tests.support.objects import access_key
from tests.support.waiting import wait_for

NS = "quickstart"


def _ready(kube: Kube, kind: Kind, name: str, seconds: float) -> Object:
    return wait_until(kube, kind, NS, name, "status", "True", seconds)


@pytest.fixture(scope="module")
def trained(cluster: Cluster, kube: Kube) -> Object:
    """The quickstart's training job, Complete; progress was seen on the way."""
    apply_quickstart(cluster, kube)
    _ready(kube, Kind.OBJECT_STORE, "work", 120)
    _ready(kube, Kind.DATASET, "stdlib", 300)
    seen = wait_for(
        "live progress in status",
        lambda: (kube.get(Kind.TRAINING_JOB, NS, "stdlib") or {}).get("status", {}),
        lambda status: status.get("progress", {}).get("step", 0) > 0,
        300,
    )
    assert seen["progress"]["totalSteps"] >= seen["progress"]["step"]
    cluster.kubectl(
        "wait", "--for=condition=Complete", "llmtrainingjob/stdlib", "-n", NS, "--timeout=900s"
    )
    job = kube.get(Kind.TRAINING_JOB, NS, "stdlib")
    assert job is not None
    return job


def test_a_dataset_has_a_version_tokens_and_a_tokenizer(kube: Kube, trained: Object) -> None:
    status = _ready(kube, Kind.DATASET, "stdlib", 10)["status"]
    assert status["version"].startswith("sha256:")
    assert status["versions"] == [status["version"]]
    assert status["documents"] > 100
    assert status["tokens"] > 1_000_000
    assert status["tokenizer"]["digest"].startswith("sha256:")
    assert trained["status"]["inputs"]["datasets"] == [
        {"name": "stdlib", "version": status["version"]}
    ]


def test_the_model_has_learned(trained: Object) -> None:
    evaluation = trained["status"]["evaluation"]
    values = {m["name"]: m["value"] for m in [*evaluation["metrics"], *evaluation["baselines"]]}
    figure("perplexity", values["perplexity"], "", 0.5 * values["unigramPerplexity"])
    figure("unigram_perplexity", values["unigramPerplexity"], "")
    figure("interpolated_bigram_perplexity", values["bigramPerplexity"], "")
    assert values["perplexity"] <= 0.5 * values["unigramPerplexity"]
    assert values["bigramPerplexity"] < values["unigramPerplexity"]


def test_the_job_ends_with_a_model_a_checkpoint_and_lineage(trained: Object) -> None:
    status = trained["status"]
    assert status["phase"] == "Succeeded"
    assert status["attempt"] == 1
    assert status["model"]["digest"].startswith("sha256:")
    assert status["model"]["url"].startswith("s3://quickstart/models/stdlib/")
    assert status["checkpoint"]["step"] >= 100
    assert status["checkpoint"]["bytes"] > 0
    assert "runtime" in status["inputs"]["image"]


def test_the_first_request_waits_for_a_replica_and_is_answered(
    kube: Kube, trained: Object, gateway: str
) -> None:
    _ready(kube, Kind.DEPLOYMENT, "stdlib", 60)
    client = OpenAI(base_url=f"{gateway}/v1", api_key="anonymous", timeout=300, max_retries=0)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(
            lambda: client.chat.completions.create(
                model="stdlib",
                messages=[{"role": "user", "content": "import os"}],
                max_tokens=8,
            )
        )
        wait_for(
            "a replica is wanted",
            lambda: kube.get(Kind.DEPLOYMENT, NS, "stdlib"),
            lambda o: status_of(o).get("desiredReplicas") == 1,
            30,
        )
        answer = held.result(timeout=300)
    assert answer.choices[0].message.content
    status = _ready(kube, Kind.DEPLOYMENT, "stdlib", 10)["status"]
    assert status["model"]["digest"] == trained["status"]["model"]["digest"]


def test_the_openai_client_works_unchanged(kube: Kube, trained: Object, gateway: str) -> None:
    client = OpenAI(base_url=f"{gateway}/v1", api_key="anonymous", timeout=300, max_retries=0)
    assert [model.id for model in client.models.list()] == ["stdlib"]
    completion = client.completions.create(model="stdlib", prompt="def f(", max_tokens=8)
    assert completion.choices[0].text
    chunks = list(
        client.chat.completions.create(
            model="stdlib",
            messages=[{"role": "user", "content": "import os"}],
            max_tokens=8,
            stream=True,
        )
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert len(chunks) > 2


def test_the_openai_client_for_node_works_unchanged(trained: Object, gateway: str) -> None:
    seen = use_node_client(f"{gateway}/v1", "stdlib")
    assert (seen["models"], seen["owner"]) == (["stdlib"], NS)
    assert seen["chat"]
    assert seen["completion"]
    assert "".join(seen["streamed"])
    assert seen["finished"] in ("length", "stop")
    assert "does not exist" in seen["refused"]


def _spend(kube: Kube, client: OpenAI) -> None:
    """30 requests at once of a key that has 10 in a minute; the minute may change once."""

    def ask(_: int) -> int:
        try:
            client.completions.create(model="stdlib", prompt="def f(", max_tokens=1)
        except APIStatusError as error:
            return error.status_code
        return 200

    began = time.time() // 60
    with ThreadPoolExecutor(30) as pool:
        statuses = list(pool.map(ask, range(30)))
    minutes = 1 + int(time.time() // 60 - began)
    assert set(statuses) <= {200, 429}, statuses
    assert 8 <= statuses.count(200) <= 10 * minutes
    status = wait_for(
        "usage in status",
        lambda: status_of(kube.get(Kind.ACCESS_KEY, NS, "team")),
        lambda seen: seen.get("usage", {}).get("requests") == statuses.count(200),
        60,
    )
    assert sum(lease.get("requests", 0) for lease in status["leases"]) <= 10 * (minutes + 1)


def test_a_key_opens_a_closed_deployment_and_is_revoked_within_two_seconds(
    kube: Kube, trained: Object, gateway: str
) -> None:
    client = OpenAI(base_url=f"{gateway}/v1", api_key="of-the-test", max_retries=0)

    def listed() -> list[str]:
        return [model.id for model in client.models.list()]

    kube.patch(Kind.DEPLOYMENT, NS, "stdlib", {"spec": {"access": {"anonymous": False}}})
    wait_for("it is closed", listed, lambda models: models == [], 10)
    key = access_key(NS, sha256=hashlib.sha256(b"of-the-test").hexdigest())
    key["spec"]["limits"] = {"requestsPerMinute": 10, "tokensPerDay": 100_000}
    for disabled, models in ((False, ["stdlib"]), (True, [])):
        key["spec"]["disabled"] = disabled
        kube.apply(key)
        applied = time.monotonic()
        wait_for("the key counts", listed, models.__eq__, 10)
        what = "revoked" if disabled else "effective"
        figure(f"LLMAccessKey_{what}_after", time.monotonic() - applied, "s", 2)
        if not disabled:
            _spend(kube, client)
    wait_until(kube, Kind.ACCESS_KEY, NS, "team", "reason", "Disabled", 10)
    kube.patch(Kind.DEPLOYMENT, NS, "stdlib", {"spec": {"access": {"anonymous": True}}})
    wait_for("it is open", listed, lambda models: models == ["stdlib"], 10)


def test_an_idle_deployment_goes_to_zero_and_scales_by_hand_in_mode_external(
    cluster: Cluster, kube: Kube, trained: Object, gateway: str
) -> None:
    scaling = {"scaling": {"scaleToZeroAfterSeconds": 3}}
    kube.patch(Kind.DEPLOYMENT, NS, "stdlib", {"spec": scaling})
    wait_for(
        "no replica",
        lambda: kube.get(Kind.DEPLOYMENT, NS, "stdlib"),
        lambda o: condition(o).get("reason") == "ScaledToZero" and status_of(o)["replicas"] == 0,
        120,
    )
    kube.patch(Kind.DEPLOYMENT, NS, "stdlib", {"spec": {"scaling": {"mode": "External"}}})
    cluster.kubectl("scale", "llmdep/stdlib", "-n", NS, "--replicas=1")
    wait_for(
        "one replica",
        lambda: kube.get(Kind.DEPLOYMENT, NS, "stdlib"),
        lambda o: status_of(o).get("readyReplicas") == 1,
        180,
    )


def test_of_two_replicas_one_goes_and_no_stream_breaks(
    cluster: Cluster, kube: Kube, trained: Object, gateway: str
) -> None:
    cluster.kubectl("scale", "llmdep/stdlib", "-n", NS, "--replicas=2")
    labels = "app.kubernetes.io/instance=stdlib,app.kubernetes.io/component=engine"

    def replicas() -> set[str]:
        pods = kube.list("Pod", NS, labels)
        return {p["metadata"]["name"] for p in pods if "deletionTimestamp" not in p["metadata"]}

    wait_for(
        "two replicas",
        lambda: kube.get(Kind.DEPLOYMENT, NS, "stdlib"),
        lambda o: status_of(o).get("readyReplicas") == 2,
        180,
    )
    client = OpenAI(base_url=f"{gateway}/v1", api_key="anonymous", timeout=300, max_retries=0)
    scaled = threading.Event()

    def stream() -> int:
        """Streams one after the other until the number has come down, and how many came whole."""
        whole = 0
        while not scaled.is_set():
            asked = client.completions.create(
                model="stdlib", prompt="def f(", max_tokens=64, stream=True
            )
            *_, last = [c for c in asked if c.choices]
            whole += last.choices[0].finish_reason is not None
        return whole

    with ThreadPoolExecutor(1) as pool:
        streams = pool.submit(stream)
        try:
            cluster.kubectl("scale", "llmdep/stdlib", "-n", NS, "--replicas=1")
            (left,) = wait_for("one replica", replicas, lambda names: len(names) == 1, 60)
        finally:
            scaled.set()
        assert streams.result(timeout=120) > 0
    (pod,) = (p for p in kube.list("Pod", NS, labels) if p["metadata"]["name"] == left)
    assert "controller.kubernetes.io/pod-deletion-cost" in pod["metadata"]["annotations"]


def test_a_fallback_has_an_egress_pod_while_it_is_wished_for(
    cluster: Cluster, kube: Kube, trained: Object
) -> None:
    cluster.kubectl("create", "secret", "generic", "provider", "-n", NS, "--from-literal=key=k")
    external = {
        "provider": "openai",
        "model": "m",
        "apiKeySecretRef": {"name": "provider", "key": "key"},
    }
    kube.patch(Kind.DEPLOYMENT, NS, "stdlib", {"spec": {"fallback": {"external": external}}})
    wait_for(
        "an egress pod that is ready",
        lambda: kube.get("Deployment", NS, "stdlib-egress"),
        lambda o: status_of(o).get("readyReplicas") == 1,
        120,
    )
    kube.patch(Kind.DEPLOYMENT, NS, "stdlib", {"spec": {"fallback": None}})
    wait_for(
        "no egress pod", lambda: kube.get("Deployment", NS, "stdlib-egress"), lambda o: not o, 30
    )


def test_kubectl_shows_and_explains(cluster: Cluster, trained: Object) -> None:
    shown = cluster.kubectl("get", "llm", "-A")
    for name in ("objectstore", "llmdataset", "llmtrainingjob", "llmdeployment"):
        assert f"{name}.llmcloud.dev/" in shown
    assert "Optimizer steps" in cluster.kubectl(
        "explain", "llmtrainingjob.spec.hyperparameters.maxSteps"
    )


def test_a_second_job_with_the_same_output_and_recipe_is_complete_at_once(
    kube: Kube, trained: Object
) -> None:
    again = {
        "apiVersion": trained["apiVersion"],
        "kind": trained["kind"],
        "metadata": {"name": "again", "namespace": NS},
        "spec": trained["spec"],
    }
    started = time.monotonic()
    kube.apply(again)
    done = _ready(kube, Kind.TRAINING_JOB, "again", 120)
    figure("finished_result_adopted_in", time.monotonic() - started, "s")
    assert done["status"]["model"]["digest"] == trained["status"]["model"]["digest"]


def test_a_job_for_a_queue_is_told_that_there_is_no_kueue(kube: Kube, trained: Object) -> None:
    store = trained["spec"]["output"]["store"]
    output = {"store": {**store, "path": "models/queued/"}}
    queued = {
        "apiVersion": trained["apiVersion"],
        "kind": trained["kind"],
        "metadata": {"name": "queued", "namespace": NS},
        "spec": {**trained["spec"], "queue": "gpu", "output": output},
    }
    kube.apply(queued)
    told = wait_until(kube, Kind.TRAINING_JOB, NS, "queued", "reason", "Queued", 60)
    assert "this cluster has no Kueue" in condition(told)["message"]
    assert kube.list("Pod", NS, "batch.kubernetes.io/job-name=queued-train-a1") == []
    kube.delete(Kind.TRAINING_JOB, NS, "queued")


def test_a_deployment_is_deleted_with_its_replica(kube: Kube, trained: Object) -> None:
    marked, gone = delete_and_time(kube, Kind.DEPLOYMENT, NS, "stdlib")
    figure("LLMDeployment_Serving_deleted_children_marked_after", marked, "s", 2)
    figure("LLMDeployment_Serving_deleted_children_gone_after", gone, "s", 325)
