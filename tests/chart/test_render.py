"""What the chart installs, and what its values do."""

from pathlib import Path

import pytest
import yaml

from llmcloud.api.contract import (
    ENV_AUTHORITIES,
    GATEWAY_PORT,
    GATEWAY_REPORT_PORT,
    ROUTES_CONFIG_MAP,
)
from llmcloud.cluster.lease import LEASE_NAME
from llmcloud.cluster.sampler import GATEWAY_SELECTOR
from llmcloud.settings import Settings, load_settings
from tests.chart.chart import (
    AUTHORITY,
    CHART,
    EVERY_OPTION,
    NAMESPACE,
    Object,
    Values,
    find,
    helm,
    names,
    pod_specs,
    render,
)

CRDS = Path(__file__).resolve().parents[2] / "crds"
STORE: Values = {"embeddedStore": {"enabled": True}}


def settings_of(objects: list[Object], folder: Path, name: str = "llmcloud-operator") -> Settings:
    file = folder / "settings.yaml"
    file.write_text(find(objects, "ConfigMap", name)["data"]["settings.yaml"])
    return load_settings(file)


def test_helm_finds_nothing_to_complain_about() -> None:
    for values in ({}, EVERY_OPTION):
        report = helm("lint", "--strict", str(CHART), values=values)
        assert "0 chart(s) failed" in report


def test_the_defaults_install_an_operator_and_a_gateway() -> None:
    objects = render()
    assert names(objects, "Deployment") == {"llmcloud-operator", "llmcloud-gateway"}
    assert names(objects, "Service") == {"llmcloud-gateway"}
    assert names(objects, "Secret") == set()
    assert not {"Ingress", "PodDisruptionBudget"} & {o["kind"] for o in objects}


def test_another_release_name_is_part_of_every_name_but_the_claims() -> None:
    objects = render(STORE, release="prod")
    claims = {"llmcloud-operator", "llmcloud-operator-home"}
    others = {
        o["metadata"]["name"] for o in objects if o["kind"] != "CustomResourceDefinition"
    } - claims
    assert all(name.startswith("prod-llmcloud-") for name in others)


def test_objects_name_their_namespace_and_carry_the_usual_labels() -> None:
    for o in render(EVERY_OPTION):
        if o["kind"] == "CustomResourceDefinition":
            continue
        labels = o["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "llmcloud"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        if not o["kind"].startswith("ClusterRole"):
            assert o["metadata"]["namespace"] == NAMESPACE


def test_definitions_equal_the_generated_ones_and_outlive_the_release() -> None:
    rendered = {
        o["metadata"]["name"]: o for o in render() if o["kind"] == "CustomResourceDefinition"
    }
    generated = {file.stem: yaml.safe_load(file.read_text()) for file in CRDS.glob("*.yaml")}
    assert rendered.keys() == generated.keys()
    for name, definition in rendered.items():
        annotations = definition["metadata"].pop("annotations")
        assert annotations == {"helm.sh/resource-policy": "keep"}
        assert definition == generated[name]
    for file in CRDS.glob("*.yaml"):
        assert (CHART / "crd-files" / file.name).read_bytes() == file.read_bytes()


def test_definitions_can_be_left_to_others() -> None:
    assert names(render({"crds": {"install": False}}), "CustomResourceDefinition") == set()


def test_default_settings_are_what_the_operator_reads(tmp_path: Path) -> None:
    settings = settings_of(render(), tmp_path)
    assert settings.images.operator == "llmcloud/operator:0.1.0"
    assert settings.images.vllm.startswith("vllm/vllm-openai:v")
    assert settings.namespace == NAMESPACE
    assert settings.watch_namespace is None
    assert settings.gateway_url == f"http://llmcloud-gateway.{NAMESPACE}"
    assert settings.env == {}


def test_every_option_reaches_the_settings(tmp_path: Path) -> None:
    settings = settings_of(render({**EVERY_OPTION, "watchNamespace": "team"}), tmp_path)
    assert settings.images.operator == "registry.example.com:5000/team/operator:v9"
    assert settings.images.data == "registry.example.com:5000/llmcloud/data:0.1.0"
    digest = f"sha256:{'ab' * 32}"
    assert settings.images.runtime == f"registry.example.com:5000/llmcloud/runtime@{digest}"
    assert settings.images.pull_policy == "Always"
    assert settings.images.pull_secrets == ["pull-one", "pull-two"]
    assert settings.watch_namespace == "team"
    assert settings.gateway_url == "https://llm.example.com"
    assert settings.tolerations == EVERY_OPTION["tolerations"]
    assert settings.env == {
        "HTTP_PROXY": "http://proxy:3128",
        "HTTPS_PROXY": "http://proxy:3128",
        "NO_PROXY": f".internal,llmcloud-store.{NAMESPACE}",
        "HF_ENDPOINT": "https://hub.example.com",
    }
    assert settings.authorities == AUTHORITY
    assert (settings.workers, settings.resync_seconds) == (3, 60)
    assert (settings.store_check_seconds, settings.log_level) == (30, "DEBUG")


def test_a_change_of_settings_restarts_the_operator() -> None:
    def checksum(values: Values) -> str:
        deployment = find(render(values), "Deployment", "llmcloud-operator")
        annotations = deployment["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["checksum/settings"])

    assert checksum({}) == checksum({"nodeSelector": {"a": "b"}})
    assert checksum({}) != checksum({"operator": {"workers": 2}})


def test_every_option_reaches_the_pods() -> None:
    for name, spec in pod_specs(render(EVERY_OPTION)).items():
        assert spec["imagePullSecrets"] == [{"name": "pull-one"}, {"name": "pull-two"}], name
        assert spec["tolerations"] == EVERY_OPTION["tolerations"]
        assert spec["nodeSelector"] == EVERY_OPTION["nodeSelector"]
        for container in spec["containers"]:
            assert container["image"].startswith("registry.example.com:5000/")
            assert container["imagePullPolicy"] == "Always"


def test_authorities_reach_the_gateway_where_its_environment_says() -> None:
    objects = render(EVERY_OPTION)
    spec = pod_specs(objects)["llmcloud-gateway"]
    (container,) = spec["containers"]
    env = {item["name"]: item.get("value") for item in container["env"]}
    (mount,) = [m for m in container["volumeMounts"] if m["name"] == "authorities"]
    assert env[ENV_AUTHORITIES] == f"{mount['mountPath']}/ca.crt"
    volume = {"name": "authorities", "configMap": {"name": "llmcloud-gateway-authorities"}}
    assert volume in spec["volumes"]
    config = find(objects, "ConfigMap", "llmcloud-gateway-authorities")
    assert config["data"] == {"ca.crt": AUTHORITY}


def test_a_change_of_the_authorities_restarts_gateways() -> None:
    def template(values: Values) -> Object:
        found: Object = find(render(values), "Deployment", "llmcloud-gateway")["spec"]["template"]
        return found

    assert "annotations" not in template({})["metadata"]
    assert template({"caBundle": AUTHORITY}) != template({"caBundle": AUTHORITY * 2})


def test_the_operator_finds_the_gateways_and_the_service_does_not_show_reports() -> None:
    objects = render()
    deployment = find(objects, "Deployment", "llmcloud-gateway")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selector = dict(part.split("=") for part in GATEWAY_SELECTOR.split(","))
    assert selector.items() <= labels.items()
    service = find(objects, "Service", "llmcloud-gateway")["spec"]
    assert service["selector"].items() <= labels.items()
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": GATEWAY_PORT, "report": GATEWAY_REPORT_PORT}
    assert [(p["port"], p["targetPort"]) for p in service["ports"]] == [(80, "http")]


def test_a_gateway_may_drain_before_it_is_killed() -> None:
    spec = pod_specs(render({"gateway": {"drainSeconds": 60}}))["llmcloud-gateway"]
    (container,) = spec["containers"]
    settle = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert "--drain-seconds=60" in container["args"]
    assert spec["terminationGracePeriodSeconds"] > 60 + settle


def test_several_gateways_get_a_disruption_budget() -> None:
    assert names(render({"gateway": {"replicas": 2}}), "PodDisruptionBudget") == {
        "llmcloud-gateway"
    }


def test_gateways_of_one_version_are_spread_over_nodes_but_start_anyway() -> None:
    deployment = find(render(), "Deployment", "llmcloud-gateway")["spec"]
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert spread == {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": deployment["selector"],
        "matchLabelKeys": ["pod-template-hash"],
    }


def test_an_ingress_leads_to_the_gateway() -> None:
    spec = find(render(EVERY_OPTION), "Ingress", "llmcloud-gateway")["spec"]
    (rule,) = spec["rules"]
    (path,) = rule["http"]["paths"]
    assert rule["host"] == "llm.example.com"
    assert path["backend"]["service"] == {"name": "llmcloud-gateway", "port": {"name": "http"}}
    assert spec["tls"] == [{"hosts": ["llm.example.com"], "secretName": "llm-tls"}]


@pytest.mark.parametrize(
    ("gateway", "url"),
    [
        ({"url": "https://a.example.com/"}, "https://a.example.com"),
        ({"ingress": {"enabled": True, "host": "b.example.com"}}, "http://b.example.com"),
    ],
    ids=["the URL that is given", "a plain Ingress"],
)
def test_the_gateway_url_is(gateway: Values, url: str, tmp_path: Path) -> None:
    assert settings_of(render({"gateway": gateway}), tmp_path).gateway_url == url


def test_roles_name_the_lease_and_the_routes_that_the_code_uses() -> None:
    home = find(render(), "Role", "llmcloud-operator-home")
    named = {name for rule in home["rules"] for name in rule.get("resourceNames", [])}
    assert named == {LEASE_NAME, ROUTES_CONFIG_MAP}
    gateway = find(render(), "Role", "llmcloud-gateway")
    assert [rule["resourceNames"] for rule in gateway["rules"]] == [[ROUTES_CONFIG_MAP]]
