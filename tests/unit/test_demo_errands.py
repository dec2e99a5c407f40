"""Work side by side, in order for each household."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from cli.demo.errands import Errands, at_most


async def test_one_household_does_one_thing_after_another() -> None:
    seen: list[int] = []

    async def slower_first(number: int) -> None:
        await asyncio.sleep(0.01 * (3 - number))
        seen.append(number)

    async with Errands(10) as errands:
        for number in range(3):
            errands.add(7, partial(slower_first, number))
    assert seen == [0, 1, 2]


async def test_no_more_run_at_once_than_allowed() -> None:
    running = most = 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    await at_most(4, [work] * 20)
    assert most == 4


async def test_done_waits_for_the_named_households_only() -> None:
    finished: list[str] = []
    release = asyncio.Event()

    async def quick() -> None:
        finished.append("quick")

    async def slow() -> None:
        await release.wait()
        finished.append("slow")

    async with Errands(10) as errands:
        errands.add(1, slow)
        errands.add(2, quick)
        await errands.done([2, 3])
        assert finished == ["quick"]
        release.set()
        await errands.done([1])
        assert finished == ["quick", "slow"]


async def test_the_first_failure_is_raised_as_it_is() -> None:
    async def fail() -> None:
        raise OSError("the disk is full")

    async def wait() -> None:
        await asyncio.sleep(60)

    with pytest.raises(OSError, match="full"):
        await at_most(2, [wait, fail])
