"""What expressions look at, made from plain facts: the variables `event`, `member` and `local`."""

from __future__ import annotations

from calendar import isleap
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from google.protobuf.message import Message

from comity.clock import SECOND
from comity.v1.facts_pb2 import EventFacts, LineFacts, LocalFacts, MemberFacts
from node.programme.calendar import add_months, local_day
from node.programme.lifecycle import state

if TYPE_CHECKING:
    from node.programme.facts import Event, Facts
    from node.programme.model import Programme


class Situation:
    """A member, a moment, and the event if there is one; made once and asked many conditions."""

    def __init__(
        self, programme: Programme, facts: Facts, event: Event | None = None, *, now_us: int
    ) -> None:
        """The moment is the event's, or `now_us` where there is none."""
        self._programme = programme
        self._facts = facts
        self._event = event
        self._at_us = event.at_us if event is not None else now_us
        self._made: dict[str, Message] = {}
        self.seen: dict[object, Any] = {}
        """What `expressions` keeps for those that ask again."""

    def variables(self, names: Iterable[str]) -> dict[str, Message]:
        """The variables of these names; each is made when it is first asked for."""
        for name in names:
            if name not in self._made:
                self._made[name] = _MAKE[name](self)
        return self._made

    def _event_facts(self) -> EventFacts:
        event, attributes = self._event, self._programme.attributes
        if event is None:
            return EventFacts()
        given = event.attributes
        return EventFacts(
            type=event.type,
            amount_minor=event.amount_minor,
            store=event.store,
            lines=[
                LineFacts(
                    amount_minor=line.amount_minor, category=line.category, product=line.product
                )
                for line in event.lines
            ],
            text={name: str(given.get(name, "")) for name in attributes["text"]},
            number={name: int(given.get(name, 0)) for name in attributes["number"]},
            truth={name: bool(given.get(name, False)) for name in attributes["truth"]},
        )

    def _member(self) -> MemberFacts:
        programme, facts, at_us = self._programme, self._facts, self._at_us
        activity, enrolled_at_us = facts.activity, facts.enrolled_at_us
        level = facts.rank.level if facts.rank is not None else ""
        return MemberFacts(
            days=self._days_since(enrolled_at_us),
            region=facts.region,
            state=state(programme, activity, enrolled_at_us=enrolled_at_us, now_us=at_us),
            level=level,
            rank=programme.position(level),
            balance={name: facts.balances.get(name, 0) for name in programme.units},
            purchases=activity.purchases,
            spend_minor=activity.spend_minor,
            days_since_first_purchase=self._days_since(activity.first_purchase_at_us),
            days_since_purchase=self._days_since(activity.last_purchase_at_us),
            days_since_event=self._days_since(
                max(activity.last_event_at_us, activity.last_purchase_at_us)
            ),
            badges=sorted(facts.badges),
            titles=sorted(facts.titles),
            tags=sorted(facts.tags),
        )

    def _days_since(self, at_us: int) -> int:
        programme = self._programme
        then = local_day(programme, at_us or self._facts.enrolled_at_us)
        return max((local_day(programme, self._at_us) - then).days, 0)

    def _local(self) -> LocalFacts:
        programme, facts = self._programme, self._facts
        now = datetime.fromtimestamp(self._at_us // SECOND, ZoneInfo(programme.zone))
        today = now.date()
        enrolled = local_day(programme, facts.enrolled_at_us)
        years = today.year - enrolled.year
        month_day = f"{today.month:02}-{today.day:02}"
        birthday = facts.birthday
        if birthday == "02-29" and not isleap(today.year):
            birthday = "02-28"
        return LocalFacts(
            date=today.isoformat(),
            year=today.year,
            month=today.month,
            day=today.day,
            weekday=today.isoweekday(),
            hour=now.hour,
            minute=now.minute,
            birthday=bool(birthday) and birthday == month_day,
            anniversary=years > 0 and add_months(enrolled, 12 * years) == today,
        )


_MAKE: Final[Mapping[str, Callable[[Situation], Message]]] = {
    "event": Situation._event_facts,
    "member": Situation._member,
    "local": Situation._local,
}
