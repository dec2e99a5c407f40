"""A member's receipt, checked offline: three logs' statements that vouch for one redemption.

A receipt is a folder with `receipt.json` and tlog-proof files, as `comity.wallet` writes it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from comity.errors import BadStatement, ComityError, Malformed, NotFound
from comity.ledger import entries, statements
from comity.ledger.replay import Check, Findings, cited
from comity.ledger.statements import Proven
from comity.log.checkpoint import CheckpointCache
from comity.log.history import KeyHistory
from comity.terms import quotes
from comity.v1 import entry_pb2
from comity.verify.report import Report

FORMAT: Final = "comity-receipt/v1"
_MAX_BYTES: Final = 1 << 20


def receipt(folder: Path | str, *, keys: Mapping[str, str] | None = None) -> Report:
    """Verify the receipt in a folder.

    `keys` are the keys of logs by origin (`comity.log.history`), from a roster; without them
    those which the wallet recorded are used, and the report says so. Raises NotFound or Malformed
    if there is no receipt at all.
    """
    place = Path(folder)
    summary = _read(place)
    found = _Receipt(summary, summary.get("keys", {}) if keys is None else keys)
    for name in summary["statements"]:
        found.add(place, name)
    found.compare()
    known = "known keys" if keys is not None else "the keys recorded in the receipt"
    return Report(
        subject=f"receipt of {summary['redemption_id']}",
        checks=found.checks(known),
        figures={"statements": len(found.proven), "points": int(summary["points"])},
    )


class _Receipt:
    def __init__(self, summary: Mapping[str, Any], keys: Mapping[str, str]) -> None:
        self._summary = summary
        self._keys = keys
        self._found = Findings()
        self.proven: dict[str, Proven] = {}

    def add(self, folder: Path, name: str) -> None:
        """Verify one statement under the key of the log it says it is from."""
        try:
            if Path(name).name != name or not (folder / name).is_file():
                raise NotFound("there is no such file in the receipt.")
            statement = statements.from_tlog_proof((folder / name).read_bytes())
            origin = entries.decode(statement.entry).origin
            vkey = self._keys.get(origin)
            if vkey is None:
                raise BadStatement(f"no key of {origin} is known.")
            verifier = KeyHistory.parse(vkey)
            proven = statements.verify(
                statement, origin=origin, verifier=verifier, cache=CheckpointCache(1)
            )
        except ComityError as error:
            self._found.add("statements", f"{name}: {error.message}")
            return
        self.proven[entries.kind(proven.entry)] = proven

    def compare(self) -> None:
        """Each statement against the others and the summary."""
        hold, decision = self.proven.get("hold"), self.proven.get("decision")
        delivered = self._summary.get("state") not in ("failed", "pending", "reserved")
        for kind in ("hold", "decision", "delivery") if delivered else ():
            if kind not in self.proven:
                self._found.add("redemption", f"The receipt has no {kind.upper()} that verifies.")
        for proven in self.proven.values():
            self._check_subject(proven)
        if decision is not None:
            self._check_decision(decision.entry.decision, hold)
        if hold is not None:
            self._check_hold(hold.entry.hold)
        for kind in ("delivery", "post", "release"):
            effect = self.proven.get(kind)
            if effect is None or decision is None:
                continue
            if cited(entries.body(effect.entry).decision) != cited(decision.citation):
                self._found.add("redemption", f"The {kind.upper()} rests on another decision.")
        self._check_points()

    def _check_subject(self, proven: Proven) -> None:
        body = entries.body(proven.entry)
        kind = entries.kind(proven.entry).upper()
        if body.redemption_id != self._summary["redemption_id"]:
            self._found.add("redemption", f"The {kind} is of another redemption.")
        for role in ("issuer", "acceptor"):
            named = getattr(body, role, self._party(role))
            if named != self._party(role):
                self._found.add("redemption", f"The {kind} names {named} as its {role}.")
        writer = {"DECISION": "clearing", "DELIVERY": self._party("acceptor")}.get(
            kind, self._party("issuer")
        )
        if proven.citation.origin.partition("/")[2] != writer:
            self._found.add("redemption", f"The {kind} is from {proven.citation.origin}.")

    def _party(self, role: str) -> str:
        """The participant in a role; a wallet names it by its log's origin."""
        return str(self._summary[role]).rpartition("/")[2]

    def _check_decision(self, body: entry_pb2.Decision, hold: Proven | None) -> None:
        delivered = "delivery" in self.proven
        if delivered and body.outcome != entry_pb2.OUTCOME_COMMITTED:
            self._found.add("redemption", "The DECISION is not COMMITTED.")
        if hold is not None and body.HasField("cites"):
            if cited(body.cites) != cited(hold.citation):
                self._found.add("redemption", "The DECISION cites another HOLD.")
        elif delivered:
            self._found.add("redemption", "The DECISION cites no HOLD.")
        if delivered:
            delivery = self.proven["delivery"].entry.delivery
            if delivery.quote_digest != body.quote_digest or (
                hold is not None and hold.entry.hold.quote_digest != body.quote_digest
            ):
                self._found.add("redemption", "HOLD, DECISION and DELIVERY name several quotes.")

    def _check_hold(self, body: entry_pb2.Hold) -> None:
        """The quote and the mandate which the member kept."""
        summary = self._summary
        quote = _bytes(summary, "quote")
        if quote and quotes.digest(quote) != body.quote_digest:
            self._found.add("quote", "The HOLD names another quote than the receipt holds.")
        mandate = _bytes(summary, "mandate_digest")
        if mandate and mandate != body.mandate_digest:
            self._found.add("quote", "The HOLD names another mandate than the member signed.")
        delivery = self.proven.get("delivery")
        delivered = delivery.entry.delivery.reward if delivery is not None else b""
        if quote and delivered and quotes.read(quote).reward != delivered:
            self._found.add("quote", "The DELIVERY is of another reward than was quoted.")

    def _check_points(self) -> None:
        points, salt = int(self._summary["points"]), _bytes(self._summary, "points_salt")
        hold, decision = self.proven.get("hold"), self.proven.get("decision")
        if hold is not None and hold.entry.hold.points != points:
            self._found.add("points", f"The HOLD takes {hold.entry.hold.points}, not {points}.")
        if decision is None or not decision.entry.decision.points:
            return
        if not salt:
            self._found.add("points", "The points of the DECISION are not opened.")
        elif entries.seal_points(points, salt) != decision.entry.decision.points:
            self._found.add("points", f"The DECISION is not over {points} points.")

    def checks(self, known: str) -> tuple[Check, ...]:
        """The results."""
        kinds = ", ".join(kind.upper() for kind in self.proven)
        return (
            self._found.check("statements", good=f"{kinds}: each proven, under {known}."),
            self._found.check("redemption", good="All are of this redemption and cite each other."),
            self._found.check("quote", good="It is what was quoted and what the member signed."),
            self._found.check("points", good=f"{self._summary['points']} points, by both logs."),
        )


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "receipt.json"
    if not path.is_file():
        raise NotFound(f"There is no receipt in {folder}; name the folder with receipt.json.")
    if path.stat().st_size > _MAX_BYTES:
        raise Malformed("The file is too large to be a receipt.")
    try:
        summary = json.loads(path.read_bytes())
        whole = (
            summary["format"] == FORMAT
            and isinstance(summary["statements"], list)
            and all(isinstance(name, str) for name in summary["statements"])
            and all(isinstance(summary[name], str) for name in _TEXTS)
            and isinstance(summary["points"], int)
            and isinstance(summary.get("keys", {}), dict)
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
        summary = {}
    if not whole:
        raise Malformed(f"{path} is not a receipt of the form {FORMAT}.")
    return dict(summary)


_TEXTS: Final = ("redemption_id", "issuer", "acceptor")


def _bytes(summary: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(summary.get(name) or "", validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise Malformed(f"The receipt's {name} is damaged; restore it from a copy.") from None
