"""A brand's programme: how points are earned, when they can be spent, when they expire.

It is a file that people write and review. This module reads it strictly and decides by it, in
pure functions: no clock, no rows. Days are local days in the programme's own time zone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from comity import points
from comity.clock import DAY, MINUTE, SECOND
from comity.errors import LimitExceeded, Malformed
from comity.points import Rounding

FUTURE_SKEW_US: Final = 5 * MINUTE
"""How far ahead a till's clock may be."""

MAX_FILE_BYTES: Final = 65_536

Days = Annotated[int, Field(ge=0, le=36_500)]
Positive = Annotated[int, Field(ge=1, le=10**12)]


class Clawback(Enum):
    """Who bears points that a refund takes back when they are already spent."""

    PENDING_ONLY = "pending_only"
    """The programme: it takes what is still pending and forgives the rest."""

    WITHIN_BALANCE = "within_balance"
    """The programme: it takes what is there and forgives the rest."""

    DEBT = "debt"
    """The member: the rest is owed, and the next points earned pay it first."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class EarnRate(_Strict):
    """So many points for each so many minor units, rounded down once for each purchase."""

    points: Positive
    per_minor: Positive


class ExpiryRule(_Strict):
    """How long points live, counted in whole local days from the day they were earned.

    `days` and `months` give at least that time and end at the following local midnight, so the
    last day counts whole. `calendar_years: 1` ends with the year after the one of earning.
    None of them: points never expire.
    """

    days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    months: Annotated[int, Field(ge=1, le=1_200)] | None = None
    calendar_years: Annotated[int, Field(ge=0, le=100)] | None = None

    @model_validator(mode="after")
    def _at_most_one(self) -> ExpiryRule:
        given = [v for v in (self.days, self.months, self.calendar_years) if v is not None]
        if len(given) > 1:
            raise ValueError("give one of days, months and calendar_years")
        return self


class Programme(_Strict):
    """One version of a programme, as its file states it."""

    version: Annotated[str, Field(min_length=1, max_length=64)]
    name: Annotated[str, Field(min_length=1, max_length=128)]
    unit: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}/[a-z][a-z0-9-]{0,62}$")]
    zone: str
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    earn: EarnRate
    expiry: ExpiryRule = ExpiryRule()
    return_window_days: Days = 0
    backdate_days: Days = 0
    clawback: Literal["within_balance", "debt"] = "within_balance"
    expired_lot_grace_days: Days = 30
    redemptions_per_day: Positive = 100
    redeemed_points_per_day: Positive = 10**12

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("not a time zone of the IANA database, such as Europe/Paris") from None
        return name

    @property
    def clawback_policy(self) -> Clawback:
        """`clawback`, as a value."""
        return Clawback(self.clawback)


@dataclass(frozen=True, slots=True)
class ProgrammeFile:
    """A programme with the digest of the very bytes it was read from."""

    programme: Programme
    digest: bytes


def read_programme(data: bytes, *, participant: str) -> ProgrammeFile:
    """The programme in a file's bytes; its unit must be this participant's.

    Raises Malformed with one sentence for each mistake, naming the line where there is one.
    """
    if len(data) > MAX_FILE_BYTES:
        raise Malformed(f"The programme file has more than {MAX_FILE_BYTES} bytes.")
    try:
        root = yaml.compose(data, Loader=yaml.SafeLoader)
        content = yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise Malformed(f"The programme file is not YAML: {error}") from error
    if not isinstance(root, yaml.MappingNode) or not isinstance(content, dict):
        raise Malformed("The programme file is a list of names with values, such as `name: Plus`.")
    for node in _duplicates(root):
        line = node.start_mark.line + 1
        raise Malformed(f"Line {line} of the programme file gives {node.value} a second time.")
    try:
        programme = Programme.model_validate(content)
    except ValidationError as error:
        raise Malformed(_sentences(error, root)) from error
    if programme.unit.partition("/")[0] != participant:
        raise Malformed(
            f"The programme's unit is {programme.unit}; this brand's begins with {participant}/."
        )
    return ProgrammeFile(programme, hashlib.sha256(data).digest())


def _duplicates(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, value in node.value:
            if isinstance(name, yaml.ScalarNode):
                if name.value in seen:
                    yield name
                seen.add(name.value)
            yield from _duplicates(value)


def _sentences(error: ValidationError, root: yaml.MappingNode) -> str:
    found = []
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in one["loc"])
        line = _line(root, one["loc"])
        found.append(f"Line {line} of the programme file, {place or 'whole'}: {one['msg']}.")
    return " ".join(found)


def _line(root: yaml.MappingNode, path: tuple[Any, ...]) -> int:
    """The line of the deepest part of `path` that the file has."""
    node: yaml.Node = root
    line = root.start_mark.line
    for part in path:
        if not isinstance(node, yaml.MappingNode):
            break
        for name, value in node.value:
            if name.value == part:
                line, node = name.start_mark.line, value
                break
    return line + 1


# --- local days -----------------------------------------------------------------------------


def local_day(programme: Programme, at_us: int) -> date:
    """The day it was at `at_us` where the programme lives."""
    zone = ZoneInfo(programme.zone)
    return datetime.fromtimestamp(at_us // SECOND, zone).date()


def start_of_day(programme: Programme, day: date) -> int:
    """When `day` begins there, microseconds since the epoch.

    Where a clock change skips midnight, the day begins with the change.
    """
    zone = ZoneInfo(programme.zone)
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return int(midnight.timestamp()) * SECOND


def expires_at(programme: Programme, earned_at_us: int) -> int:
    """When points earned at `earned_at_us` expire; 0 for never."""
    rule = programme.expiry
    day = local_day(programme, earned_at_us)
    if rule.days is not None:
        last = day + timedelta(days=rule.days)
    elif rule.months is not None:
        last = _add_months(day, rule.months)
    elif rule.calendar_years is not None:
        last = date(day.year + rule.calendar_years, 12, 31)
    else:
        return 0
    return start_of_day(programme, last + timedelta(days=1))


def _add_months(day: date, months: int) -> date:
    """The same day so many months later, or the last day of a shorter month."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    following = date(year + month // 11, (month + 1) % 12 + 1, 1)
    last = (following - timedelta(days=1)).day
    return date(year, month + 1, min(day.day, last))


# --- earning --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LotDraft:
    """Points about to be earned: how many, from when spendable, until when (0: for ever)."""

    points: int
    earned_at_us: int
    available_at_us: int
    expires_at_us: int


def points_for(minor: int, *, rate_points: int, rate_minor: int) -> int:
    """The points that `minor` units earn at this rate, rounded down."""
    return points.divide(minor * rate_points, rate_minor, Rounding.DOWN)


def earn(programme: Programme, *, minor: int, occurred_at_us: int, now_us: int) -> LotDraft:
    """What a purchase of `minor` units earns.

    `occurred_at_us` 0 means now. Raises Malformed for an amount that is not positive, and
    LimitExceeded for a purchase in the future or longer ago than the programme accepts.
    """
    if minor < 1:
        raise Malformed("A purchase has an amount above zero.", field="amount.minor")
    earned_at_us = occurred_at_us or now_us
    if earned_at_us > now_us + FUTURE_SKEW_US:
        raise LimitExceeded(
            "The purchase lies in the future; check the till's clock.", field="occurred_at_us"
        )
    if earned_at_us < now_us - programme.backdate_days * DAY - FUTURE_SKEW_US:
        raise LimitExceeded(
            f"The purchase is older than the {programme.backdate_days} days for which this "
            "programme accepts purchases; a manager can adjust points instead.",
            field="occurred_at_us",
        )
    earned_at_us = min(earned_at_us, now_us)
    rate = programme.earn
    return LotDraft(
        points=points_for(minor, rate_points=rate.points, rate_minor=rate.per_minor),
        earned_at_us=earned_at_us,
        available_at_us=earned_at_us + programme.return_window_days * DAY,
        expires_at_us=expires_at(programme, earned_at_us),
    )


def grant(programme: Programme, *, points_: int, now_us: int) -> LotDraft:
    """Points given now and spendable at once: an adjustment, an exchange, a partner's accrual."""
    return LotDraft(
        points=points_,
        earned_at_us=now_us,
        available_at_us=now_us,
        expires_at_us=expires_at(programme, now_us),
    )


# --- spending -------------------------------------------------------------------------------


def check_redemption(
    programme: Programme, *, asked: int, redeemed_today: int, redemptions_today: int
) -> None:
    """Raises LimitExceeded if this redemption goes beyond what a member may redeem in a day."""
    if redemptions_today + 1 > programme.redemptions_per_day:
        raise LimitExceeded(
            f"The member has redeemed {redemptions_today} times today and may "
            f"{programme.redemptions_per_day} times; try again tomorrow."
        )
    if redeemed_today + asked > programme.redeemed_points_per_day:
        left = max(0, programme.redeemed_points_per_day - redeemed_today)
        raise LimitExceeded(
            f"The member may redeem {left} more points today and {asked} are asked for.",
            metadata={"left": str(left)},
        )
