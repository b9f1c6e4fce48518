"""Wrong values are refused, and the refusal names the field."""

import pytest

from tests.chart.chart import Values, refusal


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"gatway": {}}, ["gatway"]),
        ({"gateway": {"replica": 2}}, ["gateway", "replica"]),
        ({"gateway": {"replicas": 0}}, ["gateway", "replicas"]),
        ({"gateway": {"replicas": "two"}}, ["gateway", "replicas", "integer"]),
        ({"gateway": {"url": "llm.example.com"}}, ["gateway", "url"]),
        ({"gateway": {"service": {"type": "ExternalName"}}}, ["service", "type", "ClusterIP"]),
        ({"gateway": {"ingress": {"enabled": True}}}, ["gateway.ingress.host"]),
        ({"images": {"operator": {"digest": "sha256:short"}}}, ["operator", "digest"]),
        ({"images": {"registry": "https://"}}, ["registry"]),
        ({"images": {"registry": "registry.example.com "}}, ["registry"]),
        ({"images": {"pullPolicy": "Sometimes"}}, ["pullPolicy", "IfNotPresent"]),
        ({"imagePullSecrets": [{"name": "pull"}]}, ["imagePullSecrets", "string"]),
        ({"operator": {"workers": 65}}, ["workers", "64"]),
        ({"operator": {"logLevel": "verbose"}}, ["logLevel", "DEBUG"]),
        ({"watchNamespace": "Team A"}, ["watchNamespace"]),
        ({"embeddedStore": {"size": "20 GB"}}, ["embeddedStore", "size"]),
        ({"tolerations": [{"effect": "Evict"}]}, ["tolerations", "effect", "NoExecute"]),
        ({"proxy": {"https": "proxy:3128"}}, ["proxy", "https"]),
        ({"caBundle": "/etc/ca.pem"}, ["caBundle"]),
        ({"caBundle": {"configMap": "roots"}}, ["caBundle", "string"]),
        (
            {"caBundle": "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----"},
            ["caBundle", "certificates alone"],
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else "-".join(value),
)
def test_helm_refuses(values: Values, words: list[str]) -> None:
    said = refusal(values)
    assert all(word in said for word in words), said
