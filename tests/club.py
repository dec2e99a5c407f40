"""A club under test: a programme with levels, growth, points, badges and tags, on one ledger."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

from comity.clock import DAY
from comity.ledger.engine import open_engine
from comity.v1 import entry_pb2
from comity.v1 import programme_pb2 as pb
from comity.verify.database import database
from node.commands import ConvertPoints, RecordEvent, SetMark
from node.programme import Programme
from tests.brand import LEDGER, Brand, signing_key

START_US = 1_767_225_600_000_000
"""2026-01-01 00:00 UTC, a Thursday."""

HOUR = DAY // 24


def content(**changes: Any) -> dict[str, Any]:
    """A programme of everything, in UTC: one point and one growth for each euro; and `changes`."""
    return {
        "version": "1",
        "name": "Club",
        "zone": "UTC",
        "currency": "EUR",
        "units": {
            "points": {"kind": "hard", "expiry": {"calendar_years": 1}, "clawback": "debt"},
            "growth": {"kind": "growth", "expiry": {"months": 12}},
        },
        "main": "points",
        "events": {
            "sign_in": {"title": "Sign in"},
            "review": {"attributes": {"stars": "number"}},
            "refused_delivery": {},
        },
        "earn": {
            "spend": {"on": "purchase", "rate": {"points": 1, "per_minor": 100}},
            "growth": {
                "on": "purchase",
                "unit": "growth",
                "rate": {"points": 1, "per_minor": 100},
                "pending": False,
            },
            "sign-in": {
                "on": "sign_in",
                "points": 10,
                "limits": [{"times": 1, "per": "day"}],
                "source": "activity",
            },
            "present": {
                "on": "sign_in",
                "unit": "growth",
                "points": 2,
                "limits": [{"points": 6, "per": "week"}],
                "source": "activity",
            },
            "refused": {"on": "refused_delivery", "points": -50},
        },
        "tiers": {
            "levels": [
                {"id": "member", "benefits": ["welcome"]},
                {"id": "silver", "reach": [{"growth": 100}], "benefits": ["welcome", "delivery"]},
                {"id": "gold", "reach": [{"growth": 500}], "benefits": ["delivery", "assistant"]},
            ],
            "downgrade": "at_once",
        },
        "benefits": {
            "welcome": {"title": "A coffee", "kind": "spiritual"},
            "delivery": {"title": "Free delivery"},
            "assistant": {"title": "An assistant", "kind": "auxiliary"},
        },
        "badges": {
            "regular": {"title": "Regular", "when": "member.purchases >= 3"},
            "founder": {"title": "Founder"},
        },
        "tags": {"big": {"when": "member.spend_minor >= 10000"}},
        "conversions": {
            "growth-to-points": {
                "from_unit": "growth",
                "into_unit": "points",
                "points": 10,
                "into_points": 1,
                "multiple": 10,
            }
        },
    } | changes


class Club(Brand):
    """A brand with such a programme, in a file, so that it can be verified as a stranger would."""

    def __init__(self, folder: Path, programme: dict[str, Any] | None = None) -> None:
        self.path = folder / "club.db"
        super().__init__(
            Programme.model_validate(programme or content()),
            engine=open_engine(f"sqlite:///{self.path}"),
            now_us=START_US,
        )
        weakref.finalize(self, self.engine.dispose)

    def happen(
        self, account: str, kind: str, *, event_id: str = "", at_us: int = 0, **said: Any
    ) -> dict[str, int]:
        """Report an event; what it earned by unit."""
        command = RecordEvent(
            event_id=event_id or self.new_id(),
            account=account,
            type=kind,
            occurred_at_us=at_us,
            attributes=tuple(said.items()),
        )
        found = self.ask(command, pb.EventResult)
        return {one.unit.partition("/")[2]: one.points for one in found.points}

    def mark(self, account: str, kind: int, name: str, *, given: bool = True) -> None:
        self.do(
            SetMark(
                caller="manager:ann",
                id=self.new_id(),
                account=account,
                kind=kind,
                name=name,
                given=given,
                reason_code="by-hand",
            )
        )

    def convert(self, account: str, points: int, *, name: str = "alice") -> int:
        command = ConvertPoints(
            caller=account,
            id=self.new_id(),
            account=account,
            acting_key=f"key_{signing_key(name).public.key_id}",
            conversion="growth-to-points",
            points=points,
        )
        return self.ask(command, pb.ConvertPointsResponse).into_points

    # --- looking ----------------------------------------------------------------------

    def has(self, account: str) -> dict[str, int]:
        """What is available now, by unit."""
        found = self.store.balances(account, self.now_us)
        return {one.unit.partition("/")[2]: one.available for one in found}

    def level(self, account: str) -> str:
        return next((row["level"] for row in self.rows("ranks") if row["account"] == account), "")

    def marks(self, account: str) -> set[str]:
        return {row["name"] for row in self.rows("marks") if row["account"] == account}

    def given(self) -> list[entry_pb2.MarkOpening]:
        """Every mark in the log, in order."""
        return [
            mark
            for one in self.entries()
            for mark in entry_pb2.EntryOpening.FromString(one.opening or b"").marks
        ]

    def check(self) -> None:
        """A stranger recomputes every balance, lot, level and mark from the log."""
        report = database(self.path, ledger=LEDGER)
        assert report.passed, report.rows()
