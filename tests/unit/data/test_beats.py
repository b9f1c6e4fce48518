"""Signs of life, by what one look after another finds; seconds are those of the looks."""

from llmcloud.cloud.base import ObjectInfo
from llmcloud_data.beats import Signs

PATIENCE_SECONDS = 30


def beat(name: str, etag: str) -> ObjectInfo:
    return ObjectInfo(f"work/beats/{name}", 16, etag)


def signs() -> Signs:
    return Signs("work/beats/", 1, PATIENCE_SECONDS)


def test_a_unit_is_under_way_as_long_as_its_sign_changes() -> None:
    seen = signs()
    for look in range(10):
        seen.look([beat("0/merge", f"etag-{look}")], look * 20)
        assert seen.under_way(look * 20) == {"merge"}


def test_a_sign_that_changes_no_more_is_what_a_dead_worker_left() -> None:
    seen = signs()
    for now in (0, 10, 29):
        seen.look([beat("0/merge", "same")], now)
        assert seen.under_way(now) == {"merge"}
    seen.look([beat("0/merge", "same")], 30)
    assert seen.under_way(30) == set()


def test_another_workers_sign_of_the_same_unit_counts_by_itself() -> None:
    seen = signs()
    seen.look([beat("0/merge", "dead")], 0)
    seen.look([beat("0/merge", "dead"), beat("2/merge", "new")], 20)
    assert seen.under_way(40) == {"merge"}


def test_what_this_worker_left_before_it_began_anew_is_no_sign() -> None:
    seen = signs()
    seen.look([beat("1/merge", "own")], 0)
    assert seen.under_way(0) == set()
    assert seen.path("merge") == "work/beats/1/merge"
