"""Settlement files: a stranger needs the file and clearing's key, and no figure can be changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comity.errors import Malformed, NotFound
from comity.terms.settlement import digest
from comity.v1.common_pb2 import Money
from comity.v1.entry_pb2 import NetPosition, Payment, Settlement, SettlementTable
from comity.verify.settlement import check, pack, read_table, settlement
from tests.unit.replay_log import Clearing, Log, failed


def made() -> tuple[Clearing, SettlementTable, str]:
    """A settled window of three brands, fees of the operator and its file."""
    clearing = Clearing()
    closed = clearing.close()
    nets = {"drift": 0, "fuel": 92, "grocery": -100, "operator": 8}
    table = SettlementTable(
        network="comity.example",
        window=1,
        closed=clearing.log.cite(closed),
        positions=[
            NetPosition(
                participant=name,
                net=Money(currency="EUR", minor=net),
                decisions=2 if name in ("fuel", "grocery") else 0,
                first_seq=1 if name in ("fuel", "grocery") else 0,
                last_seq=2 if name in ("fuel", "grocery") else 0,
            )
            for name, net in nets.items()
        ],
        payments=[
            Payment(payer="grocery", payee="fuel", amount=Money(currency="EUR", minor=92)),
            Payment(payer="grocery", payee="operator", amount=Money(currency="EUR", minor=8)),
        ],
    )
    index = clearing.log.append(Settlement(window=1, table=digest(table), model="multilateral"))
    return (
        clearing,
        table,
        pack(table, clearing.log.statement(index), vkey=clearing.log.signer.vkey),
    )


CLEARING, TABLE, FILE = made()


def test_an_honest_settlement_passes(tmp_path: Path) -> None:
    (tmp_path / "window-1.json").write_text(FILE)
    report = settlement(tmp_path / "window-1.json", vkey=CLEARING.log.signer.vkey)
    assert report.passed
    assert report.figures == {"window": 1, "positions": 4, "payments": 2}
    own = settlement(FILE.encode())
    assert own.passed
    assert "named in the file itself" in own.checks[0].detail


def figures(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a figure stands in the table of the file."""
    if isinstance(value, dict):
        return [found for key, one in value.items() for found in figures(one, (*path, key))]
    if isinstance(value, list):
        return [found for key, one in enumerate(value) for found in figures(one, (*path, key))]
    return [path] if isinstance(value, int) or (isinstance(value, str) and _digits(value)) else []


def _digits(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


@pytest.mark.parametrize("path", figures(json.loads(FILE)["table"]), ids=str)
def test_one_changed_figure_is_refused(path: tuple[Any, ...]) -> None:
    content = json.loads(FILE)
    inner = content["table"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = str(int(inner[path[-1]]) + 1)
    assert "statement" in failed(settlement(json.dumps(content).encode()).checks)


def test_a_table_that_does_not_balance_is_refused_even_if_it_is_signed() -> None:
    table = SettlementTable()
    table.CopyFrom(TABLE)
    table.payments[0].amount.minor -= 1
    clearing = Clearing()
    clearing.close()
    index = clearing.log.append(Settlement(window=1, table=digest(table)))
    report = check(table, clearing.log.statement(index), verifier=clearing.log.verifier)
    assert failed(report.checks).keys() == {"table"}


def test_another_key_or_entry_is_refused() -> None:
    assert "statement" in failed(settlement(FILE.encode(), vkey=Log("fuel").signer.vkey).checks)
    other = pack(TABLE, CLEARING.log.statement(0), vkey=CLEARING.log.signer.vkey)
    assert "another kind" in failed(settlement(other.encode()).checks)["statement"]


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"\xff", b'{"format": "comity-settlement/v1"}', b"[" * 100_000],
)
def test_what_is_no_settlement_file_is_refused(content: bytes) -> None:
    with pytest.raises(Malformed):
        settlement(content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        settlement(tmp_path / "none.json")


def test_a_stored_table_has_one_form() -> None:
    data = TABLE.SerializeToString(deterministic=True)
    assert read_table(data) == TABLE
    for other in (data + b"\x98\x06\x01", b"\xff", b"\x10\x00" + data):
        with pytest.raises(Malformed):
            read_table(other)
