"""What managers and members read of adjustments, switches and claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Engine, or_, select

from comity.errors import Malformed
from comity.v1 import office_pb2
from node.claims import WAITING, claim_message
from node.freeze import BURN_FREEZE
from node.operation_tables import adjustments, claims, switches
from node.store import PAGE_LIMIT, Page

_STATES: Final[Mapping[str, office_pb2.AdjustmentState.ValueType]] = {
    "WAITING": office_pb2.ADJUSTMENT_STATE_WAITING,
    "DONE": office_pb2.ADJUSTMENT_STATE_DONE,
    "REJECTED": office_pb2.ADJUSTMENT_STATE_REJECTED,
}


class DeskStore:
    """The reading side of what staff decide about single members."""

    def __init__(self, engine: Engine, ledger: str) -> None:
        self.engine = engine
        self.ledger = ledger

    def adjustments(self, now_us: int, *, waiting: bool, limit: int, cursor: str) -> Page:
        """Adjustments, the newest first."""
        table, size = adjustments, limit or PAGE_LIMIT
        where = [table.c.ledger == self.ledger]
        if waiting:
            where += [table.c.state == "WAITING", table.c.expires_at_us > now_us]
        if cursor:
            at_us, name = _place(cursor)
            where.append(
                or_(
                    table.c.proposed_at_us < at_us,
                    (table.c.proposed_at_us == at_us) & (table.c.adjustment_id < name),
                )
            )
        order = (table.c.proposed_at_us.desc(), table.c.adjustment_id.desc())
        with self.engine.connect() as connection:
            query = select(table).where(*where).order_by(*order).limit(size)
            rows = [dict(row) for row in connection.execute(query).mappings()]
        last = rows[-1] if len(rows) == size else None
        return Page(
            [_adjustment(row, now_us) for row in rows],
            f"{last['proposed_at_us']}/{last['adjustment_id']}" if last else "",
        )

    def burn_freeze(self) -> Mapping[str, Any] | None:
        """What staff have switched, if they ever have."""
        table = switches
        query = select(table).where(table.c.ledger == self.ledger, table.c.name == BURN_FREEZE)
        with self.engine.connect() as connection:
            found = connection.execute(query).mappings().one_or_none()
            return None if found is None else dict(found)

    def waiting_claims(self, *, limit: int, cursor: str) -> Page:
        """Claims that wait, by id."""
        table, size = claims, limit or PAGE_LIMIT
        query = (
            select(table)
            .where(
                table.c.ledger == self.ledger,
                table.c.state == WAITING,
                table.c.claim_id > cursor,
            )
            .order_by(table.c.claim_id)
            .limit(size)
        )
        with self.engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return Page(
            [claim_message(row) for row in rows],
            rows[-1]["claim_id"] if len(rows) == size else "",
        )

    def claims_of(self, account: str) -> list[Any]:
        """A member's newest claims."""
        table = claims
        query = (
            select(table)
            .where(table.c.ledger == self.ledger, table.c.account == account)
            .order_by(table.c.claimed_at_us.desc(), table.c.claim_id)
            .limit(PAGE_LIMIT)
        )
        with self.engine.connect() as connection:
            return [claim_message(dict(row)) for row in connection.execute(query).mappings()]

    def claim(self, claim_id: str) -> Mapping[str, Any] | None:
        """One claim's row."""
        table = claims
        query = select(table).where(table.c.ledger == self.ledger, table.c.claim_id == claim_id)
        with self.engine.connect() as connection:
            found = connection.execute(query).mappings().one_or_none()
            return None if found is None else dict(found)


def _adjustment(row: Mapping[str, Any], now_us: int) -> office_pb2.PointsAdjustment:
    late = row["state"] == "WAITING" and row["expires_at_us"] <= now_us
    return office_pb2.PointsAdjustment(
        adjustment_id=row["adjustment_id"],
        account=row["account"],
        points=row["points"],
        reason_code=row["reason_code"],
        state=office_pb2.ADJUSTMENT_STATE_EXPIRED if late else _STATES[row["state"]],
        proposed_by=row["proposed_by"],
        proposed_at_us=row["proposed_at_us"],
        decided_by=row["decided_by"],
        decided_at_us=row["decided_at_us"],
        index=max(row["index"], 0),
    )


def _place(cursor: str) -> tuple[int, str]:
    number, _, name = cursor.partition("/")
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        raise Malformed("The cursor is not one of ours; start from the first page.", field="cursor")
    return int(number), name
