"""How the objects of all sources are cut into parts, whoever reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud.base import ObjectInfo, open_store
from llmcloud.cloud.errors import ObjectChanged
from llmcloud_data.parts import PART_OBJECTS, Listing, as_listed, listing_of, parts_of
from llmcloud_data.sources import SourceObject

STORE = open_store(StoreLocation(name="raw", provider="aws", bucket="raw", region="eu-west-1"))


def objects(sizes: list[int], etag: str = "e") -> list[SourceObject]:
    return [
        SourceObject("raw", STORE, ObjectInfo(f"{number:05d}", size, etag), "text", ("text",))
        for number, size in enumerate(sizes)
    ]


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 100))
def test_parts_hold_all_objects_in_order_and_end_when_they_are_full(
    sizes: list[int], part_bytes: int
) -> None:
    parts = parts_of(objects(sizes), part_bytes)
    assert [item for part in parts for item in part] == objects(sizes)
    for part in parts[:-1]:
        held = [item.info.bytes for item in part]
        assert sum(held) >= part_bytes > sum(held[:-1])
    assert parts


def test_a_part_holds_so_many_objects_at_most() -> None:
    assert [len(part) for part in parts_of(objects([0] * (PART_OBJECTS + 1)))] == [PART_OBJECTS, 1]


def test_a_worker_that_comes_later_reads_what_was_listed_first() -> None:
    first, later = listing_of(objects([1, 2], "old")), objects([1, 3, 4], "new")
    found = as_listed(later, Listing.model_validate_json(first.model_dump_json(by_alias=True)))
    assert [item.info for item in found] == [item.info for item in objects([1, 2], "old")]
    with pytest.raises(ObjectChanged, match="00001 when this attempt began, and has it no more"):
        as_listed(objects([1]), first)
