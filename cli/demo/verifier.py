"""Verifies a network from outside, in a process of its own: `python -m cli.demo.verifier FOLDER`.

It trusts the operator's certificate and the roster's keys, and knows what a stranger, a member,
an auditor and a brand have:

 1. a stranger: checkpoints, hash tiles, consistency with every head kept during the run, the
    settlement
 2. members: their receipts, offline
 3. an auditor, admitted by every organisation: all entries with their openings, replayed and
    compared across organisations
 4. each organisation: its own database against its own log

What it found is printed as JSON; it exits with 1 if a check failed. `order` writes its folder.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cli.demo.tally import Check
from comity import keys
from comity.client.connection import Server, closing, connect
from comity.client.log import LogClient
from comity.errors import ComityError
from comity.log.checkpoint import open_checkpoint, verify_extension
from comity.log.note import VerifierKey
from comity.verify.database import database
from comity.verify.network import network
from comity.verify.receipt import receipt
from comity.verify.report import Report
from comity.verify.server import server
from comity.verify.settlement import settlement

ORDER: Final = "verification.json"
AUDITOR_KEY: Final = "auditor.key"
SETTLEMENT: Final = "settlement.json"

INVARIANTS: Final[Mapping[str, str]] = {
    "I1": "every entry's legs sum to zero",
    "I2": "no balance or stock is negative",
    "I3": "points issued are accounted for",
    "I4": "effects rest on their decisions",
    "I5": "every hold has ended",
    "I6": "positions sum to zero",
    "I7": "issuers' and acceptors' books agree",
    "I8": "every log only grew",
    "I9": "nothing was done twice",
    "I10": "replay reproduces every balance",
    "I11": "no entry holds personal data",
    "I12": "no more reversed than committed",
    "I13": "obligations cite payers' entries",
    "I14": "decision numbers have no gap",
    "I15": "nobody passed its net debit cap",
    "I16": "each obligation settles once",
    "I17": "last heads extend all before",
    "I18": "lots sum to balances",
}
OTHERS: Final[Mapping[str, str]] = {
    "signatures": "heads are signed by roster keys",
    "roots": "tiles lead to the signed roots",
    "entries": "whole, canonical, in time order",
    "databases": "tables follow from their logs",
    "settlement": "payments realise the table",
    "receipts": "members' receipts verify offline",
}
PERSONAL: Final = re.compile(rb"household|example\.org")
"""What every name and address in this network's members' profiles contains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """A brand or clearing as its verifier knows it. `heads` were kept during the run."""

    name: str
    address: str
    origin: str
    vkey: str
    database: str
    head_file: str
    heads: Sequence[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What there is to verify."""

    ca_file: str
    organisations: Sequence[Organisation]
    receipts: Sequence[str]


def write_order(folder: Path, order: Order) -> None:
    """Write an order beside the auditor's key and the settlement."""
    content = asdict(order)
    for one in content["organisations"]:
        one["heads"] = [base64.b64encode(head).decode() for head in one["heads"]]
    (folder / ORDER).write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def read_order(folder: Path) -> Order:
    """The order in a folder."""
    content = json.loads((folder / ORDER).read_text("utf-8"))
    organisations = [
        Organisation(**{**one, "heads": [base64.b64decode(head) for head in one["heads"]]})
        for one in content["organisations"]
    ]
    return Order(
        ca_file=content["ca_file"], organisations=organisations, receipts=content["receipts"]
    )


def read_bytes(place: str) -> bytes:
    """A small file, read at once."""
    return Path(place).read_bytes()


class Findings:
    """Checks by name: passed if it did wherever it was made."""

    def __init__(self) -> None:
        self._made: dict[str, int] = {}
        self._wrong: dict[str, list[str]] = {}

    def add(self, name: str, *, passed: bool, detail: str = "") -> None:
        """One more result for a check."""
        self._made[name] = self._made.get(name, 0) + 1
        if not passed:
            self._wrong.setdefault(name, []).append(detail)

    def take(self, report: Report) -> None:
        """All checks of a report."""
        for check in report.checks:
            self.add(_named(check.name), passed=check.passed, detail=check.detail)

    def fail(self, name: str, error: ComityError) -> None:
        """The check could not be made to the end."""
        self.add(name, passed=False, detail=error.message)

    def checks(self) -> Iterable[Check]:
        """In the order of the protocol; a check that was never made has not passed."""
        for name, meaning in {**INVARIANTS, **OTHERS}.items():
            wrong = self._wrong.get(name, [])
            made = self._made.get(name, 0)
            detail = " ".join(wrong[:3]) if wrong else meaning
            yield Check(name=name, passed=bool(made) and not wrong, detail=detail)


def _named(check: str) -> str:
    """A check of `comity.verify` by the name it has here."""
    if check in INVARIANTS:
        return check
    return {
        "signature": "signatures",
        "root": "roots",
        "tiles": "roots",
        "time": "entries",
        "entries": "entries",
        "openings": "entries",
    }.get(check, "databases")


async def verify(folder: Path) -> list[Check]:
    """Everything the order in `folder` asks for."""
    order, found = read_order(folder), Findings()
    roots = read_bytes(order.ca_file)
    key = keys.load(folder / AUDITOR_KEY)
    # 1. A stranger.
    for one in order.organisations:
        where = Server(address=one.address, roots_pem=roots, origin=one.origin)
        async with closing(connect(where)) as channel:
            found.take(await server(channel, vkey=one.vkey))
            await _grew(found, LogClient(channel), one)
    clearing = next(one for one in order.organisations if one.name == "clearing")
    for check in settlement(folder / SETTLEMENT, vkey=clearing.vkey).checks:
        found.add("settlement", passed=check.passed, detail=check.detail)
    # 2. Members.
    known = {one.origin: one.vkey for one in order.organisations}
    for place in order.receipts:
        for check in receipt(place, keys=known).checks:
            found.add("receipts", passed=check.passed, detail=f"{place}: {check.detail}")
    # 3. An auditor.
    async with AsyncExitStack() as stack:
        reports = []
        for one in order.organisations:
            where = Server(address=one.address, roots_pem=roots, origin=one.origin)
            channel = await stack.enter_async_context(closing(connect(where, key=key)))
            report = await server(channel, vkey=one.vkey, auditor=True, final=True)
            found.take(report)
            reports.append(report)
            await _impersonal(found, LogClient(channel), report.figures["entries"], one.name)
        found.take(network(reports, final=True))
    # 4. Each for itself.
    for one in order.organisations:
        report = database(one.database, vkey=one.vkey, head_file=Path(one.head_file), final=True)
        found.take(report)
        found.add(
            "I10",
            passed=report.passed,
            detail=" ".join(check.detail for check in report.checks if not check.passed),
        )
    return list(found.checks())


async def _grew(found: Findings, client: LogClient, one: Organisation) -> None:
    """Whether the log extends every head that was kept, through whatever restarts there were."""
    verifier = VerifierKey.parse(one.vkey)
    answer = await client.get_checkpoint()
    try:
        last = open_checkpoint(answer.checkpoint, origin=one.origin, verifier=verifier)
        for note in one.heads:
            head = open_checkpoint(note, origin=one.origin, verifier=verifier)
            hashes: Sequence[bytes] = ()
            if 0 < head.size < last.size:
                hashes = await client.prove_consistency(old_size=head.size, new_size=last.size)
            verify_extension(head, last, hashes)
    except ComityError as error:
        found.fail("I8", error)
        found.fail("I17", error)
    else:
        found.add("I8", passed=True)
        found.add("I17", passed=True)


async def _impersonal(found: Findings, client: LogClient, size: int, name: str) -> None:
    """Whether no entry holds a name or an address of those with which members enrolled."""
    index = 0
    while index < size:
        page = await client.read_entries(from_index=index, limit=min(1_024, size - index))
        for place, one in enumerate(page.entries, start=index):
            if PERSONAL.search(one.entry):
                found.add("I11", passed=False, detail=f"Entry {place} of {name} names a person.")
        if not page.entries:
            break
        index += len(page.entries)
    found.add("I11", passed=True)


def main(arguments: Sequence[str]) -> int:
    """Verify what the folder orders; print the checks as JSON."""
    if len(arguments) != 1:
        print("usage: python -m cli.demo.verifier FOLDER", file=sys.stderr)
        return 2
    checks = asyncio.run(verify(Path(arguments[0])))
    plain: list[dict[str, Any]] = [asdict(check) for check in checks]
    print(json.dumps(plain, indent=2, ensure_ascii=False))
    return 0 if all(check.passed for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
