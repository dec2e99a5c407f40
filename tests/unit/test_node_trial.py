"""A node beside a book in memory: the same events make the same member, at every step.

The node keeps lots in rows, entries in a log and due times in columns; the book keeps one member in
a few dictionaries. Whatever happens, in whatever order, they agree on every balance, the level and
the marks, after every event and at every moment when something is due by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from comity.clock import DAY, HOUR
from comity.errors import ComityError
from comity.v1 import entry_pb2
from node.commands import ConvertPoints, RecordEvent, RecordPurchase, RefundPurchase
from node.programme import Programme, marks, presets, read_programme
from node.programme.facts import Event, Line
from node.programme.trial import Book
from tests.brand import signing_key
from tests.club import Club, content

KINDS = {
    entry_pb2.MARK_KIND_BADGE: "badge",
    entry_pb2.MARK_KIND_TITLE: "title",
    entry_pb2.MARK_KIND_TAG: "tag",
}


@dataclass(frozen=True, slots=True)
class Step:
    kind: str
    number: int
    choice: int


class Twins:
    """One member at a node and in a book."""

    def __init__(self, programme: Programme, folder: Path) -> None:
        self.programme = programme
        self.brand = Club(folder, programme.model_dump())
        self.account = self.brand.enrol()
        self.book = Book(programme, enrolled_at_us=self.brand.now_us)
        self.bought: list[tuple[str, tuple[int, ...], int]] = []
        self.count = 0
        self.compare("enrolled")

    # --- what happens -----------------------------------------------------------------------

    def live(self, step: Step) -> None:
        self.count += 1
        self.wait(HOUR // 4)
        match step.kind:
            case "buy":
                self.buy(step)
            case "event":
                self.happen(step)
            case "refund":
                self.refund(step)
            case "take":
                self.take(step)
            case "convert":
                self.convert(step)
            case _:
                self.wait(step.number % 60 * DAY)
        self.compare(f"step {self.count}: {step}")

    def wait(self, time_us: int) -> None:
        """Time passes; the sweep comes whenever something is due."""
        target_us = self.brand.now_us + time_us
        while 0 < (due_us := self.book.due_at_us()) <= target_us:
            self.brand.now_us = due_us
            while self.brand.sweep():
                pass
            self.book.advance(due_us)
            self.compare("something was due")
        self.brand.now_us = target_us
        self.book.advance(target_us)

    def buy(self, step: Step) -> None:
        lines = tuple(step.number // part + 1 for part in range(1, step.choice % 3 + 2))
        name = f"purchase {self.count}"
        self.brand.do(
            RecordPurchase(
                purchase_id=name,
                account=self.account,
                currency=self.programme.currency,
                minor=sum(lines),
                lines=tuple((one, "", "") for one in lines),
            )
        )
        self.book.record(
            Event(
                id=name,
                type="purchase",
                at_us=self.brand.now_us,
                amount_minor=sum(lines),
                lines=tuple(Line(amount_minor=one) for one in lines),
            )
        )
        self.bought.append((name, lines, len(self.bought)))

    def happen(self, step: Step) -> None:
        if not self.programme.events:
            return
        kind = sorted(self.programme.events)[step.choice % len(self.programme.events)]
        values: dict[str, Any] = {
            "text": ("", "gold", "executive")[step.number % 3],
            "number": step.number % 300,
            "truth": bool(step.number % 2),
        }
        said = {
            name: values[type_] for name, type_ in self.programme.events[kind].attributes.items()
        }
        name = f"event {self.count}"
        self.brand.do(
            RecordEvent(
                event_id=name, account=self.account, type=kind, attributes=tuple(said.items())
            )
        )
        self.book.record(Event(id=name, type=kind, at_us=self.brand.now_us, attributes=said))

    def refund(self, step: Step) -> None:
        if not self.bought:
            return
        at = step.choice % len(self.bought)
        name, left, place = self.bought[at]
        left = tuple(one * (step.number % 3) // 2 for one in left)
        if sum(left) == sum(self.bought[at][1]):
            return
        whole = self.book.event(name).amount_minor
        self.brand.do(
            RefundPurchase(
                caller="till:front",
                id=f"refund {self.count}",
                purchase_id=name,
                currency=self.programme.currency,
                cumulative_minor=whole - sum(left),
                kept_lines=left,
            )
        )
        self.book.refund(name, kept_minor=sum(left), kept_lines=left)
        self.bought[at] = (name, left, place)

    def take(self, step: Step) -> None:
        main = self.programme.main_unit
        points = min(step.number, self.book.balance(main)) if main else 0
        if points:
            self.brand.adjust(self.account, -points)
            self.book.spend(f"spend {self.count}", main, points)

    def convert(self, step: Step) -> None:
        if not self.programme.conversions:
            return
        names = sorted(self.programme.conversions)
        name = names[step.choice % len(names)]
        conversion = self.programme.conversions[name]
        points = max(conversion.minimum, conversion.multiple)
        answers: list[str] = []
        for ask in (
            lambda: self.brand.do(
                ConvertPoints(
                    caller=self.account,
                    id=f"convert {self.count}",
                    account=self.account,
                    acting_key=f"key_{signing_key('alice').public.key_id}",
                    conversion=name,
                    points=points,
                )
            ),
            lambda: self.book.convert(name, points),
        ):
            try:
                ask()
                answers.append("")
            except ComityError as error:
                answers.append(type(error).__name__)
        assert answers[0] == answers[1]

    # --- agreeing ---------------------------------------------------------------------------

    def compare(self, when: str) -> None:
        assert self.of_node() == self.of_book(), when

    def of_node(self) -> dict[str, Any]:
        brand = self.brand
        found: dict[str, Any] = dict.fromkeys(self.programme.units, (0, 0, 0))
        for one in brand.store.balances(self.account, brand.now_us):
            found[one.unit.partition("/")[2]] = (one.pending, one.available, abs(one.debt))
        rank = next((row for row in brand.rows("ranks") if row["level"]), None)
        found["rank"] = (rank["level"], rank["since_us"], rank["until_us"]) if rank else None
        found["marks"] = {(KINDS[row["kind"]], row["name"]) for row in brand.rows("marks")}
        return found

    def of_book(self) -> dict[str, Any]:
        book, facts = self.book, self.book.facts()
        found: dict[str, Any] = {
            unit: (book.pending(unit), book.balance(unit), book.debt(unit))
            for unit in self.programme.units
        }
        rank = facts.rank
        found["rank"] = (rank.level, rank.since_us, rank.until_us) if rank else None
        found["marks"] = (
            {("badge", name) for name in facts.badges}
            | {("title", name) for name in facts.titles}
            | {("tag", name) for name in facts.tags}
        )
        return found


def anybody(programme: Programme) -> Programme:
    """The programme, open to a member of whom nothing is known."""
    return Programme.model_validate(programme.model_dump() | {"enrolment": {}})


PROGRAMMES = {
    name: anybody(read_programme(presets.programme(name)).programme) for name in presets.names()
} | {
    "club": Programme.model_validate(content()),
    "club with a return window": Programme.model_validate(content(return_window_days=14)),
}

VERBS = ("buy", "buy", "event", "event", "refund", "take", "convert", "wait")


@pytest.mark.row("P25")
@pytest.mark.parametrize("seed", range(1))
@pytest.mark.parametrize("name", PROGRAMMES)
def test_a_node_and_a_book_agree_on_every_member(name: str, seed: int, tmp_path: Path) -> None:
    random = Random(f"{name} {seed}")
    twins = Twins(PROGRAMMES[name], tmp_path)
    for _ in range(30):
        most = random.choice((300, 3_000, 60_000, 3_000_000))
        twins.live(Step(random.choice(VERBS), random.randrange(most), random.randrange(8)))
    daily = marks.next_review_at(twins.programme, now_us=twins.brand.now_us)
    twins.wait((30 if daily else 400) * DAY)
    twins.brand.check()
