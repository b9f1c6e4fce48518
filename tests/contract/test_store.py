"""The `Store` protocol, on every server."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmcloud.api.contract import Retry, StoreLocation
from llmcloud.api.names import Reason
from llmcloud.cloud.base import CHUNK_BYTES, Store, open_store
from llmcloud.cloud.errors import (
    AlreadyExists,
    BucketNotFound,
    CredentialsMissing,
    CredentialsRefused,
    ObjectChanged,
    ObjectNotFound,
    StoreError,
    StoreUnreachable,
)
from tests.contract.by_hand import begin_upload, unfinished_uploads
from tests.contract.conftest import MANY
from tests.contract.servers import WRONG_KEY, Server, free_port, write_keys


def test_an_object_reads_as_it_was_written(store: Store) -> None:
    store.put("a/one.txt", b"one")
    store.put("a/one.txt", b"one again")
    assert store.get("a/one.txt") == b"one again"
    head = store.head("a/one.txt")
    assert head is not None
    assert (head.path, head.bytes) == ("a/one.txt", 9)
    assert store.url("a/one.txt").endswith("/team/a/one.txt")


def test_an_empty_object_reads_empty(store: Store) -> None:
    store.put("empty", b"")
    assert store.get("empty") == b""


def test_a_missing_object_is_not_found(store: Store) -> None:
    assert store.head("nothing") is None
    with pytest.raises(ObjectNotFound, match="nothing"):
        store.get("nothing")
    store.delete("nothing")


def test_a_deleted_object_is_gone(store: Store) -> None:
    store.put("gone", b"x")
    store.delete("gone")
    assert store.head("gone") is None
    assert [entry.path for entry in store.list("")] == []


def test_a_listing_has_all_pages_in_order_below_the_prefix(many: StoreLocation) -> None:
    assert [entry.path for entry in open_store(many).list("many/")] == MANY


def test_a_large_file_goes_in_parts_and_comes_back_in_bounded_chunks(
    store: Store, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    block = hashlib.sha256(b"llmcloud").digest() * (CHUNK_BYTES // 32)
    source.write_bytes(block * 40)
    store.put("large", source)
    found = store.get_file("large", target)
    assert found == hashlib.sha256(source.read_bytes()).hexdigest()
    assert max(len(chunk) for chunk in store.open("large")) <= CHUNK_BYTES


def test_an_object_that_changed_since_it_was_listed_is_refused(store: Store) -> None:
    store.put("moving", b"before")
    (listed,) = store.list("moving")
    store.put("moving", b"after")
    with pytest.raises(ObjectChanged) as caught:
        b"".join(store.open("moving", etag=listed.etag))
    assert (caught.value.reason, caught.value.retry) == (Reason.SOURCE_CHANGED, Retry.ENVIRONMENT)
    store.delete("moving")
    with pytest.raises(ObjectChanged):
        b"".join(store.open("moving", etag=listed.etag))


def test_abandoned_uploads_are_gone_and_objects_stay(store: Store) -> None:
    store.put("up/there", b"there")
    for path in ("up/begun", "up/there", "up/x/begun", "begun"):
        begin_upload(store.location, path)
    store.abandon_uploads("up/")
    store.abandon_uploads("up/")
    assert not unfinished_uploads(store.location, "up/")
    assert unfinished_uploads(store.location, "begun") != set()
    assert [info.path for info in store.list("up/")] == ["up/there"]
    assert store.get("up/there") == b"there"


def test_a_conditional_create_is_refused_the_second_time(store: Store) -> None:
    store.put("once", b"first", if_absent=True)
    with pytest.raises(AlreadyExists, match="once"):
        store.put("once", b"second", if_absent=True)
    assert store.get("once") == b"first"


def test_a_name_whose_object_was_removed_is_free_again(store: Store) -> None:
    store.put("again", b"first", if_absent=True)
    store.delete("again")
    store.put("again", b"second", if_absent=True)
    assert store.get("again") == b"second"
    with pytest.raises(AlreadyExists, match="again"):
        store.put("again", b"third", if_absent=True)


def test_of_racing_conditional_creates_exactly_one_wins(store: Store) -> None:
    def create(race: str, writer: int) -> int | None:
        try:
            store.put(race, f"writer {writer}".encode(), if_absent=True)
        except AlreadyExists:
            return None
        return writer

    with ThreadPoolExecutor(8) as executor:
        for race in ("race/0", "race/1", "race/2"):
            results = list(executor.map(create, [race] * 8, range(8)))
            (winner,) = [result for result in results if result is not None]
            assert store.get(race) == f"writer {winner}".encode()


def test_a_missing_bucket_names_it_and_the_remedy(server: Server) -> None:
    store = open_store(server.location("no-such-bucket"))
    for call in (lambda: list(store.list("")), lambda: store.put("a", b""), lambda: store.get("a")):
        with pytest.raises(BucketNotFound, match=r"no-such-bucket.*spec.bucket"):
            call()


def test_a_wrong_key_is_refused_without_being_told(strict: Server, tmp_path: Path) -> None:
    location = strict.location_with(strict.write_keys(tmp_path / "keys", False), "bucket-of-keys")
    with pytest.raises(CredentialsRefused, match=r"spec.credentials.secretRef") as caught:
        list(open_store(location).list(""))
    assert WRONG_KEY not in str(caught.value)


def test_an_unknown_access_key_is_refused(versitygw: Server, tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys", "somebody-else")
    with pytest.raises(CredentialsRefused):
        list(open_store(versitygw.location_with(keys, "bucket-of-keys")).list(""))


def test_rotated_keys_are_read_again(strict: Server, tmp_path: Path) -> None:
    keys = strict.write_keys(tmp_path / "keys", False)
    store = open_store(strict.location_with(keys, "no-such-bucket"))
    with pytest.raises(CredentialsRefused):
        store.get("a")
    strict.write_keys(keys, True)
    with pytest.raises(BucketNotFound):
        store.get("a")


KEYS = {"aws": "AWS_ACCESS_KEY_ID", "gcp": "key.json", "azure": "AZURE_STORAGE_KEY"}


def test_missing_keys_name_the_key(strict: Server, tmp_path: Path) -> None:
    with pytest.raises(CredentialsMissing, match=KEYS[strict.provider]):
        open_store(strict.location_with(tmp_path, "bucket")).get("a")


@pytest.mark.parametrize("host", ["127.0.0.1", "store.invalid"])
def test_an_unreachable_endpoint_names_itself(strict: Server, host: str) -> None:
    url = f"http://{host}:{free_port()}"
    location = strict.location("bucket").model_copy(update={"endpoint_url": url})
    with pytest.raises(StoreUnreachable, match=url) as caught:
        open_store(location).get("a")
    assert isinstance(caught.value, StoreError)
    assert caught.value.retry is Retry.ENVIRONMENT
