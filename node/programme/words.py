"""Parts of a programme in plain words, for people who read no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from node.programme.model import EarnRule, Expiry, Limit, Programme, Rate, Reach

EXPONENTS: Final = {
    **dict.fromkeys(("CLP", "ISK", "JPY", "KRW", "PYG", "UGX", "VND", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
"""Digits of the minor unit where they are not two (ISO 4217)."""


def lifetime(expiry: Expiry) -> str:
    """`24 months`, `to the end of the year`, `for ever`."""
    if expiry.days is not None:
        return _counted(expiry.days, "day")
    if expiry.months is not None:
        return _counted(expiry.months, "month")
    if expiry.calendar_years is not None:
        if expiry.calendar_years == 0:
            return "to the end of the year"
        if expiry.calendar_years == 1:
            return "to the end of the next year"
        return f"to the end of the year, {expiry.calendar_years} years on"
    if expiry.anniversary_years is not None:
        if expiry.anniversary_years == 1:
            return "to the anniversary of joining"
        return f"to anniversary {expiry.anniversary_years} of joining"
    if expiry.idle_days is not None:
        return f"{_counted(expiry.idle_days, 'day')} without earning"
    return "for ever"


def shortest_days(expiry: Expiry) -> int:
    """How many days points live at least; a very large number for ever."""
    if expiry.days is not None:
        return expiry.days
    if expiry.months is not None:
        return expiry.months * 30
    if expiry.calendar_years is not None:
        return expiry.calendar_years * 365
    if expiry.anniversary_years is not None:
        return (expiry.anniversary_years - 1) * 365
    return expiry.idle_days if expiry.idle_days is not None else 10**6


def unit_title(programme: Programme, name: str) -> str:
    """What people call a unit."""
    unit = programme.units.get(name)
    return (unit.title if unit is not None and unit.title else name).lower()


def event_title(programme: Programme, name: str) -> str:
    """What people call an event."""
    event = programme.events.get(name)
    return event.title if event is not None and event.title else name.replace("_", " ")


def rate(rate_: Rate, programme: Programme, unit: str) -> str:
    """`1 points for every 1.00 EUR`."""
    given = f"{rate_.points:,} {unit_title(programme, unit)}"
    return f"{given} for every {money(rate_.per_minor, programme.currency)}"


def earns(rule: EarnRule, programme: Programme) -> str:
    """What a rule gives, as a sentence without its event."""
    unit = rule.unit or programme.main_unit
    if rule.rate is not None:
        found = rate(rule.rate, programme, unit)
    elif rule.points is not None:
        found = f"{rule.points:,} {unit_title(programme, unit)}"
    else:
        found = f"{unit_title(programme, unit)} as {rule.formula} says"
    when = f", if {rule.when}" if rule.when is not None else ""
    return f"{found}{when}{''.join(f', {limit(one)}' for one in rule.limits)}"


def money(minor: int, currency: str) -> str:
    """`1.00 EUR`."""
    digits = EXPONENTS.get(currency, 2)
    whole, rest = divmod(minor, 10**digits)
    return f"{whole:,}{f'.{rest:0{digits}}' if digits else ''} {currency}"


def limit(one: Limit) -> str:
    """`at most 3 times a day`."""
    period = "in all" if one.per.value == "ever" else f"a {one.per.value}"
    parts = []
    if one.times is not None:
        parts.append("once" if one.times == 1 else f"{one.times:,} times")
    if one.points is not None:
        parts.append(f"{one.points:,} points")
    return f"at most {' and '.join(parts)} {period}"


def reach(alternatives: Reach, programme: Programme) -> str:
    """`300 growth or 2 friends`."""
    return " or ".join(_wanted(one, programme) for one in alternatives) or "nothing"


def _wanted(wanted: Mapping[str, int], programme: Programme) -> str:
    return " and ".join(f"{most:,} {unit_title(programme, unit)}" for unit, most in wanted.items())


def listed(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *most, last = list(names) or ["none"]
    return f"{', '.join(most)} and {last}" if most else last


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
