"""Agreements between this brand and another: proposed by one, accepted by the other, in force
when clearing's log says so.

PROPOSE and ACCEPT are entries of the two brands' own logs, so nobody can be bound by words off
the record. Here an agreement becomes active only through the mirror of clearing's log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy import select

from comity.errors import AgreementInactive, BadStatement, Conflict, Forbidden, Malformed, NotFound
from comity.ledger import entries
from comity.ledger.command import Batch, Content
from comity.ledger.rows import Rows
from comity.ledger.statements import Proven
from comity.ledger.steps import Step
from comity.ledger.store import LedgerStore
from comity.terms import agreements as arithmetic
from comity.v1 import common_pb2, merchant_pb2
from comity.v1 import entry_pb2 as pb
from node.book import Handler, Handlers, Rules
from node.holds import terms_from
from node.redemption_tables import agreements

ACTIVE = "ACTIVE"


# --- what stands ----------------------------------------------------------------------------


class InForce:
    """This brand's agreements in memory, for quotes; read again when the mirror changes them."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._rows: list[dict[str, Any]] = []
        self.reload()

    def reload(self) -> None:
        """Read the table again."""
        table = agreements
        query = (
            select(table)
            .where(table.c.ledger == self._store.ledger)
            .order_by(table.c.agreement_id, table.c.version)
        )
        with self._store.engine.connect() as connection:
            self._rows = [dict(row) for row in connection.execute(query).mappings()]

    def terms(
        self,
        *,
        issuer: str,
        acceptor: str,
        kind: common_pb2.RedemptionKind.ValueType,
        at_us: int,
    ) -> common_pb2.AgreementTerms:
        """The newest terms between this pair for this kind. Raises AgreementInactive."""
        for row in reversed(self._rows):
            if (row["issuer"], row["acceptor"]) != (issuer, acceptor):
                continue
            if not row["active_from_us"] <= at_us < row["active_until_us"]:
                continue
            terms = terms_from(row["terms"])
            if kind in terms.kinds:
                return terms
        raise AgreementInactive(
            f"No agreement for this is in force between {issuer} and {acceptor}.",
            metadata={"issuer": issuer, "acceptor": acceptor},
        )

    def rows(self) -> list[dict[str, Any]]:
        """Every version, by id and version."""
        return list(self._rows)

    def listed(self) -> list[merchant_pb2.BrandAgreement]:
        """Every version, as managers see it."""
        return [
            merchant_pb2.BrandAgreement(terms=terms_from(row["terms"]), state=row["state"])
            for row in self._rows
        ]


# --- commands -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Propose:
    """A manager proposes terms. An empty salt is filled in; the answer is the terms proposed."""

    step: ClassVar[Step] = Step.PROPOSE
    caller: str
    id: str
    terms: common_pb2.AgreementTerms

    def content(self) -> Mapping[str, Content]:
        return {"terms": entries.canonical(self.terms)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """Another brand shows its PROPOSE, or its ACCEPT of ours."""

    step: ClassVar[Step] = Step.OFFER
    brand: str
    shown: Proven
    statement: common_pb2.Statement

    @property
    def caller(self) -> str:
        return self.brand

    @property
    def id(self) -> str:
        return f"offer/{self.shown.citation.index}"

    def content(self) -> Mapping[str, Content]:
        return {"leaf": self.shown.citation.leaf_hash}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """A manager accepts what another brand has offered."""

    step: ClassVar[Step] = Step.ACCEPT
    caller: str
    id: str
    agreement_id: str
    version: int

    def content(self) -> Mapping[str, Content]:
        return {"agreement_id": self.agreement_id, "version": self.version}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate:
    """A manager ends an agreement: no new quotes under it from the time clearing registers it."""

    step: ClassVar[Step] = Step.TERMINATE
    caller: str
    id: str
    agreement_id: str
    version: int

    def content(self) -> Mapping[str, Content]:
        return {"agreement_id": self.agreement_id, "version": self.version}


def _load_versions(rows: Rows, keys: Sequence[tuple[str, int]]) -> None:
    rows.load_where(agreements, "agreement_id", list(dict.fromkeys(name for name, _ in keys)))
    rows.load(agreements, keys)


# --- proposing ------------------------------------------------------------------------------


def _prefetch_propose(rules: Rules, rows: Rows, commands: Sequence[Propose]) -> None:
    _load_versions(rows, [(c.terms.agreement_id, c.terms.version) for c in commands])


def _propose(rules: Rules, batch: Batch, command: Propose) -> bytes:
    terms = common_pb2.AgreementTerms()
    terms.CopyFrom(command.terms)
    if not terms.salt:
        terms.salt = batch.random(entries.SALT_BYTES)
    if rules.participant not in (terms.issuer, terms.acceptor):
        raise Forbidden("A brand proposes agreements in which it takes part.", field="terms")
    arithmetic.check_terms(terms)
    _check_next(batch.rows, terms)
    body = pb.Propose(terms=terms)
    data = entries.encode(body, origin=rules.origin, at_us=batch.now_us)
    index = batch.append(data, kind="propose")
    batch.rows.put(agreements, _row(terms, state="PROPOSED", own_index=index, propose=b""))
    return entries.canonical(terms)


def _check_next(rows: Rows, terms: common_pb2.AgreementTerms) -> None:
    for row in rows.find(agreements, "agreement_id", terms.agreement_id):
        if row["version"] == terms.version:
            raise Conflict(
                f"Version {terms.version} of {terms.agreement_id} exists; propose the next one.",
                field="terms.version",
            )
        if (row["issuer"], row["acceptor"]) != (terms.issuer, terms.acceptor):
            raise Conflict(
                f"{terms.agreement_id} is the agreement of another pair; choose another id.",
                field="terms.agreement_id",
            )


def _row(
    terms: common_pb2.AgreementTerms, *, state: str, own_index: int, propose: bytes
) -> dict[str, Any]:
    return {
        "agreement_id": terms.agreement_id,
        "version": terms.version,
        "issuer": terms.issuer,
        "acceptor": terms.acceptor,
        "state": state,
        "terms": entries.canonical(terms),
        "digest": arithmetic.digest(terms),
        "own_index": own_index,
        "propose": propose,
        "terminate_index": -1,
        "active_from_us": 0,
        "active_until_us": 0,
    }


# --- being offered --------------------------------------------------------------------------


def _prefetch_offered(rules: Rules, rows: Rows, commands: Sequence[Offered]) -> None:
    proposed = [c.shown.entry.propose.terms for c in commands]
    _load_versions(rows, [(terms.agreement_id, terms.version) for terms in proposed])
    digests = [c.shown.entry.accept.terms_digest for c in commands]
    rows.load_where(agreements, "digest", [one for one in digests if one])


def _offered(rules: Rules, batch: Batch, command: Offered) -> bytes:
    entry = command.shown.entry
    match entry.WhichOneof("body"):
        case "propose":
            _take_offer(rules, batch.rows, command, entry.propose.terms)
        case "accept":
            _take_acceptance(rules, batch.rows, command, entry.accept)
        case "terminate":
            # Clearing's log ends it; the other brand is only polite.
            pass
        case _:
            raise Malformed("An agreement is offered as a PROPOSE or ACCEPT entry.")
    return b""


def _take_offer(
    rules: Rules, rows: Rows, command: Offered, terms: common_pb2.AgreementTerms
) -> None:
    if {terms.issuer, terms.acceptor} != {rules.participant, command.brand}:
        raise Forbidden("The offer is not between its sender and this brand.")
    arithmetic.check_terms(terms)
    _check_next(rows, terms)
    propose = command.statement.SerializeToString()
    rows.put(agreements, _row(terms, state="OFFERED", own_index=-1, propose=propose))


def _take_acceptance(rules: Rules, rows: Rows, command: Offered, accept: pb.Accept) -> None:
    for row in rows.find(agreements, "digest", accept.terms_digest):
        if row["state"] == "PROPOSED" and accept.propose.index == row["own_index"]:
            if command.brand not in (row["issuer"], row["acceptor"]):
                raise Forbidden("Only the brand to which it was proposed accepts an agreement.")
            rows.put(agreements, row | {"state": "ACCEPTED"})
            return
    if not rows.find(agreements, "digest", accept.terms_digest):
        raise BadStatement("Nothing with these terms was proposed here.")


# --- accepting and ending -------------------------------------------------------------------


def _prefetch_named(rules: Rules, rows: Rows, commands: Sequence[Accept | Terminate]) -> None:
    rows.load(agreements, [(c.agreement_id, c.version) for c in commands])


def _accept(rules: Rules, batch: Batch, command: Accept) -> bytes:
    row = _named(batch.rows, command)
    if row["state"] != "OFFERED":
        raise Conflict(f"This version is {row['state']}; only one on offer can be accepted.")
    statement = common_pb2.Statement.FromString(row["propose"])
    other = row["issuer"] if row["acceptor"] == rules.participant else row["acceptor"]
    origin = f"{rules.network}/{other}"
    body = pb.Accept(
        propose=entries.cite(origin, statement.index, statement.entry), terms_digest=row["digest"]
    )
    data = entries.encode(body, origin=rules.origin, at_us=batch.now_us)
    index = batch.append(data, kind="accept")
    batch.rows.put(agreements, row | {"state": "ACCEPTED", "own_index": index})
    return b""


def _terminate(rules: Rules, batch: Batch, command: Terminate) -> bytes:
    row = _named(batch.rows, command)
    if row["state"] != ACTIVE:
        raise Conflict(f"This version is {row['state']}; only an active one can be ended.")
    body = pb.Terminate(
        agreement_id=row["agreement_id"], version=row["version"], effective_at_us=batch.now_us
    )
    data = entries.encode(body, origin=rules.origin, at_us=batch.now_us)
    index = batch.append(data, kind="terminate")
    batch.rows.put(agreements, row | {"terminate_index": index})
    return b""


def _named(rows: Rows, command: Accept | Terminate) -> dict[str, Any]:
    row = rows.get(agreements, (command.agreement_id, command.version))
    if row is None:
        raise NotFound(
            f"There is no agreement {command.agreement_id} version {command.version} here.",
            field="agreement_id",
        )
    return row


HANDLERS: Handlers = {
    Propose: Handler(_prefetch_propose, _propose),
    Offered: Handler(_prefetch_offered, _offered),
    Accept: Handler(_prefetch_named, _accept),
    Terminate: Handler(_prefetch_named, _terminate),
}
