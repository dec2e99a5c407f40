"""Receipts: three statements that vouch for one redemption, and for no other."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comity.errors import Malformed, NotFound
from comity.ledger import entries, statements
from comity.terms import quotes
from comity.v1 import common_pb2, entry_pb2
from comity.verify.receipt import receipt
from tests.unit.replay_log import (
    ABORTED,
    AVAILABLE,
    HELD,
    REWARD,
    Clearing,
    Log,
    digest,
    earn,
    failed,
    leg,
    rdm,
)

QUOTE = entries.canonical(
    entry_pb2.Quote(
        network="comity.example",
        issuer="grocery",
        acceptor="fuel",
        redemption_id=rdm("first"),
        kind=REWARD,
        agreement_id="agr_grocery-fuel",
        agreement_version=1,
        acceptor_points=50,
        points=100,
        amount=common_pb2.Money(currency="EUR", minor=50),
        reward=digest("reward"),
        issued_at_us=1_000,
        expires_at_us=2_000,
    )
)


class Made:
    """A receipt in a folder, with the three logs it comes from."""

    def __init__(self, folder: Path, **changed: Any) -> None:
        self.folder = folder
        self.grocery, self.fuel, self.clearing = Log("grocery"), Log("fuel"), Clearing()
        earn(self.grocery, 1_000)
        hold = entry_pb2.Hold(
            network="comity.example",
            acceptor="fuel",
            redemption_id=rdm("first"),
            kind=REWARD,
            agreement_id="agr_grocery-fuel",
            agreement_version=1,
            quote_digest=quotes.digest(QUOTE),
            mandate_digest=digest("mandate first"),
            points=changed.get("held", 100),
            amount=common_pb2.Money(currency="EUR", minor=50),
            expires_at_us=10**12,
        )
        held = self.grocery.move(hold, leg(AVAILABLE, -hold.points), leg(HELD, hold.points))
        self.committed = self.clearing.decide(
            cites=changed.get("cites", self.grocery.cite(held)),
            quote_digest=quotes.digest(QUOTE),
            **changed.get("decision", {}),
        )
        delivery: dict[str, Any] = {
            "issuer": "grocery",
            "redemption_id": rdm("first"),
            "decision": self.clearing.log.cite(self.committed),
            "seq": 1,
            "quote_digest": quotes.digest(QUOTE),
            "reward": digest("reward"),
        }
        delivered = self.fuel.append(entry_pb2.Delivery(**(delivery | changed.get("delivery", {}))))
        self.statements = {
            "1-hold.tlog-proof": self.grocery.statement(held),
            "2-decision.tlog-proof": self.clearing.log.statement(self.committed),
            "3-delivery.tlog-proof": self.fuel.statement(delivered),
        }
        opening = entry_pb2.EntryOpening.FromString(self.clearing.log.openings[-1]).decision
        self.summary: dict[str, Any] = {
            "format": "comity-receipt/v1",
            "redemption_id": rdm("first"),
            "state": "delivered",
            "issuer": "grocery",
            "acceptor": "fuel",
            "points": 100,
            "points_salt": base64.b64encode(opening.points_salt).decode(),
            "quote": base64.b64encode(QUOTE).decode(),
            "mandate_digest": base64.b64encode(digest("mandate first")).decode(),
            "keys": self.keys(),
            "statements": list(self.statements),
        }
        self.write()

    def keys(self) -> dict[str, str]:
        return {log.origin: log.signer.vkey for log in (self.grocery, self.fuel, self.clearing.log)}

    def write(self) -> None:
        (self.folder / "receipt.json").write_text(json.dumps(self.summary))
        for name, statement in self.statements.items():
            (self.folder / name).write_text(statements.to_tlog_proof(statement))

    def failed(self) -> dict[str, str]:
        self.write()
        return failed(receipt(self.folder, keys=self.keys()).checks)


@pytest.mark.row("O3")
def test_an_honest_receipt_passes_offline(tmp_path: Path) -> None:
    made = Made(tmp_path)
    report = receipt(tmp_path)
    assert report.passed, report.rows()
    assert report.figures == {"statements": 3, "points": 100}
    assert "recorded in the receipt" in report.checks[0].detail
    assert receipt(tmp_path, keys=made.keys()).passed


def test_a_receipt_under_another_key_is_refused(tmp_path: Path) -> None:
    made = Made(tmp_path)
    keys = made.keys() | {"comity.example/fuel": Log("comity").signer.vkey}
    assert "3-delivery" in failed(receipt(tmp_path, keys=keys).checks)["statements"]
    assert "no key of" in failed(receipt(tmp_path, keys={}).checks)["statements"]


def _more_points(made: Made) -> None:
    made.summary["points"] = 101


def _no_salt(made: Made) -> None:
    made.summary["points_salt"] = ""


def _other_quote(made: Made) -> None:
    made.summary["quote"] = base64.b64encode(QUOTE[:-1] + b"\x01").decode()


def _other_mandate(made: Made) -> None:
    made.summary["mandate_digest"] = base64.b64encode(digest("x")).decode()


def _other_id(made: Made) -> None:
    made.summary["redemption_id"] = rdm("second")


def _other_issuer(made: Made) -> None:
    made.summary["issuer"] = "cinema"


def _without_delivery(made: Made) -> None:
    del made.summary["statements"][2]


def _altered(made: Made) -> None:
    one = made.statements["2-decision.tlog-proof"]
    one.entry = one.entry[:-1] + bytes([one.entry[-1] ^ 1])


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (_more_points, "points"),
        (_no_salt, "points"),
        (_other_quote, "quote"),
        (_other_mandate, "quote"),
        (_other_id, "redemption"),
        (_other_issuer, "redemption"),
        (_without_delivery, "redemption"),
        (_altered, "statements"),
    ],
)
def test_a_changed_receipt_is_refused(
    tmp_path: Path, wrong: Callable[[Made], None], check: str
) -> None:
    made = Made(tmp_path)
    wrong(made)
    assert check in made.failed()


@pytest.mark.parametrize(
    ("changed", "check"),
    [
        ({"cites": entries.cite("comity.example/grocery", 1, b"other")}, "redemption"),
        (
            {"delivery": {"decision": entries.cite("comity.example/clearing", 0, b"x")}},
            "redemption",
        ),
        ({"delivery": {"quote_digest": digest("other")}}, "redemption"),
        ({"delivery": {"reward": digest("other")}}, "quote"),
        ({"decision": {"outcome": ABORTED}}, "redemption"),
        ({"decision": {"name": "second"}}, "redemption"),
        ({"held": 99}, "points"),
    ],
)
def test_statements_that_do_not_belong_together_are_refused(
    tmp_path: Path, changed: dict[str, Any], check: str
) -> None:
    assert check in Made(tmp_path, **changed).failed()


def test_a_statement_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.summary["statements"][0] = "../1-hold.tlog-proof"
    assert "no such file" in made.failed()["statements"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "comity-receipt/v1"}'])
def test_what_is_no_receipt_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(NotFound):
        receipt(tmp_path)
    (tmp_path / "receipt.json").write_text(content)
    with pytest.raises(Malformed):
        receipt(tmp_path)
