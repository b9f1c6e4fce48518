"""How the objects of all sources are cut into parts, whoever reads them."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud.base import ObjectInfo, open_store
from llmcloud.cloud.errors import ObjectChanged
from llmcloud_data.parts import (
    PART_OBJECTS,
    Listing,
    as_listed,
    listing_of,
    part_name,
    parts_of,
)
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
    assert parts
    for part in parts:
        assert sum(item.info.bytes for item in part[:-1]) < part_bytes
    for part in parts[:-1]:
        counted = [max(item.info.bytes, -(-part_bytes // PART_OBJECTS)) for item in part]
        assert sum(counted) >= part_bytes / 2


def test_a_part_holds_so_many_objects_at_most() -> None:
    parts = parts_of(objects([0] * 5 * PART_OBJECTS))
    assert PART_OBJECTS / 2 <= max(map(len, parts)) <= PART_OBJECTS


@pytest.mark.parametrize("size", [None, 1, 500])
def test_parts_far_from_what_changed_are_the_same(size: int | None) -> None:
    """Of 400 objects, about eight a part, one is gone or has another size."""
    before = objects(random.Random(2026).choices(range(1, 50), k=400))
    names = {part_name(part, "sha256:1") for part in parts_of(before, 250)}
    for place in range(50, 300, 50):
        after = list(before)
        if size is None:
            del after[place]
        else:
            after[place] = replace(before[place], info=ObjectInfo(f"{place:05d}", size, "other"))
        parts = parts_of(after, 250)
        again = sum(len(part) for part in parts if part_name(part, "sha256:1") not in names)
        assert 0 < again <= 100


def test_what_is_read_of_a_part_has_the_name_of_all_that_it_depends_on() -> None:
    part = objects([1, 2])
    names = {
        part_name(part, "sha256:1"),
        part_name(objects([1, 2]), "sha256:1"),
        part_name(part, "sha256:2"),
        part_name(part[:1], "sha256:1"),
        part_name(objects([1, 2], "other"), "sha256:1"),
        part_name(objects([1, 3]), "sha256:1"),
    }
    assert len(names) == 5


def test_a_worker_that_comes_later_reads_what_was_listed_first() -> None:
    first, later = listing_of(objects([1, 2], "old")), objects([1, 3, 4], "new")
    found = as_listed(later, Listing.model_validate_json(first.model_dump_json(by_alias=True)))
    assert [item.info for item in found] == [item.info for item in objects([1, 2], "old")]
    with pytest.raises(ObjectChanged, match="00001 when this attempt began, and has it no more"):
        as_listed(objects([1]), first)
