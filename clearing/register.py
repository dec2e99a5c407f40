"""The register of agreements: put in force, superseded and ended on the statements of both brands.

Clearing's log names terms by their digest only; the terms themselves stand in the table, where
every figure of a claim is recomputed from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clearing import record, tables
from clearing.commands import EndAgreement, PutInForce
from comity.errors import Conflict, Forbidden, Malformed, NotFound
from comity.ledger import entries
from comity.ledger.command import Batch
from comity.ledger.rows import Rows
from comity.terms import agreements
from comity.v1.common_pb2 import Citation
from comity.v1.entry_pb2 import Agreement

Row = dict[str, Any]


def prefetch(rows: Rows, wanted: Sequence[PutInForce | EndAgreement]) -> None:
    """Load every version of the agreements named."""
    rows.load_where(tables.agreements, "agreement_id", [c.agreement_id for c in wanted])
    versions = [
        (command.agreement_id, command.terms.version)
        for command in wanted
        if isinstance(command, PutInForce)
    ]
    rows.load(tables.agreements, versions)
    parties = [
        (name,)
        for command in wanted
        if isinstance(command, PutInForce)
        for name in (command.terms.issuer, command.terms.acceptor)
    ]
    rows.load(tables.participants, parties)


def put_in_force(batch: Batch, command: PutInForce, *, origin: str, network: str) -> bytes:
    """Register a version which both brands signed; the same one again gets the same answer.

    1. PROPOSE and ACCEPT stand in the logs of the two brands, one in each
    2. the ACCEPT is of exactly that PROPOSE and those terms
    3. the terms are ones that any party may offer, between participants
    4. the version is new, and follows the versions of the same pair
    5. it supersedes the versions before it when it becomes valid, and not before now
    """
    terms, rows = command.terms, batch.rows
    # 1. Both brands.
    signed = {command.propose.citation.origin, command.accept.citation.origin}
    if signed != {f"{network}/{terms.issuer}", f"{network}/{terms.acceptor}"}:
        raise Forbidden("The two parties of the agreement, and nobody else, propose and accept it.")
    # 2. The same thing.
    accept = command.accept.entry.accept
    if not entries.same(accept.propose, command.propose.citation):
        raise Malformed("The ACCEPT cites another PROPOSE.", field="accept")
    digest = agreements.digest(terms)
    if accept.terms_digest != digest:
        raise Malformed("The ACCEPT names other terms.", field="accept")
    # 3. Acceptable terms.
    agreements.check_terms(terms)
    for name in (terms.issuer, terms.acceptor):
        if rows.get(tables.participants, (name,)) is None:
            raise NotFound(f"{name} is not a participant of this network.")
    # 4. The next version.
    before = rows.get(tables.agreements, (terms.agreement_id, terms.version))
    if before is not None and before["digest"] != digest:
        raise Conflict(
            f"Version {terms.version} of {terms.agreement_id} has other terms; "
            "propose the next version.",
            field="version",
        )
    if before is not None and before["terms"]:
        return record.answer(before["entry_index"])
    earlier = [
        row
        for row in rows.find(tables.agreements, "agreement_id", terms.agreement_id)
        if row["version"] != terms.version
    ]
    _check_follows(earlier, terms)
    if before is not None:
        # Known by its AGREEMENT entry alone, after a recovery.
        rows.put(tables.agreements, before | {"terms": entries.canonical(terms)})
        return record.answer(before["entry_index"])
    # 5. In force.
    supersede(rows, earlier, valid_from_us=terms.valid_from_us, at_us=batch.now_us)
    body = Agreement(
        issuer=terms.issuer,
        acceptor=terms.acceptor,
        agreement_id=terms.agreement_id,
        version=terms.version,
        terms_digest=digest,
        propose=command.propose.citation,
        accept=command.accept.citation,
        valid_from_us=terms.valid_from_us,
        valid_until_us=terms.valid_until_us,
    )
    data = entries.encode(body, origin=origin, at_us=batch.now_us)
    index = batch.append(data, kind="agreement")
    rows.put(tables.agreements, agreement_row(body, entries.canonical(terms), index))
    return record.answer(index)


def end(batch: Batch, command: EndAgreement, *, origin: str) -> bytes:
    """End an agreement, all its versions, at the time its TERMINATE states and not before now."""
    rows = batch.rows
    terminate = command.terminate.entry.terminate
    versions = rows.find(tables.agreements, "agreement_id", terminate.agreement_id)
    named = next((row for row in versions if row["version"] == terminate.version), None)
    if named is None:
        raise NotFound(
            f"Agreement {terminate.agreement_id} version {terminate.version} is not in force."
        )
    if command.signatory not in (named["issuer"], named["acceptor"]):
        raise Forbidden("Only its two parties end an agreement.")
    if named["terminate_leaf"] == command.terminate.citation.leaf_hash:
        return record.answer(named["terminate_index"])
    ends_us = max(terminate.effective_at_us, batch.now_us)
    body = Agreement(
        issuer=named["issuer"],
        acceptor=named["acceptor"],
        agreement_id=named["agreement_id"],
        version=named["version"],
        terms_digest=named["digest"],
        propose=Citation.FromString(named["propose"]),
        terminate=command.terminate.citation,
        valid_from_us=named["valid_from_us"],
        valid_until_us=min(named["ends_us"], ends_us),
    )
    data = entries.encode(body, origin=origin, at_us=batch.now_us)
    index = batch.append(data, kind="agreement")
    put_ended(rows, versions, body, index)
    return record.answer(index)


def supersede(rows: Rows, earlier: Sequence[Row], *, valid_from_us: int, at_us: int) -> None:
    """Let a later version take over when it becomes valid, and not before `at_us`."""
    for row in earlier:
        ends_us = min(row["ends_us"], max(valid_from_us, at_us))
        rows.put(tables.agreements, row | {"ends_us": ends_us})


def put_ended(rows: Rows, versions: Sequence[Row], body: Agreement, index: int) -> None:
    """Change every version for an AGREEMENT entry which ends them."""
    for row in versions:
        ended = row | {"ends_us": min(row["ends_us"], body.valid_until_us)}
        if row["version"] == body.version:
            ended |= {"terminate_leaf": body.terminate.leaf_hash, "terminate_index": index}
        rows.put(tables.agreements, ended)


def agreement_row(body: Agreement, terms: bytes, index: int) -> Row:
    """The row of a version as its AGREEMENT entry puts it in force."""
    return {
        "agreement_id": body.agreement_id,
        "version": body.version,
        "issuer": body.issuer,
        "acceptor": body.acceptor,
        "terms": terms,
        "digest": body.terms_digest,
        "valid_from_us": body.valid_from_us,
        "ends_us": body.valid_until_us,
        "propose": entries.canonical(body.propose),
        "entry_index": index,
        "terminate_leaf": None,
        "terminate_index": None,
    }


def _check_follows(earlier: Sequence[Row], terms: Any) -> None:
    for row in earlier:
        if (row["issuer"], row["acceptor"]) != (terms.issuer, terms.acceptor):
            raise Conflict(
                f"{terms.agreement_id} is the agreement of another pair; choose another id.",
                field="agreement_id",
            )
        if row["version"] > terms.version:
            raise Conflict(
                f"Version {row['version']} is registered already; propose a later one.",
                field="version",
            )
