"""What a node reads of its own tables, each answer from one read transaction.

Balances and lots are shown as of now: what has matured or expired counts, whether or not the
sweep has written it down yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Table, func, or_, select

from comity.errors import Malformed, NotFound, Unauthenticated
from comity.rpc.caller import CallerKind
from comity.serve.session_service import RegisteredKey
from comity.v1 import entry_pb2, member_pb2, merchant_pb2
from node import tables
from node.lots import Lot, as_of
from node.redemption_tables import agreements
from node.rewards import reward_message
from node.vouchers import voucher_message

PAGE_LIMIT = 100
"""Items in a page when the request does not say."""

_NUMBER: Final = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Page:
    """Some items, and where the next ones begin; an empty cursor after the last."""

    items: list[Any]
    next_cursor: str


class NodeStore:
    """The reading side of a node's own tables."""

    def __init__(self, engine: Engine, ledger: str) -> None:
        self.engine = engine
        self.ledger = ledger

    # --- members ----------------------------------------------------------------------

    def balances(self, account: str, now_us: int, *, device: str = "") -> list[member_pb2.Balance]:
        """The member's balances by unit, as of now.

        Like all reads of a member's own: with `device`, only while that key is good.
        """
        with self.engine.connect() as connection:
            self._member(connection, account, device)
            rows = self._all(connection, tables.accounts, tables.accounts.c.account == account)
            found = self._open_lots(connection, account)
        by_unit = {row["unit"]: [Lot.of(one) for one in found] for row in rows}
        for unit, some in by_unit.items():
            by_unit[unit] = [as_of(one, now_us) for one in some if one.unit == unit]
        return [_balance(row, by_unit[row["unit"]]) for row in rows]

    def lots(self, account: str, *, now_us: int, limit: int, cursor: str, device: str = "") -> Page:
        """The lots with points in them, the oldest first, as of now."""
        table, size = tables.lots, limit or PAGE_LIMIT
        where = [table.c.account == account, table.c.open == 1]
        if cursor:
            earned_at, lot = read_cursor(cursor)
            where.append(
                or_(
                    table.c.earned_at_us > earned_at,
                    (table.c.earned_at_us == earned_at) & (table.c.lot > lot),
                )
            )
        with self.engine.connect() as connection:
            self._member(connection, account, device)
            rows = self._all(
                connection, table, *where, order_by=(table.c.earned_at_us, table.c.lot), limit=size
            )
        last = rows[-1] if len(rows) == size else None
        shown = [as_of(Lot.of(row), now_us) for row in rows]
        return Page(
            [_lot(one) for one in shown if one.open],
            f"{last['earned_at_us']}/{last['lot']}" if last else "",
        )

    def activity(self, account: str, *, limit: int, cursor: str, device: str = "") -> Page:
        """The member's statement, newest entry first."""
        table, size = tables.postings, limit or PAGE_LIMIT
        where = [table.c.account == account]
        if cursor:
            where.append(table.c["index"] < _number(cursor))
        with self.engine.connect() as connection:
            self._member(connection, account, device)
            rows = self._all(
                connection, table, *where, order_by=(table.c["index"].desc(),), limit=size
            )
        last = rows[-1] if len(rows) == size else None
        return Page([_activity(row) for row in rows], str(last["index"]) if last else "")

    def devices(self, account: str, *, device: str = "") -> list[member_pb2.Device]:
        """The member's devices, the oldest first."""
        table = tables.devices
        with self.engine.connect() as connection:
            self._member(connection, account, device)
            rows = self._all(
                connection,
                table,
                table.c.account == account,
                order_by=(table.c.added_at_us, table.c.key_id),
            )
        return [
            member_pb2.Device(
                key_id=row["key_id"],
                public_key=row["public_key"],
                added_at_us=row["added_at_us"],
                revoked=row["revoked_at_us"] != 0,
            )
            for row in rows
        ]

    @contextmanager
    def member(self, account: str, *, device: str = "") -> Iterator[Connection]:
        """A connection to read what is a member's own. Raises as every such read does."""
        with self.engine.connect() as connection:
            self._member(connection, account, device)
            yield connection

    # --- keys -------------------------------------------------------------------------

    def registered_key(self, key_id: str) -> RegisteredKey | None:
        """Whose key this is: a member's device, a till, a manager, an auditor; None if nobody's."""
        with self.engine.connect() as connection:
            device = self._all(connection, tables.devices, tables.devices.c.key_id == key_id)
            person = self._all(connection, tables.staff, tables.staff.c.key_id == key_id)
        if device and not device[0]["revoked_at_us"]:
            return RegisteredKey(device[0]["public_key"], CallerKind.MEMBER, device[0]["account"])
        if person:
            kind = CallerKind(person[0]["role"])
            return RegisteredKey(person[0]["public_key"], kind, person[0]["name"])
        return None

    # --- the catalogue ----------------------------------------------------------------

    def rewards(self, *, limit: int, cursor: str) -> Page:
        """The rewards on offer, by id."""
        table, size = tables.rewards, limit or PAGE_LIMIT
        with self.engine.connect() as connection:
            rows = self._all(
                connection,
                table,
                table.c.active == 1,
                table.c.reward_id > cursor,
                order_by=(table.c.reward_id,),
                limit=size,
            )
        last = rows[-1]["reward_id"] if len(rows) == size else ""
        return Page([reward_message(row) for row in rows], last)

    def reward(self, reward_id: str) -> dict[str, Any] | None:
        """One reward's row, on offer or not."""
        with self.engine.connect() as connection:
            rows = self._all(connection, tables.rewards, tables.rewards.c.reward_id == reward_id)
        return rows[0] if rows else None

    def voucher(self, code: str) -> merchant_pb2.Voucher:
        """One voucher by its stored spelling. Raises NotFound."""
        with self.engine.connect() as connection:
            rows = self._all(connection, tables.vouchers, tables.vouchers.c.code == code)
        if not rows:
            raise NotFound("No voucher of this brand has this code.", field="code")
        return voucher_message(rows[0])

    def issuers(self, now_us: int) -> list[str]:
        """The brands whose points buy here now, by name."""
        table = agreements
        query = (
            select(table.c.issuer)
            .distinct()
            .where(
                table.c.ledger == self.ledger,
                table.c.acceptor == self.ledger,
                table.c.active_from_us <= now_us,
                table.c.active_until_us > now_us,
            )
            .order_by(table.c.issuer)
        )
        with self.engine.connect() as connection:
            return list(connection.execute(query).scalars())

    # --- totals -----------------------------------------------------------------------

    def totals(self) -> merchant_pb2.GetTotalsResponse:
        """The log's points by class, the number of members and of entries, at one head."""
        members, ledgers = tables.members, tables.metadata.tables["ledgers"]
        with self.engine.connect() as connection:
            rows = self._all(
                connection,
                tables.class_totals,
                order_by=(tables.class_totals.c.unit, tables.class_totals.c.account_class),
            )
            count = connection.execute(
                select(func.count()).where(
                    members.c.ledger == self.ledger, members.c.erased_at_us == 0
                )
            ).scalar_one()
            size = connection.execute(
                select(ledgers.c.size).where(ledgers.c.ledger == self.ledger)
            ).scalar_one()
        answer = merchant_pb2.GetTotalsResponse(members=count, entries=size)
        for row in rows:
            account_class = entry_pb2.AccountClass.ValueType(row["account_class"])
            answer.totals.add(unit=row["unit"], account_class=account_class, points=row["points"])
        return answer

    # --- inside -----------------------------------------------------------------------

    def _all(
        self,
        connection: Connection,
        table: Table,
        *where: ColumnElement[bool],
        order_by: tuple[ColumnElement[Any], ...] = (),
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        columns = [column for column in table.c if column.name != "ledger"]
        query = select(*columns).where(table.c.ledger == self.ledger, *where)
        found = connection.execute(query.order_by(*order_by).limit(limit))
        return [dict(row) for row in found.mappings()]

    def _open_lots(self, connection: Connection, account: str) -> list[dict[str, Any]]:
        table = tables.lots
        return self._all(connection, table, table.c.account == account, table.c.open == 1)

    def _member(self, connection: Connection, account: str, device: str) -> None:
        """Raises NotFound for no such member, Unauthenticated if `device` is not one's any more.

        A session outlives its device by minutes; what it may read must not.
        """
        table, keys = tables.members, tables.devices
        rows = self._all(connection, table, table.c.account == account)
        if not rows or rows[0]["erased_at_us"]:
            raise NotFound(f"There is no member {account} here.")
        if device:
            found = self._all(connection, keys, keys.c.key_id == device)
            if not found or found[0]["revoked_at_us"]:
                raise Unauthenticated("This device was revoked; use another device of the member.")


def _balance(row: Mapping[str, Any], lots: list[Lot]) -> member_pb2.Balance:
    ending = [one for one in lots if one.expires_at_us and one.available]
    first = min((one.expires_at_us for one in ending), default=0)
    return member_pb2.Balance(
        unit=row["unit"],
        pending=sum(one.pending for one in lots),
        available=sum(one.available for one in lots),
        held=row["held"],
        debt=row["debt"],
        next_expiry_points=sum(one.available for one in ending if one.expires_at_us == first),
        next_expiry_at_us=first,
    )


def _lot(lot: Lot) -> member_pb2.Lot:
    return member_pb2.Lot(
        lot=lot.lot,
        unit=lot.unit,
        earned=lot.earned,
        pending=lot.pending,
        available=lot.available,
        held=lot.held,
        earned_at_us=lot.earned_at_us,
        available_at_us=lot.available_at_us,
        expires_at_us=lot.expires_at_us,
    )


def _activity(row: Mapping[str, Any]) -> member_pb2.Activity:
    return member_pb2.Activity(
        index=row["index"],
        at_us=row["at_us"],
        entry=row["entry"],
        unit=row["unit"],
        pending=row["pending"],
        available=row["available"],
        held=row["held"],
        reference=row["reference"],
    )


def _number(cursor: str) -> int:
    if not _NUMBER.fullmatch(cursor):
        raise Malformed("The cursor is not one of ours; start from the first page.", field="cursor")
    return int(cursor)


def read_cursor(cursor: str) -> tuple[int, str]:
    """The two parts of a cursor `number/name`. Raises Malformed."""
    number, _, name = cursor.partition("/")
    return _number(number), name
