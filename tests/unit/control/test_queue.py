"""The queue: each key once, never twice at a time, failures later and later."""

import asyncio
import time

import pytest

from llmcloud.control.queue import BACKOFF_MOST_SECONDS, DEBOUNCE_SECONDS, Key, WorkQueue

A, B = Key("K", "ns", "a"), Key("K", "ns", "b")


async def take(queue: WorkQueue, seconds: float = 2.0) -> Key:
    return await asyncio.wait_for(queue.take(), seconds)


async def nothing(queue: WorkQueue, seconds: float = 0.15) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await take(queue, seconds)


async def test_many_wakes_are_one_look() -> None:
    queue = WorkQueue()
    for _ in range(100):
        queue.wake(A)
    assert queue.depth == 1
    assert await take(queue) == A
    queue.done(A)
    await nothing(queue)


async def test_a_wake_is_debounced() -> None:
    queue = WorkQueue()
    started = time.monotonic()
    queue.wake(A)
    await take(queue)
    assert time.monotonic() - started >= DEBOUNCE_SECONDS


async def test_the_earlier_of_two_times_counts() -> None:
    queue = WorkQueue()
    queue.wake(A, 60)
    queue.wake(A)
    assert await take(queue) == A
    queue.done(A)
    await nothing(queue)


async def test_keys_come_in_the_order_of_their_times() -> None:
    queue = WorkQueue()
    queue.wake(B, 0.08)
    queue.wake(A, 0.02)
    assert [await take(queue), await take(queue)] == [A, B]


async def test_a_wake_during_work_is_taken_back_unless_it_had_other_causes() -> None:
    queue = WorkQueue()
    queue.wake(A)
    await take(queue)
    queue.wake(A, cause="own")
    queue.take_back(A, "own")
    queue.done(A)
    await nothing(queue)
    queue.wake(A)
    await take(queue)
    for cause in ("own", "other"):
        queue.wake(A, cause=cause)
    queue.take_back(A, "own")
    queue.done(A)
    assert await take(queue) == A
    queue.wake(A)
    queue.take_back(A, "own")
    queue.done(A)
    assert await take(queue) == A


async def test_a_key_under_work_is_not_given_out_but_looked_at_again_after() -> None:
    queue = WorkQueue()
    queue.wake(A)
    await take(queue)
    queue.wake(A)
    await nothing(queue)
    queue.done(A)
    assert await take(queue) == A


async def test_a_waiting_worker_sees_a_key_that_comes_late() -> None:
    queue = WorkQueue()
    queue.wake(B, 60)
    worker = asyncio.create_task(take(queue))
    await asyncio.sleep(0.01)
    queue.wake(A)
    assert await worker == A


async def test_two_workers_share_the_keys() -> None:
    queue = WorkQueue()
    workers = [asyncio.create_task(take(queue)) for _ in range(2)]
    queue.wake(A)
    queue.wake(B)
    assert set(await asyncio.gather(*workers)) == {A, B}


async def test_a_look_is_repeated_after_the_time_asked_for() -> None:
    queue = WorkQueue()
    queue.wake(A)
    await take(queue)
    started = time.monotonic()
    queue.done(A, 0.1)
    assert await take(queue) == A
    assert time.monotonic() - started >= 0.1


async def test_failures_are_tried_again_later_but_a_hint_does_not_wait() -> None:
    queue = WorkQueue()
    queue.wake(A)
    await take(queue)
    queue.done(A, failed=True)
    await nothing(queue, 0.3)
    queue.wake(A)
    assert await take(queue) == A


async def test_the_backoff_grows_and_is_capped() -> None:
    queue = WorkQueue()
    due = []
    for _ in range(20):
        queue.wake(A, 0)
        await take(queue)
        queue.done(A, failed=True)
        due.append(queue._turns[A].due - time.monotonic())
    assert max(due) <= BACKOFF_MOST_SECONDS
    assert min(due[10:]) >= BACKOFF_MOST_SECONDS / 2 - 1
    queue.wake(A, 0)
    await take(queue)
    queue.done(A)
    queue.wake(A, 0)
    await take(queue)
    queue.done(A, failed=True)
    assert queue._turns[A].due - time.monotonic() <= 1.0


async def test_the_age_of_the_longest_look() -> None:
    queue = WorkQueue()
    assert queue.oldest_running_seconds() == 0.0
    queue.wake(A, 0)
    await take(queue)
    await asyncio.sleep(0.05)
    assert queue.oldest_running_seconds() >= 0.05


async def test_what_has_patience_comes_after_what_is_due_a_little_later() -> None:
    queue = WorkQueue()
    queue.wake(A, 0.0, patience_seconds=5.0)
    queue.wake(B, 0.1)
    await asyncio.sleep(0.2)
    assert [await take(queue), await take(queue)] == [B, A]


async def test_patience_ends() -> None:
    queue = WorkQueue()
    queue.wake(A, 0.0, patience_seconds=0.1)
    queue.wake(B, 0.2)
    await asyncio.sleep(0.3)
    assert [await take(queue), await take(queue)] == [A, B]


async def test_the_more_urgent_wake_counts_also_while_its_key_is_ready_or_looked_at() -> None:
    queue = WorkQueue()
    for key in (A, B):
        queue.wake(key, 0.0, patience_seconds=5.0)
    assert await take(queue) == A
    queue.wake(B)
    queue.wake(A)
    await asyncio.sleep(2 * DEBOUNCE_SECONDS)
    queue.done(A)
    assert [await take(queue), await take(queue)] == [B, A]
    assert queue.depth == 0
