"""The courier: what waits travels together, what was not decided travels again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import ComityError, Forbidden, Overloaded, Refused, Unavailable
from comity.rpc.courier import Courier


class Neighbour:
    """Answers each number with its double, as long as nothing else is said."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.answers: dict[int, list[ComityError]] = {}
        self.broken: list[BaseException] = []
        self.open = asyncio.Event()
        self.open.set()

    async def send(self, items: Sequence[int]) -> list[int | ComityError]:
        self.batches.append(list(items))
        await self.open.wait()
        if self.broken:
            raise self.broken.pop(0)
        return [self.answers[item].pop(0) if self.answers.get(item) else 2 * item for item in items]


async def test_one_item_leaves_at_once_and_alone() -> None:
    neighbour = Neighbour()
    assert await Courier(neighbour.send).submit(7) == 14
    assert neighbour.batches == [[7]]


async def test_what_waits_while_a_batch_is_away_travels_as_the_next_one() -> None:
    neighbour = Neighbour()
    neighbour.open.clear()
    courier = Courier(neighbour.send)
    first = asyncio.ensure_future(courier.submit(1))
    await asyncio.sleep(0.01)
    others = [asyncio.ensure_future(courier.submit(n)) for n in (2, 3, 4)]
    await asyncio.sleep(0.01)
    assert neighbour.batches == [[1]]
    assert len(courier) == 4
    neighbour.open.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
    assert neighbour.batches == [[1], [2, 3, 4]]
    assert len(courier) == 0


async def test_a_batch_has_a_limit() -> None:
    neighbour = Neighbour()
    courier = Courier(neighbour.send, limit=2)
    await asyncio.gather(*(courier.submit(n) for n in range(5)))
    assert neighbour.batches == [[0, 1], [2, 3], [4]]


async def test_a_refusal_is_for_its_item_alone() -> None:
    neighbour = Neighbour()
    neighbour.answers[2] = [Refused("no")]
    courier = Courier(neighbour.send)
    results = await asyncio.gather(*(courier.submit(n) for n in (1, 2, 3)), return_exceptions=True)
    assert results[0] == 2
    assert isinstance(results[1], Refused)
    assert results[2] == 6


async def test_what_was_not_decided_is_asked_again_until_it_is() -> None:
    neighbour = Neighbour()
    neighbour.answers[2] = [Unavailable("later"), Overloaded("later still")]
    courier = Courier(neighbour.send, first_pause_s=0.001)
    assert await asyncio.gather(*map(courier.submit, (1, 2))) == [2, 4]
    assert neighbour.batches == [[1, 2], [2], [2]]


async def test_a_neighbour_that_is_away_is_asked_again_for_the_whole_batch() -> None:
    neighbour = Neighbour()
    neighbour.broken = [Unavailable("away"), Unavailable("still away")]
    courier = Courier(neighbour.send, first_pause_s=0.001)
    assert await asyncio.gather(*map(courier.submit, (1, 2))) == [2, 4]


async def test_an_error_for_the_call_is_everybodys() -> None:
    neighbour = Neighbour()
    neighbour.broken = [Forbidden("you may not")]
    courier = Courier(neighbour.send)
    results = await asyncio.gather(courier.submit(1), courier.submit(2), return_exceptions=True)
    assert [type(one) for one in results] == [Forbidden, Forbidden]
    assert await courier.submit(3) == 6


async def test_a_bug_in_sending_leaves_nobody_waiting() -> None:
    neighbour = Neighbour()
    neighbour.broken = [RuntimeError("bug")]
    courier = Courier(neighbour.send)
    with pytest.raises(RuntimeError):
        await courier.submit(1)
    assert await courier.submit(2) == 4


async def test_who_waits_long_enough_is_told_that_nothing_is_known() -> None:
    neighbour = Neighbour()
    neighbour.broken = [Unavailable("away")] * 100
    courier = Courier(neighbour.send, first_pause_s=0.001)
    with pytest.raises(Unavailable):
        await courier.submit(1, within_s=0.02)
    assert len(courier) == 0


async def test_what_nobody_waits_for_is_not_sent() -> None:
    neighbour = Neighbour()
    neighbour.open.clear()
    courier = Courier(neighbour.send)
    first = asyncio.ensure_future(courier.submit(1))
    await asyncio.sleep(0.01)
    leaver = asyncio.ensure_future(courier.submit(2))
    await asyncio.sleep(0.01)
    leaver.cancel()
    neighbour.open.set()
    await first
    assert await courier.submit(3) == 6
    assert neighbour.batches == [[1], [3]]


async def test_too_many_items_are_refused_at_once() -> None:
    neighbour = Neighbour()
    neighbour.open.clear()
    courier = Courier(neighbour.send, queue_limit=1)
    first = asyncio.ensure_future(courier.submit(1))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await courier.submit(2)
    neighbour.open.set()
    assert await first == 2


async def test_closing_tells_everybody_who_waits() -> None:
    neighbour = Neighbour()
    neighbour.open.clear()
    neighbour.answers[9] = [Unavailable("later")]
    courier = Courier(neighbour.send, limit=1)
    waiting = [asyncio.ensure_future(courier.submit(n)) for n in (1, 2)]
    await asyncio.sleep(0.01)
    await courier.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in results] == [Unavailable, Unavailable]
    with pytest.raises(Unavailable):
        await courier.submit(3)


async def test_closing_also_tells_who_waits_for_another_try() -> None:
    neighbour = Neighbour()
    neighbour.answers[1] = [Unavailable("later")]
    courier = Courier(neighbour.send, first_pause_s=60.0)
    waiting = asyncio.ensure_future(courier.submit(1))
    await asyncio.sleep(0.01)
    await courier.close()
    with pytest.raises(Unavailable):
        async with asyncio.timeout(1):
            await waiting


@given(
    st.lists(st.integers(0, 50), max_size=60),
    st.integers(1, 7),
    st.sets(st.integers(0, 50)),
)
def test_every_item_gets_its_own_answer(items: list[int], limit: int, shaky: set[int]) -> None:
    async def run() -> list[int]:
        neighbour = Neighbour()
        neighbour.answers = {item: [Unavailable("later")] for item in shaky}
        courier = Courier(neighbour.send, limit=limit, first_pause_s=0.0)
        results = await asyncio.gather(*(courier.submit(item) for item in items))
        assert all(len(batch) <= limit for batch in neighbour.batches)
        return list(results)

    assert asyncio.run(run()) == [2 * item for item in items]


async def test_a_courier_that_lingers_takes_along_what_comes_meanwhile() -> None:
    neighbour = Neighbour()
    courier = Courier(neighbour.send, linger_s=0.02)
    first = asyncio.ensure_future(courier.submit(1))
    await asyncio.sleep(0)
    assert list(await asyncio.gather(first, courier.submit(2))) == [2, 4]
    assert neighbour.batches == [[1, 2]]
