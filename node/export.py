"""Everything a brand holds on one member, section by section, as JSON.

Every table with a column `account` is a section, so that nothing can be forgotten: a new table is
exported the day it appears. `earnings` are what the rules gave for the member's events. The
section `statements` has the log's own entries on the account, each as a proof that verifies
offline, with the openings of this member's part and no other's.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import json_format
from sqlalchemy import ColumnElement, Connection, Engine, Table, select

from comity.errors import Malformed, NotFound
from comity.ledger import schema, statements
from comity.ledger.store import LedgerStore
from comity.v1 import entry_pb2, member_pb2
from comity.v1.programme_pb2 import EventDetails
from node.event_tables import earnings, events
from node.tables import members, metadata, postings

PAGE: Final = 200
STATEMENTS: Final = "statements"


def sections() -> list[str]:
    """What an export consists of, in order."""
    first = ["members", "profiles", "devices", "accounts"]
    return [*first, *sorted(set(_tables()) - set(first)), STATEMENTS]


def _tables() -> Mapping[str, Table]:
    about = {name: table for name, table in metadata.tables.items() if "account" in table.c}
    return about | {earnings.name: earnings}


class Export:
    """Reads what is held on a member, a page at a time."""

    def __init__(self, engine: Engine, ledger: LedgerStore) -> None:
        self._engine = engine
        self._ledger = ledger

    def page(self, account: str, cursor: str) -> member_pb2.ExportPage:
        """The part at a cursor, the first one for an empty one. Raises NotFound, Malformed."""
        section, _, offset = (cursor or f"{sections()[0]}/0").partition("/")
        if section not in sections() or not offset.isascii() or not offset.isdigit():
            raise Malformed(
                "The cursor is not one of ours; start from the first page.", field="cursor"
            )
        with self._engine.connect() as connection:
            self._require(connection, account)
            if section == STATEMENTS:
                found = self._statements(connection, account, int(offset[:12]))
            else:
                found = self._rows(connection, _tables()[section], account, int(offset[:12]))
        return member_pb2.ExportPage(
            section=section,
            json=json.dumps(found, ensure_ascii=False),
            next_cursor=_next(section, int(offset[:12]), len(found)),
        )

    def _require(self, connection: Connection, account: str) -> None:
        query = select(members.c.erased_at_us).where(
            members.c.ledger == self._ledger.ledger, members.c.account == account
        )
        erased = connection.execute(query).scalar_one_or_none()
        if erased is None or erased:
            raise NotFound(f"There is no member {account} here.", field="account")

    def _rows(
        self, connection: Connection, table: Table, account: str, offset: int
    ) -> list[dict[str, Any]]:
        columns = [column for column in table.c if column.name != "ledger"]
        query = (
            select(*columns)
            .where(table.c.ledger == self._ledger.ledger, self._about(table, account))
            .order_by(*table.primary_key.columns)
            .offset(offset)
            .limit(PAGE)
        )
        return [
            {str(name): _plain(str(name), value) for name, value in row.items()}
            for row in connection.execute(query).mappings()
        ]

    def _about(self, table: Table, account: str) -> ColumnElement[bool]:
        if table is not earnings:
            return table.c.account == account
        own = select(events.c.event_id).where(
            events.c.ledger == self._ledger.ledger, events.c.account == account
        )
        return earnings.c.event_id.in_(own)

    def _statements(
        self, connection: Connection, account: str, offset: int
    ) -> list[dict[str, Any]]:
        query = (
            select(postings.c["index"])
            .distinct()
            .where(postings.c.ledger == self._ledger.ledger, postings.c.account == account)
            .order_by(postings.c["index"])
            .offset(offset)
            .limit(PAGE)
        )
        indices = list(connection.execute(query).scalars())
        if not indices:
            return []
        openings = select(
            schema.entries.c["index"].label("index_"), schema.entries.c.opening
        ).where(
            schema.entries.c.ledger == self._ledger.ledger, schema.entries.c["index"].in_(indices)
        )
        opened = {row.index_: row.opening for row in connection.execute(openings)}
        proven = self._ledger.prove(indices)
        return [
            {
                "index": one.index,
                "statement": statements.to_tlog_proof(
                    statements.make(
                        one.body,
                        index=one.index,
                        hashes=one.path,
                        checkpoint=proven.head.note,
                    )
                ),
                "legs": _own_legs(opened[one.index], account),
            }
            for one in proven.entries
        ]


def _own_legs(opening: bytes | None, account: str) -> list[dict[str, Any]]:
    """The openings of this member's legs, with their places in the entry."""
    found = entry_pb2.EntryOpening.FromString(opening or b"")
    return [
        {"leg": at, **json_format.MessageToDict(leg, preserving_proto_field_name=True)}
        for at, leg in enumerate(found.legs)
        if leg.account == account
    ]


def _next(section: str, offset: int, count: int) -> str:
    if count == PAGE:
        return f"{section}/{offset + PAGE}"
    names = sections()
    at = names.index(section) + 1
    return f"{names[at]}/0" if at < len(names) else ""


def _plain(name: str, value: Any) -> Any:
    if name == "details":
        details = EventDetails.FromString(value)
        return json_format.MessageToDict(details, preserving_proto_field_name=True)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
