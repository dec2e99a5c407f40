"""Days, periods and ends of validity, in the programme's own time zone.

Every end is the first microsecond that no longer counts: intervals are half open. A day is a day
of the calendar, also where a clock change makes it 23 or 25 hours long.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from comity.clock import SECOND
from node.programme.model import Period

if TYPE_CHECKING:
    from node.programme.model import Programme


def local_day(programme: Programme, at_us: int) -> date:
    """The day it was at `at_us` where the programme lives."""
    return _day_of(programme.zone, at_us // SECOND)


def start_of_day(programme: Programme, day: date) -> int:
    """When `day` begins there, microseconds since the epoch.

    Where a clock change skips midnight, the day begins with the change; where midnight comes
    twice, with the first.
    """
    return _start(programme.zone, day)


def end_of_day(programme: Programme, day: date) -> int:
    """When the day after `day` begins there."""
    return start_of_day(programme, day + timedelta(days=1))


def expires_at(programme: Programme, unit: str, earned_at_us: int, enrolled_at_us: int = 0) -> int:
    """When points of `unit` earned at `earned_at_us` expire; 0 for never.

    With `idle_days`, unless the member earns that unit again before. `enrolled_at_us` matters
    for `anniversary_years` only.
    """
    rule = programme.units[unit].expiry
    day = local_day(programme, earned_at_us)
    if rule.days is not None:
        return end_of_day(programme, day + timedelta(days=rule.days))
    if rule.months is not None:
        return end_of_day(programme, add_months(day, rule.months))
    if rule.calendar_years is not None:
        return end_of_day(programme, date(day.year + rule.calendar_years, 12, 31))
    if rule.anniversary_years is not None:
        enrolled = local_day(programme, enrolled_at_us)
        return start_of_day(programme, anniversary(enrolled, day, rule.anniversary_years))
    if rule.idle_days is not None:
        return end_of_day(programme, day + timedelta(days=rule.idle_days))
    return 0


def validity_end(programme: Programme, reached_at_us: int) -> int:
    """When a level reached at `reached_at_us` ends; 0 for as long as it is kept."""
    if programme.tiers is None:
        return 0
    validity = programme.tiers.validity
    day = local_day(programme, reached_at_us)
    if validity.months is not None:
        return end_of_day(programme, add_months(day, validity.months))
    if validity.calendar_years is not None:
        return end_of_day(programme, date(day.year + validity.calendar_years, 12, 31))
    return 0


def period_key(zone: str, period: Period, at_us: int) -> str:
    """The name of the period that `at_us` lies in: `2026-11-22`, `2026-W47`, `2026-11`, `2026`,
    `ever`. Weeks and their years are those of ISO 8601.
    """
    if period is Period.EVER:
        return "ever"
    day = _day_of(zone, at_us // SECOND)
    if period is Period.DAY:
        return day.isoformat()
    if period is Period.WEEK:
        year, week, _ = day.isocalendar()
        return f"{year:04}-W{week:02}"
    return f"{day.year:04}-{day.month:02}" if period is Period.MONTH else f"{day.year:04}"


def anniversary(first: date, after: date, count: int = 1) -> date:
    """The `count`-th anniversary of `first` that comes after the day `after`.

    The anniversary of 29 February is 28 February in a year without one.
    """
    years = max(after.year - first.year, 1)
    while add_months(first, 12 * years) <= after:
        years += 1
    return add_months(first, 12 * (years + count - 1))


def add_months(day: date, months: int) -> date:
    """The same day so many months later, or the last day of a shorter month."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    following = date(year + month // 11, (month + 1) % 12 + 1, 1)
    last = (following - timedelta(days=1)).day
    return date(year, month + 1, min(day.day, last))


# One event asks for the same few days again and again.


@lru_cache(maxsize=65_536)
def _day_of(zone: str, second: int) -> date:
    return datetime.fromtimestamp(second, ZoneInfo(zone)).date()


@lru_cache(maxsize=65_536)
def _start(zone: str, day: date) -> int:
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    return int(midnight.timestamp()) * SECOND
