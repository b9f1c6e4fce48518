"""Provisioning and removing buckets: what each server can give, and what is never touched."""

from pathlib import Path
from uuid import uuid4

import pytest

from llmcloud.api.contract import DeleteStoreTask, ProvisionTask, StoreLocation
from llmcloud.api.names import LABEL_OWNER_UID
from llmcloud.cloud.base import open_store
from llmcloud.cloud.errors import BucketNotFound, BucketNotOwned, CredentialsRefused
from llmcloud.cloud.provision import owner_of, provision
from llmcloud.cloud.remove import remove
from llmcloud.cloud.s3 import S3Store
from tests.contract.servers import Server, write_keys

PROTECTIONS = {
    "versitygw": {"encrypted": None, "versioned": True, "private": None},
    "moto": {"encrypted": True, "versioned": True, "private": True},
}


@pytest.fixture
def fresh(server: Server) -> StoreLocation:
    """A bucket that does not exist yet."""
    return server.location(f"bucket-{uuid4().hex[:12]}", prefix="team/")


def create(location: StoreLocation, owner: str = "uid-a") -> ProvisionTask:
    return ProvisionTask(store=location, create=True, owner_uid=owner)


def test_a_created_bucket_has_the_protections_of_its_server_and_no_probe_left(
    server: Server, fresh: StoreLocation
) -> None:
    outcome = provision(create(fresh))
    assert outcome.succeeded
    assert outcome.provision is not None
    assert outcome.provision.created
    assert outcome.provision.url == f"s3://{fresh.bucket}/team/"
    assert outcome.provision.protections == PROTECTIONS[server.name]
    client = S3Store(fresh).client
    assert owner_of(client, fresh) == "uid-a"
    versions = client.list_object_versions(Bucket=fresh.bucket)
    assert not versions.get("Versions")
    assert not versions.get("DeleteMarkers")


def test_provisioning_again_changes_nothing_and_sets_again_what_was_lost(
    fresh: StoreLocation,
) -> None:
    provision(create(fresh))
    client = S3Store(fresh).client
    client.put_bucket_versioning(
        Bucket=fresh.bucket, VersioningConfiguration={"Status": "Suspended"}
    )
    outcome = provision(create(fresh))
    assert outcome.provision is not None
    assert outcome.provision.created
    assert outcome.provision.protections["versioned"] is True


def test_an_adopted_bucket_is_used_as_it_is(fresh: StoreLocation) -> None:
    client = S3Store(fresh).client
    client.create_bucket(Bucket=fresh.bucket)
    outcome = provision(create(fresh))
    assert outcome.provision is not None
    assert not outcome.provision.created
    assert outcome.provision.protections["versioned"] is False
    assert owner_of(client, fresh) is None
    assert list(open_store(fresh).list("")) == []


def test_a_missing_bucket_is_not_created_unasked(fresh: StoreLocation) -> None:
    with pytest.raises(BucketNotFound, match=r"spec.create: true"):
        provision(ProvisionTask(store=fresh, create=False, owner_uid="uid-a"))


def test_a_wrong_key_is_no_missing_bucket(versitygw: Server, tmp_path: Path) -> None:
    location = versitygw.location("bucket-of-keys").model_copy(
        update={"credentials_path": str(write_keys(tmp_path / "keys", "somebody", "wrong"))}
    )
    for task in (create(location), ProvisionTask(store=location, create=False, owner_uid="uid")):
        with pytest.raises(CredentialsRefused):
            provision(task)


def test_a_bucket_of_ours_is_removed_with_all_versions(fresh: StoreLocation) -> None:
    provision(create(fresh))
    store = open_store(fresh)
    store.put("a", b"1")
    store.put("a", b"2")
    store.put("b", b"1")
    store.delete("b")
    task = DeleteStoreTask(store=fresh, owner_uid="uid-a")
    assert "Removed bucket" in remove(task).message
    with pytest.raises(BucketNotFound):
        store.get("a")
    assert "is gone" in remove(task).message


@pytest.mark.parametrize("tags", [[], [{"Key": LABEL_OWNER_UID, "Value": "uid-of-another"}]])
def test_a_bucket_of_somebody_else_is_kept(
    fresh: StoreLocation, tags: list[dict[str, str]]
) -> None:
    client = S3Store(fresh).client
    client.create_bucket(Bucket=fresh.bucket)
    if tags:
        client.put_bucket_tagging(Bucket=fresh.bucket, Tagging={"TagSet": tags})
    open_store(fresh).put("theirs", b"x")
    with pytest.raises(BucketNotOwned, match="is kept"):
        remove(DeleteStoreTask(store=fresh, owner_uid="uid-a"))
    assert open_store(fresh).get("theirs") == b"x"
