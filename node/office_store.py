"""What managers read to operate the programme, each answer from one read transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Table, select

from comity.errors import NotFound
from comity.ledger.store import read_head
from comity.v1 import member_pb2, office_pb2
from node.enrolment import ADMITTED, REFUSED, STATES, WAITING
from node.operation_tables import applications, invitations, webhooks
from node.store import PAGE_LIMIT, Page
from node.tables import devices


class OfficeStore:
    """The reading side of `node.operation_tables`."""

    def __init__(self, engine: Engine, ledger: str) -> None:
        self.engine = engine
        self.ledger = ledger

    # --- who joins --------------------------------------------------------------------

    def enrolment(self, enrolment_id: str, key_id: str) -> member_pb2.GetEnrolmentResponse:
        """What became of the enrolment with this id, or of this key. Raises NotFound."""
        with self.engine.connect() as connection:
            device = self._all(connection, devices, devices.c.key_id == key_id)
            asked = self._all(
                connection,
                applications,
                applications.c.key_id == key_id,
                order_by=(applications.c.asked_at_us.desc(),),
            )
        if device and not device[0]["revoked_at_us"]:
            return member_pb2.GetEnrolmentResponse(
                state=member_pb2.ENROLMENT_STATE_MEMBER, account=device[0]["account"]
            )
        for row in asked:
            if row["enrolment_id"] == enrolment_id and row["state"] != ADMITTED:
                refused = row["state"] == REFUSED
                return member_pb2.GetEnrolmentResponse(
                    state=member_pb2.ENROLMENT_STATE_REFUSED if refused else STATES[row["awaits"]],
                    account=row["account"],
                    reason_code=row["reason"],
                )
        raise NotFound("This key has not asked to join here.", field="id")

    def invitations(self, now_us: int, *, limit: int, cursor: str) -> Page:
        """All invitations, by code."""
        size = limit or PAGE_LIMIT
        with self.engine.connect() as connection:
            rows = self._all(
                connection,
                invitations,
                invitations.c.code > cursor,
                order_by=(invitations.c.code,),
                limit=size,
            )
        shown = [
            office_pb2.Invitation(
                code=row["code"],
                state="EXPIRED"
                if row["state"] == "VALID" and row["expires_at_us"] <= now_us
                else row["state"],
                made_at_us=row["made_at_us"],
                expires_at_us=row["expires_at_us"],
                made_by=row["made_by"],
                account=row["account"],
            )
            for row in rows
        ]
        return Page(shown, rows[-1]["code"] if len(rows) == size else "")

    def applications(self, *, limit: int, cursor: str) -> Page:
        """Enrolments that wait, by account."""
        size = limit or PAGE_LIMIT
        with self.engine.connect() as connection:
            rows = self._all(
                connection,
                applications,
                applications.c.state == WAITING,
                applications.c.account > cursor,
                order_by=(applications.c.account,),
                limit=size,
            )
        shown = [
            office_pb2.Application(
                account=row["account"],
                state=STATES[row["awaits"]],
                asked_at_us=row["asked_at_us"],
                profile=member_pb2.Profile(
                    name=row["name"],
                    email=row["email"],
                    birth_date=row["birth_date"],
                    region=row["region"],
                ),
            )
            for row in rows
        ]
        return Page(shown, rows[-1]["account"] if len(rows) == size else "")

    # --- webhooks ---------------------------------------------------------------------

    def webhooks(self) -> tuple[list[dict[str, Any]], int]:
        """The endpoints by name, and the log's size."""
        with self.engine.connect() as connection:
            rows = self._all(connection, webhooks, order_by=(webhooks.c.name,))
            return rows, read_head(connection, self.ledger).size

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
