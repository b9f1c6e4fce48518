"""Provisioning and removing buckets: what each server can give, and what is never touched."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from llmcloud.api.contract import DeleteStoreTask, ProvisionTask, StoreLocation
from llmcloud.cloud.base import open_store
from llmcloud.cloud.bucket import open_bucket
from llmcloud.cloud.errors import BucketNotFound, BucketNotOwned, CredentialsRefused
from llmcloud.cloud.lifecycle import S3_IDS
from llmcloud.cloud.provision import provision
from llmcloud.cloud.remove import remove
from llmcloud.cloud.s3_client import s3_client
from tests.contract.by_hand import create_bucket, weaken
from tests.contract.proxy import Fault, Request, behind
from tests.contract.servers import Server

NAMES = ("encrypted", "versioned", "private", "uploadsExpire", "owned")
PROTECTIONS: dict[str, dict[str, bool | None]] = {
    name: dict(zip(NAMES, held, strict=True))
    for name, held in {
        "versitygw": (None, True, None, None, True),
        "moto": (True, True, True, True, True),
        "fake-gcs-server": (None, True, False, None, False),
        "azurite": (True, False, True, None, True),
    }.items()
}


@pytest.fixture
def fresh(server: Server) -> StoreLocation:
    """A bucket that does not exist yet."""
    return server.location(f"bucket-{uuid4().hex[:12]}", prefix="team/")


@pytest.fixture
def marked(marking: Server) -> StoreLocation:
    """One on a server that keeps marks."""
    return marking.location(f"bucket-{uuid4().hex[:12]}", prefix="team/")


def create(location: StoreLocation, owner: str = "uid-a") -> ProvisionTask:
    return ProvisionTask(store=location, create=True, owner_uid=owner)


def test_a_created_bucket_has_the_protections_of_its_server_and_no_probe_left(
    server: Server, fresh: StoreLocation
) -> None:
    outcome = provision(create(fresh))
    assert outcome.succeeded
    assert outcome.provision is not None
    assert outcome.provision.url == fresh.url()
    assert outcome.provision.protections == PROTECTIONS[server.name]
    assert list(open_bucket(fresh).versions()) == []


def test_a_created_bucket_carries_its_owners_mark(marked: StoreLocation) -> None:
    provision(create(marked))
    assert open_bucket(marked).owner() == "uid-a"


def test_a_bucket_of_s3_is_marked_by_the_request_that_creates_it(
    running: Callable[[str], Server],
) -> None:
    """So that no crash lies between: what carries no mark is never ours again."""
    location = running("versitygw").location(f"bucket-{uuid4().hex[:12]}")
    with behind(location) as (proxied, proxy):
        open_bucket(proxied).create("uid-a")
    assert not any("tagging" in r.target for r in proxy.requests if r.method == "PUT")
    assert open_bucket(location).owner() == "uid-a"


def test_provisioning_again_changes_nothing_and_sets_again_what_was_lost(
    marked: StoreLocation,
) -> None:
    provision(create(marked))
    lost = weaken(marked)
    adopted = provision(create(marked, owner="uid-b"))
    assert adopted.provision is not None
    assert adopted.provision.protections["owned"] is False
    assert adopted.provision.protections[lost] is False
    outcome = provision(create(marked))
    assert outcome.provision is not None
    assert outcome.provision.protections["owned"] is True
    assert outcome.provision.protections[lost] is True


def test_a_protection_that_was_lost_is_set_again(fresh: StoreLocation) -> None:
    provision(create(fresh))
    store, bucket = open_store(fresh), open_bucket(fresh)
    store.put("probe", b"")
    lost = weaken(fresh)
    assert bucket.protections("probe")[lost] is False
    bucket.protect()
    assert bucket.protections("probe")[lost] is True


def test_what_others_set_on_a_bucket_of_ours_stays(running: Callable[[str], Server]) -> None:
    """On the server that keeps encryption and lifecycle."""
    location = running("moto").location(f"bucket-{uuid4().hex[:12]}")
    provision(create(location))
    client, bucket = s3_client(location), {"Bucket": location.bucket}
    rules = client.get_bucket_lifecycle_configuration(**bucket)["Rules"]
    assert {rule["ID"] for rule in rules} == S3_IDS
    theirs = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}}
    theirs |= {"Expiration": {"Days": 3}}
    client.put_bucket_lifecycle_configuration(
        **bucket, LifecycleConfiguration={"Rules": [theirs, *rules[:1]]}
    )
    sse = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "their-key"}
    encryption = {"Rules": [{"ApplyServerSideEncryptionByDefault": sse}]}
    client.put_bucket_encryption(**bucket, ServerSideEncryptionConfiguration=encryption)
    provision(create(location))
    kept = client.get_bucket_lifecycle_configuration(**bucket)["Rules"]
    assert {rule["ID"] for rule in kept} == {"theirs", *S3_IDS}
    kept_encryption = client.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]
    assert kept_encryption["Rules"][0]["ApplyServerSideEncryptionByDefault"] == sse


def test_a_healthy_bucket_is_not_written_to(running: Callable[[str], Server]) -> None:
    location = running("moto").location(f"bucket-{uuid4().hex[:12]}")
    open_bucket(location).create("uid-a")
    open_bucket(location).protect()
    with behind(location) as (proxied, proxy):
        open_bucket(proxied).protect()
        assert {request.method for request in proxy.requests} == {"GET"}


@pytest.mark.parametrize(("name", "region"), [("moto", "eu-west-1"), ("versitygw", "us-east-1")])
def test_a_bucket_whose_creation_was_not_answered_is_ours(
    running: Callable[[str], Server], name: str, region: str
) -> None:
    server = running(name)
    location = server.location(f"bucket-{uuid4().hex[:12]}").model_copy(update={"region": region})
    with behind(location) as (proxied, proxy):
        proxy.judge = lambda _: Fault.RESET if len(proxy.requests) == 1 else None
        open_bucket(proxied).create("uid-a")
        assert [request.method for request in proxy.requests[:2]] == ["PUT", "PUT"]
    assert open_bucket(location).owner() == "uid-a"


@pytest.mark.parametrize("name", ["moto", "versitygw"])
def test_a_bucket_that_cannot_be_marked_is_not_left(
    running: Callable[[str], Server], name: str
) -> None:
    location = running(name).location(f"bucket-{uuid4().hex[:12]}")

    def refuse_tags(request: Request) -> Fault | None:
        tags = "tagging" in request.target or b"<Tags>" in request.body
        return Fault.EXPIRED if request.method == "PUT" and tags else None

    with behind(location) as (proxied, proxy):
        proxy.judge = refuse_tags
        with pytest.raises(CredentialsRefused):
            provision(create(proxied))
    assert not open_bucket(location).exists()
    provision(create(location))
    assert open_bucket(location).owner() == "uid-a"


@pytest.mark.parametrize("name", ["moto", "versitygw"])
def test_a_bucket_of_our_account_that_came_before_is_not_taken_over(
    running: Callable[[str], Server], name: str
) -> None:
    location = running(name).location(f"bucket-{uuid4().hex[:12]}")
    open_bucket(location).create("uid-b")
    with pytest.raises(BucketNotOwned, match="another owner"):
        open_bucket(location).create("uid-a")
    assert open_bucket(location).owner() == "uid-b"


def test_an_adopted_bucket_is_used_as_it_is(fresh: StoreLocation) -> None:
    create_bucket(fresh)
    outcome = provision(create(fresh))
    assert outcome.provision is not None
    assert outcome.provision.protections["owned"] is False
    assert outcome.provision.protections["versioned"] is False
    assert open_bucket(fresh).owner() is None
    assert list(open_store(fresh).list("")) == []


def test_an_adopted_bucket_is_written_to_once(server: Server, fresh: StoreLocation) -> None:
    create_bucket(fresh)
    task = ProvisionTask(store=fresh, create=False, owner_uid="uid-a")
    assert provision(task).succeeded
    with behind(fresh) as (proxied, proxy):
        again = task.model_copy(update={"store": proxied, "proven": True})
        outcome = provision(again)
        methods = {request.method for request in proxy.requests}
    assert outcome.provision is not None
    assert outcome.provision.writable
    assert methods <= {"GET", "HEAD"}


def test_keys_that_may_only_read_are_enough_for_a_bucket_that_is_there(
    strict: Server,
) -> None:
    location = strict.location(f"bucket-{uuid4().hex[:12]}")
    create_bucket(location)
    open_store(location).put("corpus", b"x")

    def read_only(request: Request) -> Fault | None:
        return None if request.method in ("GET", "HEAD") else Fault.EXPIRED

    with behind(location) as (proxied, proxy):
        proxy.judge = read_only
        outcome = provision(ProvisionTask(store=proxied, create=False, owner_uid="uid-a"))
        with pytest.raises(CredentialsRefused):
            provision(create(proxied))
    assert outcome.provision is not None
    assert not outcome.provision.writable
    assert [entry.path for entry in open_store(location).list("")] == ["corpus"]


def test_a_missing_bucket_is_not_created_unasked(fresh: StoreLocation) -> None:
    with pytest.raises(BucketNotFound, match=r"spec.create: true"):
        provision(ProvisionTask(store=fresh, create=False, owner_uid="uid-a"))


def test_a_wrong_key_is_no_missing_bucket(strict: Server, tmp_path: Path) -> None:
    location = strict.location_with(strict.write_keys(tmp_path / "keys", False), "bucket-of-keys")
    for task in (create(location), ProvisionTask(store=location, create=False, owner_uid="uid")):
        with pytest.raises(CredentialsRefused):
            provision(task)


def write_versions(location: StoreLocation) -> None:
    store = open_store(location)
    store.put("a", b"1")
    store.put("a", b"2")
    store.put("b", b"1")
    store.delete("b")


def test_a_bucket_of_ours_is_removed_with_all_versions(marked: StoreLocation) -> None:
    provision(create(marked))
    write_versions(marked)
    task = DeleteStoreTask(store=marked, owner_uid="uid-a")
    assert "Removed bucket" in remove(task).message
    with pytest.raises(BucketNotFound):
        open_store(marked).get("a")
    assert "is gone" in remove(task).message


def test_a_bucket_with_what_is_beside_the_prefix_is_kept(marked: StoreLocation) -> None:
    provision(create(marked))
    beside = open_store(marked.model_copy(update={"prefix": "another-team/"}))
    beside.put("theirs", b"x")
    open_store(marked).put("ours", b"x")
    task = DeleteStoreTask(store=marked, owner_uid="uid-a")
    with pytest.raises(BucketNotOwned, match=r"another-team/theirs lies outside of spec.prefix"):
        remove(task)
    assert beside.get("theirs") == b"x"
    assert open_store(marked).get("ours") == b"x"
    beside.delete("theirs")
    assert "Removed bucket" in remove(task).message


def test_what_goes_with_a_bucket_is_said_before(
    marked: StoreLocation, caplog: pytest.LogCaptureFixture
) -> None:
    provision(create(marked))
    write_versions(marked)
    caplog.set_level("INFO", "llmcloud")
    remove(DeleteStoreTask(store=marked, owner_uid="uid-a"))
    assert "with 1 objects of 1 bytes" in caplog.text
    assert "team/a" in caplog.text


def test_every_version_goes_with_its_bucket(server: Server, fresh: StoreLocation) -> None:
    provision(create(fresh))
    write_versions(fresh)
    versions = list(open_bucket(fresh).versions())
    assert (len(versions) > 1) is PROTECTIONS[server.name]["versioned"]
    assert open_bucket(fresh).delete() == len(versions)
    assert not open_bucket(fresh).exists()


@pytest.mark.parametrize("owner", [None, "uid-of-another"])
def test_a_bucket_of_somebody_else_is_kept(fresh: StoreLocation, owner: str | None) -> None:
    if owner:
        open_bucket(fresh).create(owner)
    else:
        create_bucket(fresh)
    open_store(fresh).put("theirs", b"x")
    with pytest.raises(BucketNotOwned, match="is kept"):
        remove(DeleteStoreTask(store=fresh, owner_uid="uid-a"))
    assert open_store(fresh).get("theirs") == b"x"
