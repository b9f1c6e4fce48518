"""Reads that are shared: few requests, and no answer older than the question."""

import asyncio

import pytest

from llmcloud.cluster.shared_reads import SharedReads


class Source:
    """Counts what it is asked; every answer is the number of the request, and takes a while."""

    def __init__(self) -> None:
        self.sent = 0
        self.asked = asyncio.Event()
        self.failing = False

    async def read(self) -> int:
        self.sent += 1
        self.asked.set()
        number = self.sent
        await asyncio.sleep(0.01)
        if self.failing:
            raise LookupError(number)
        return number


async def test_those_who_ask_at_once_share_one_request() -> None:
    source, reads = Source(), SharedReads[int]()
    answers = await asyncio.gather(*(reads.read("a", source.read) for _ in range(20)))
    assert answers == [1] * 20


async def test_who_asks_while_a_request_is_under_way_gets_the_answer_to_the_next() -> None:
    source, reads = Source(), SharedReads[int]()
    first = asyncio.create_task(reads.read("a", source.read))
    await source.asked.wait()
    later = [asyncio.create_task(reads.read("a", source.read)) for _ in range(20)]
    assert await first == 1
    assert await asyncio.gather(*later) == [2] * 20
    assert await reads.read("a", source.read) == 3


async def test_other_keys_do_not_wait() -> None:
    reads = SharedReads[int]()
    slow = asyncio.create_task(reads.read("a", lambda: asyncio.sleep(60, 0)))
    assert await asyncio.wait_for(reads.read("b", Source().read), 10) == 1
    slow.cancel()


async def test_a_failure_is_everybodys_and_the_next_request_is_made() -> None:
    source, reads = Source(), SharedReads[int]()
    source.failing = True
    failed = await asyncio.gather(
        *(reads.read("a", source.read) for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in failed] == [LookupError] * 3
    source.failing = False
    assert await reads.read("a", source.read) == 2


async def test_one_who_gives_up_takes_the_answer_from_nobody() -> None:
    source, reads = Source(), SharedReads[int]()
    gone, waits = (asyncio.create_task(reads.read("a", source.read)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await waits == 1
    with pytest.raises(asyncio.CancelledError):
        await gone
