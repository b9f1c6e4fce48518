"""Bounded parallel work."""

import threading

import pytest

from llmcloud.cloud.parallel import in_parallel


def test_results_keep_their_order() -> None:
    assert list(in_parallel(lambda n: n * n, range(100), workers=4)) == [n * n for n in range(100)]


def test_items_are_taken_only_a_little_ahead() -> None:
    items = iter(range(1000))
    results = in_parallel(lambda n: n, items, workers=4)
    assert next(results) == 0
    assert next(items) <= 8


def test_a_failure_cancels_what_has_not_begun() -> None:
    begun = threading.Semaphore(0)

    def work(number: int) -> int:
        begun.release()
        if number == 0:
            raise ValueError("the first fails")
        return number

    with pytest.raises(ValueError, match="the first fails"):
        list(in_parallel(work, range(1000), workers=2))
    count = 0
    while begun.acquire(blocking=False):
        count += 1
    assert count <= 10
