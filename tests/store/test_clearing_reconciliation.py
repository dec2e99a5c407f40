"""Clearing's book against the brands' own: every break is found and named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sqlalchemy import Engine

from comity.errors import (
    Unavailable,
)
from comity.terms import books
from comity.v1 import operator_pb2, peer_pb2
from tests.store.clearing_world import (
    World,
    cited,
    decision_of,
    redemption_id,
    trading,
)


@pytest.fixture
async def world(engine: Engine) -> World:
    return await trading(engine)


class BookChannel:
    """A brand that answers `ReadBook` from rows a test gives it."""

    def __init__(self, rows: list[peer_pb2.BookRow]) -> None:
        self.rows = rows

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool | None = False,
    ) -> Any:
        async def call(request: Any, **_: object) -> peer_pb2.ReadBookResponse:
            if request.block:
                return peer_pb2.ReadBookResponse(
                    digests=books.block_digests(
                        self.rows,
                        from_seq=request.from_seq,
                        limit=request.limit,
                        block=request.block,
                    )
                )
            end = request.from_seq + request.limit
            return peer_pb2.ReadBookResponse(
                rows=[row for row in self.rows if request.from_seq <= row.seq < end]
            )

        return call

    async def close(self) -> None: ...


async def test_reconciliation_finds_nothing_among_honest_books(world: World) -> None:
    breaks, response = await reconciled(world, lambda rows: None)
    assert not breaks
    assert response.rows_compared == 6


async def test_a_brand_whose_book_cannot_be_read_is_named(world: World) -> None:
    await world.commit()

    class Silent(BookChannel):
        def unary_unary(self, *_: object, **__: object) -> Any:
            async def call(request: Any, **_: object) -> Any:
                raise Unavailable("Nobody answers.")

            return call

    world.channels |= {name: Silent([]) for name in ("grocery", "fuel")}
    response = await world.operator.ReconcileWindow(operator_pb2.ReconcileWindowRequest(window=1))
    assert list(response.unreachable) == ["fuel", "grocery"]


def lose_one(rows: list[peer_pb2.BookRow]) -> None:
    del rows[1]


def other_amount(rows: list[peer_pb2.BookRow]) -> None:
    rows[1].amount.minor += 1


def other_window(rows: list[peer_pb2.BookRow]) -> None:
    rows[1].window = 2


def twice(rows: list[peer_pb2.BookRow]) -> None:
    again = peer_pb2.BookRow()
    again.CopyFrom(rows[0])
    again.seq = 3
    rows[2] = again


def invented(rows: list[peer_pb2.BookRow]) -> None:
    rows[1].redemption_id = redemption_id("invented")


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (lose_one, ["MISSING_AT_ACCEPTOR"]),
        (other_amount, ["AMOUNT"]),
        (other_window, ["WINDOW"]),
        (twice, ["MISSING_AT_ACCEPTOR", "DUPLICATE"]),
        (invented, ["MISSING_AT_ACCEPTOR", "MISSING_AT_CLEARING"]),
    ],
)
async def test_reconciliation_names_each_break(
    world: World, change: Callable[[list[peer_pb2.BookRow]], None], kinds: list[str]
) -> None:
    breaks, _ = await reconciled(world, change)
    names = [operator_pb2.BreakKind.Name(one.kind).removeprefix("BREAK_KIND_") for one in breaks]
    assert sorted(names) == sorted(kinds)
    assert {one.participant for one in breaks} == {"fuel"}


async def reconciled(
    world: World, change: Callable[[list[peer_pb2.BookRow]], None]
) -> tuple[list[operator_pb2.Break], operator_pb2.ReconcileWindowResponse]:
    """Three redemptions; the acceptor's book is changed; who differs and where."""
    made: Mapping[str, list[peer_pb2.BookRow]] = {"grocery": [], "fuel": []}
    for place in range(3):
        decided = await world.commit(str(place), points=10 + place)
        for name, rows in made.items():
            rows.append(
                books.row_of(
                    decision_of(decided),
                    leaf_hash=cited(decided).leaf_hash,
                    opening=decided.opening,
                    participant=name,
                )
            )
    change(made["fuel"])
    world.channels |= {name: BookChannel(rows) for name, rows in made.items()}
    response = await world.operator.ReconcileWindow(operator_pb2.ReconcileWindowRequest(window=1))
    return list(response.breaks), response
