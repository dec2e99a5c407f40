"""Rows loaded, changed and written in bulk, compared with a plain dictionary."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Boolean, Connection, Engine, LargeBinary

from comity.ledger.bulk import CHUNK, Row
from comity.ledger.engine import open_engine, writer
from comity.ledger.rows import Rows
from comity.ledger.schema import BigInt, field, key, ledger_table, service_metadata

metadata = service_metadata()
lots = ledger_table(
    metadata,
    "lots",
    key("account"),
    key("lot", BigInt),
    field("open", Boolean),
    field("points", BigInt),
    field("salt", LargeBinary, nullable=True),
)
totals = ledger_table(metadata, "totals", field("points", BigInt))


def lot(account: str, number: int, points: int = 1, *, live: bool = True) -> Row:
    return {"account": account, "lot": number, "open": live, "points": points, "salt": None}


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with writer(engine).begin() as opened:
        metadata.create_all(opened)
        yield opened


def fill(connection: Connection, *rows: Row, ledger: str = "grocery") -> None:
    unit = Rows(connection, ledger)
    for row in rows:
        unit.insert(lots, row)
    unit.flush()


def all_of(connection: Connection, ledger: str = "grocery") -> dict[tuple[str, int], Row]:
    unit = Rows(connection, ledger)
    found = unit.load_query(lots, lots.c.lot >= 0)
    return {(row["account"], row["lot"]): row for row in found}


def test_a_row_comes_back_as_it_was_written(connection: Connection) -> None:
    row = lot("a", 1, 2**62, live=False) | {"salt": b"\x00\xff"}
    fill(connection, row, lot("b", 2))
    assert all_of(connection) == {("a", 1): row, ("b", 2): lot("b", 2)}


def test_a_key_that_nobody_loaded_is_an_error(connection: Connection) -> None:
    rows = Rows(connection, "grocery")
    rows.load(lots, [("a", 1)])
    assert rows.get(lots, ("a", 1)) is None
    with pytest.raises(KeyError):
        rows.get(lots, ("a", 2))
    with pytest.raises(KeyError):
        rows.put(lots, lot("a", 2))
    with pytest.raises(KeyError):
        rows.find(lots, "account", "a")
    with pytest.raises(KeyError):
        rows.delete(lots, ("a", 2))


def test_a_row_handed_out_is_a_copy(connection: Connection) -> None:
    fill(connection, lot("a", 1))
    rows = Rows(connection, "grocery")
    rows.load(lots, [("a", 1)])
    row = rows.get(lots, ("a", 1))
    assert row is not None
    row["points"] = 99
    assert rows.get(lots, ("a", 1)) == lot("a", 1)
    rows.put(lots, row)
    row["points"] = 100
    assert rows.get(lots, ("a", 1)) == lot("a", 1, 99)


def test_a_row_with_a_missing_or_unknown_column_is_an_error(connection: Connection) -> None:
    rows = Rows(connection, "grocery")
    with pytest.raises(ValueError, match="salt"):
        rows.insert(lots, {"account": "a", "lot": 1, "open": True, "points": 1})


def test_find_sees_what_this_batch_has_changed(connection: Connection) -> None:
    fill(connection, lot("a", 1), lot("a", 2), lot("b", 3))
    rows = Rows(connection, "grocery")
    rows.load_where(lots, "account", ["a"])
    rows.load_where(lots, ("account", "open"), [("a", True)])
    rows.put(lots, lot("a", 1, live=False))
    rows.insert(lots, lot("a", 4))
    rows.insert(lots, lot("c", 5))
    rows.delete(lots, ("a", 2))

    def numbers(names: str | tuple[str, ...], value: object) -> list[int]:
        return sorted(row["lot"] for row in rows.find(lots, names, value))

    assert numbers("account", "a") == [1, 4]
    assert numbers(("account", "open"), ("a", True)) == [4]
    rows.load_where(lots, "account", ["b", "c"])
    assert numbers("account", "b") == [3]
    assert numbers("account", "c") == [5]


def test_rolling_back_undoes_exactly_what_came_after_the_mark(connection: Connection) -> None:
    fill(connection, lot("a", 1), lot("a", 2))
    rows = Rows(connection, "grocery")
    rows.load_where(lots, "account", ["a"])
    rows.put(lots, lot("a", 1, 5))
    mark = rows.mark()
    rows.put(lots, lot("a", 1, 7))
    rows.delete(lots, ("a", 2))
    rows.insert(lots, lot("a", 3))
    rows.rollback(mark)
    assert sorted(row["lot"] for row in rows.find(lots, "account", "a")) == [1, 2]
    rows.insert(lots, lot("a", 3, 9))
    rows.flush()
    assert {at: row["points"] for at, row in all_of(connection).items()} == {
        ("a", 1): 5,
        ("a", 2): 1,
        ("a", 3): 9,
    }


def test_more_rows_than_one_statement_holds_are_loaded(connection: Connection) -> None:
    count = 2 * CHUNK + 3
    fill(connection, *(lot("a", number) for number in range(count)))
    rows = Rows(connection, "grocery")
    rows.load(lots, (("a", number) for number in range(count + 1)))
    assert rows.get(lots, ("a", count - 1)) == lot("a", count - 1)
    assert rows.get(lots, ("a", count)) is None


def test_another_ledger_in_the_same_database_is_not_seen_or_touched(
    connection: Connection,
) -> None:
    fill(connection, lot("a", 1), ledger="grocery")
    fill(connection, lot("a", 1, 50), ledger="airline")
    rows = Rows(connection, "grocery")
    rows.load_where(lots, "account", ["a"])
    rows.load(lots, [("a", 1)])
    rows.put(lots, lot("a", 1, 2))
    rows.flush()
    assert all_of(connection, "airline") == {("a", 1): lot("a", 1, 50)}
    rows.delete(lots, ("a", 1))
    rows.flush()
    assert all_of(connection, "grocery") == {}
    assert all_of(connection, "airline") == {("a", 1): lot("a", 1, 50)}


def test_a_table_may_have_one_row_for_each_ledger(connection: Connection) -> None:
    for points in (3, 4):
        rows = Rows(connection, "grocery")
        rows.load(totals, [()])
        rows.put(totals, {"points": points})
        rows.flush()
    rows = Rows(connection, "grocery")
    rows.load(totals, [()])
    assert rows.get(totals, ()) == {"points": 4}


def test_load_query_orders_and_limits_and_knows_this_batch(connection: Connection) -> None:
    fill(connection, *(lot("a", number, 10 - number) for number in range(5)))
    rows = Rows(connection, "grocery")
    rows.load(lots, [("a", 4)])
    rows.put(lots, lot("a", 4, 77))
    found = rows.load_query(lots, lots.c.points < 9, order_by=[lots.c.points], limit=2)
    assert [(row["lot"], row["points"]) for row in found] == [(4, 77), (3, 7)]


NAMES = st.sampled_from(["a", "b"])
NUMBERS = st.integers(0, 3)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, NUMBERS, st.integers(0, 5), st.booleans()),
        st.tuples(st.just("delete"), NAMES, NUMBERS),
        st.tuples(st.just("refuse")),
        st.tuples(st.just("accept")),
        st.tuples(st.just("flush")),
        st.tuples(st.just("begin")),
    ),
    max_size=30,
)


@given(operations=OPERATIONS)
@settings(max_examples=150)
def test_rows_behave_like_a_dictionary(operations: list[tuple[object, ...]]) -> None:
    """`refuse` undoes to the last `accept`, `flush` writes, `begin` starts from the database."""
    engine = open_engine("sqlite://")
    with writer(engine).begin() as connection:
        metadata.create_all(connection)
        model: dict[tuple[str, int], Row] = {}
        kept: dict[tuple[str, int], Row] = {}
        rows = begin(connection)
        mark = rows.mark()
        for operation in operations:
            match operation:
                case ("put", str(account), int(number), int(points), bool(live)):
                    model[account, number] = lot(account, number, points, live=live)
                    rows.put(lots, model[account, number])
                case ("delete", str(account), int(number)):
                    model.pop((account, number), None)
                    rows.delete(lots, (account, number))
                case ("refuse",):
                    model = dict(kept)
                    rows.rollback(mark)
                case ("accept",):
                    kept, mark = dict(model), rows.mark()
                case ("flush",):
                    rows.flush()
                    kept, mark = dict(model), rows.mark()
                case _:
                    rows.flush()
                    kept, rows = dict(model), begin(connection)
                    mark = rows.mark()
            for account in ("a", "b"):
                for value in (True, False):
                    found = rows.find(lots, ("account", "open"), (account, value))
                    assert {row["lot"]: row for row in found} == {
                        number: row
                        for (name, number), row in model.items()
                        if name == account and row["open"] is value
                    }
        rows.flush()
        assert all_of(connection) == model
    engine.dispose()


def begin(connection: Connection) -> Rows:
    rows = Rows(connection, "grocery")
    rows.load(lots, [(account, number) for account in ("a", "b") for number in range(4)])
    pairs = [(account, live) for account in ("a", "b") for live in (True, False)]
    rows.load_where(lots, ("account", "open"), pairs)
    return rows
