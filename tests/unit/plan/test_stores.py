"""How a pod reaches a store, and when it can."""

import pytest

from llmcloud.api.contract import CA_PATH, CREDENTIALS_PATH
from llmcloud.api.names import Kind, Reason
from llmcloud.api.objectstore import ObjectStoreSpec
from llmcloud.plan.model import Owner
from llmcloud.plan.stores import Missing, StoreAccess, store_access, usable_store
from tests.support.worlds import STORE_SPEC, condition, make_owner, ready_store

POOL = "projects/1/locations/global/workloadIdentityPools/p"
UUID = "1111111-1111-1111-1111-111111111111"
ENDPOINT = {"url": "https://minio:9000", "caConfigMapRef": {"name": "roots"}}


def access(**spec: object) -> StoreAccess:
    return store_access("work", ObjectStoreSpec.model_validate({**STORE_SPEC, **spec}))


def test_without_credentials_the_pods_own_identity_is_used() -> None:
    bare = access()
    assert (bare.volumes, bare.mounts, bare.location.credentials_path) == ((), (), None)


def test_keys_are_mounted_and_never_read() -> None:
    keyed = access(credentials={"secretRef": {"name": "keys"}})
    path = f"{CREDENTIALS_PATH}/work"
    assert keyed.location.credentials_path == path
    assert keyed.mounts == ({"name": "keys-work", "mountPath": path, "readOnly": True},)
    assert keyed.volumes[0]["secret"] == {"secretName": "keys", "defaultMode": 0o440}


FEDERATED = [
    pytest.param("aws", {"roleArn": "arn:aws:iam::123456789012:role/data"}, "sts.amazonaws.com"),
    pytest.param(
        "gcp",
        {
            "workloadIdentityProvider": f"{POOL}/providers/k",
            "serviceAccount": "data@team-a.iam.gserviceaccount.com",
        },
        f"https://iam.googleapis.com/{POOL}/providers/k",
    ),
    pytest.param(
        "azure", {"tenantId": f"1{UUID}", "clientId": f"2{UUID}"}, "api://AzureADTokenExchange"
    ),
]


@pytest.mark.parametrize(("provider", "identity", "audience"), FEDERATED)
def test_federated_credentials_are_a_token_for_their_cloud(
    provider: str, identity: dict[str, str], audience: str
) -> None:
    federated = access(provider=provider, credentials={provider: identity})
    (volume,) = federated.volumes
    token = {"audience": audience, "expirationSeconds": 3600, "path": "token"}
    assert volume["projected"]["sources"] == [{"serviceAccountToken": token}]
    assert federated.mounts[0]["mountPath"] == f"{CREDENTIALS_PATH}/work"
    assert federated.location.federation is not None
    assert federated.location.federation.token_file == f"{CREDENTIALS_PATH}/work/token"
    assert federated.location.wire()["federation"][provider] == identity
    assert federated.location.credentials_path is None


def test_certificates_are_mounted_beside() -> None:
    signed = access(endpoint=ENDPOINT)
    assert signed.location.ca_file == f"{CA_PATH}/work/ca.crt"
    assert signed.location.endpoint_url == "https://minio:9000"
    assert signed.volumes == ({"name": "ca-work", "configMap": {"name": "roots"}},)


def test_a_url_is_bucket_prefix_and_path() -> None:
    assert access(prefix="corpus/").location.url("a/b/") == "s3://team-a/corpus/a/b/"


@pytest.mark.parametrize(
    ("store", "reason", "words"),
    [
        pytest.param(None, Reason.STORE_NOT_FOUND, "create it", id="it does not exist"),
        pytest.param(
            make_owner(Kind.OBJECT_STORE, "work"), Reason.STORE_NOT_READY,
            "it is being provisioned", id="nobody has looked at it",
        ),
        pytest.param(
            make_owner(
                Kind.OBJECT_STORE, "work",
                status={"conditions": [condition("Ready", "False", "X", "No bucket: make it")]},
            ),
            Reason.STORE_NOT_READY, "No bucket: make it", id="it says itself what is wrong",
        ),
        pytest.param(
            make_owner(
                Kind.OBJECT_STORE, "work", generation=2,
                status={"conditions": [condition("Ready", "True")]},
            ),
            Reason.STORE_NOT_READY, "not ready", id="it was ready before it was changed",
        ),
        pytest.param(
            make_owner(Kind.OBJECT_STORE, "work", spec={"provider": "other"}),
            Reason.STORE_NOT_READY, "spec.provider", id="it is not valid",
        ),
    ],
)  # fmt: skip
def test_a_store_cannot_be_used_because(store: Owner | None, reason: Reason, words: str) -> None:
    missing = usable_store("work", store)
    assert isinstance(missing, Missing)
    assert missing.reason is reason
    assert "work" in missing.message
    assert words in missing.message


def test_a_ready_store_can_be_used() -> None:
    assert isinstance(usable_store("work", ready_store()), StoreAccess)
