"""A cluster of two nodes, two gateways, a small engine of the image test-engine, and a load."""

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import boto3
import pytest

from llmcloud.api.names import Kind
from tests.localcluster.cluster import Cluster
from tests.localcluster.image_build import build_images
from tests.support.conditions import wait_until
from tests.support.gateways import gateway_url, ready_pods
from tests.support.install import NAMESPACE, copy_keys, helm_install
from tests.support.kube import Kube, Object, status_of
from tests.support.load import Load
from tests.support.objects import changed, deployment, store
from tests.support.paths import ENDPOINT
from tests.support.waiting import wait_for

NS = "serving"
NAME = "load"
ENGINES = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/component=engine"
MODEL_PATH = "models/tiny/"
SLOTS = 14
TOKENS = (3, 12)
"""Of whole answers and of streams: at 80 ms each they hold a slot for 0.6 s on average."""
SEED = 20261125


@pytest.fixture(scope="package")
def images() -> dict[str, str]:
    return build_images(("operator", "gateway", "versitygw", "test-engine"))


@pytest.fixture(scope="package")
def cluster(images: dict[str, str]) -> Iterator[Cluster]:
    cluster = Cluster("serving")
    installed = {name: image for name, image in images.items() if name != "test-engine"}
    try:
        cluster.up(nodes=2)
        helm_install(cluster, installed, "--set", "gateway.replicas=2")
        yield cluster
    finally:
        cluster.down()


@pytest.fixture(scope="package")
def kube(cluster: Cluster) -> Kube:
    return Kube(cluster.kubeconfig)


@pytest.fixture(scope="package")
def url(kube: Kube) -> str:
    """Where clients reach the gateways' Service."""
    return gateway_url(kube)


def _put_model(kube: Kube, namespace: str) -> None:
    """A model's folder in the embedded store; test-engine only looks whether it is there."""
    keys = kube.get("Secret", namespace, "store-keys")
    service = kube.get("Service", NAMESPACE, "llmcloud-store")
    assert keys is not None
    assert service is not None
    secret = {name: b64decode(value).decode() for name, value in keys["data"].items()}
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{service['spec']['clusterIP']}:9000",
        region_name="us-east-1",
        aws_access_key_id=secret["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=secret["AWS_SECRET_ACCESS_KEY"],
    )
    client.put_object(Bucket="serving", Key=MODEL_PATH + "config.json", Body=b"{}")
    client.close()


@pytest.fixture(scope="package")
def deployed(cluster: Cluster, kube: Kube, images: dict[str, str]) -> Object:
    """The LLMDeployment, at zero. A replica loads for longer than the gateways' comments wait."""
    kube.namespace(NS)
    copy_keys(cluster, NS)
    keys: dict[str, Any] = {
        "endpoint": {"url": ENDPOINT},
        "credentials": {"secretRef": {"name": "store-keys"}},
    }
    kube.apply(store(NS, bucket="serving", **keys))
    wait_until(kube, Kind.OBJECT_STORE, NS, "work", "status", "True", 120)
    _put_model(kube, NS)
    manifest = deployment(
        NS,
        NAME,
        model={"store": {"name": "work", "path": MODEL_PATH}},
        engine={
            "name": "custom",
            "image": images["test-engine"],
            "args": ["-load=5500ms", "-first-token=80ms", "-token=80ms"],
        },
        resources={"cpu": "50m", "memory": "64Mi", "ephemeralStorage": "64Mi"},
        hold={"maxRequests": 10000, "deadlineSeconds": 120},
    )
    scaling = {
        "minReplicas": 0,
        "maxReplicas": 5,
        "target": {"inFlight": SLOTS},
        "scaleDownDelaySeconds": 10,
        "scaleToZeroAfterSeconds": 10,
        "drainSeconds": 60,
    }
    kube.apply(changed(manifest, "scaling", scaling))
    wait_until(kube, Kind.DEPLOYMENT, NS, NAME, "reason", "ScaledToZero", 60)
    return manifest


@pytest.fixture(scope="package")
def load(deployed: Object, url: str) -> Iterator[Load]:
    """At rate 0 until a test sets another; requests go on from test to test."""
    with Load(url, NAME, tokens=TOKENS, seed=SEED) as load:
        yield load


@dataclass
class Replicas:
    """What a deployment wanted over time: `wanted` gets every change."""

    kube: Kube
    wanted: list[int] = field(default_factory=list)
    ended: Event = field(default_factory=Event)

    def status(self) -> Object:
        return status_of(self.kube.get(Kind.DEPLOYMENT, NS, NAME))

    def watch(self) -> None:
        kube = self.kube
        while not self.ended.wait(0.25):
            wanted = status_of(kube.get(Kind.DEPLOYMENT, NS, NAME)).get("desiredReplicas", 0)
            if self.wanted[-1:] != [wanted]:
                self.wanted.append(wanted)

    def ready(self) -> list[Object]:
        """The pods that are Ready and stay."""
        return ready_pods(self.kube, NS, ENGINES)

    def wait(self, number: int, seconds: float) -> None:
        """Wait until so many are wanted, and as many are there and ready."""
        wait_for(
            f"{number} replicas",
            self.status,
            lambda s: (
                s.get("desiredReplicas") == s.get("replicas") == s.get("readyReplicas") == number
            ),
            seconds,
        )


@pytest.fixture(scope="package")
def replicas(deployed: Object, cluster: Cluster) -> Iterator[Replicas]:
    watched = Replicas(Kube(cluster.kubeconfig))
    thread = Thread(target=watched.watch)
    thread.start()
    yield Replicas(Kube(cluster.kubeconfig), watched.wanted)
    watched.ended.set()
    thread.join()
