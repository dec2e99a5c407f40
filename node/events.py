"""What happens earns: purchases and every event the programme knows go one way.

The version in force when it happened judges an event by the facts from before it. Points given
and taken become entries, limits count, the verdict of every rule is kept for whoever asks why; then
levels and marks follow, all in one commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from comity.clock import DAY
from comity.errors import Conflict, LimitExceeded, Malformed
from comity.ledger.command import Batch
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.points import add
from comity.v1 import entry_pb2, merchant_pb2
from comity.v1 import programme_pb2 as pb
from node.accounts import (
    CLAWED_BACK,
    ISSUED,
    Given,
    Movement,
    credit,
    is_due,
    know_lots,
    member,
    open_lots,
    prefetch_balances,
    settle,
)
from node.book import Handler, Handlers, Rules
from node.commands import Attributes, RecordEvent, RecordPurchase
from node.event_tables import activity, counts, earnings, events
from node.lots import take_up_to
from node.programme import LotDraft, Programme
from node.programme.drafts import FUTURE_SKEW_US
from node.programme.earning import count_keys, earn
from node.programme.facts import Count, CountKey, Earned, Event, Line, Penalty
from node.programme.model import PURCHASE
from node.standing import activity_of, facts, prefetch_standing, review_event
from node.tables import lots

SOURCES: Final = {
    "business": entry_pb2.SOURCE_BUSINESS,
    "activity": entry_pb2.SOURCE_ACTIVITY,
    "bonus": entry_pb2.SOURCE_BONUS,
}
FUNDING: Final = {
    "merchant": entry_pb2.FUNDING_MERCHANT,
    "platform": entry_pb2.FUNDING_PLATFORM,
    "partner": entry_pb2.FUNDING_PARTNER,
}
_TYPES: Final = {"text": str, "number": int, "truth": bool}

Reported = RecordPurchase | RecordEvent


# --- what was reported ----------------------------------------------------------------------


def _kind(command: Reported) -> str:
    return PURCHASE if isinstance(command, RecordPurchase) else command.type


def _event(command: Reported, now_us: int) -> Event:
    """The event as the rules see it."""
    at_us = min(command.occurred_at_us or now_us, now_us)
    if isinstance(command, RecordPurchase):
        return Event(
            id=command.purchase_id,
            type=PURCHASE,
            at_us=at_us,
            amount_minor=command.minor,
            lines=tuple(
                Line(amount_minor=minor, category=category, product=product)
                for minor, category, product in command.lines
            ),
            store=command.store,
            attributes=dict(command.attributes),
        )
    return Event(
        id=command.event_id, type=command.type, at_us=at_us, attributes=dict(command.attributes)
    )


def _check(programme: Programme, command: Reported, now_us: int) -> None:
    """Raises what is wrong with the report, whoever it is about."""
    kind, backdate_days = _kind(command), programme.backdate_days
    known: dict[str, str] = {}
    if isinstance(command, RecordPurchase):
        _check_purchase(programme, command)
    else:
        found = programme.events.get(kind)
        if found is None or kind == PURCHASE:
            raise Malformed(
                f"The programme knows no event {kind}; name one of its events.", field="type"
            )
        known = dict(found.attributes)
        if found.backdate_days is not None:
            backdate_days = found.backdate_days
        _check_attributes(known, command)
    what = "purchase" if kind == PURCHASE else "event"
    at_us = command.occurred_at_us or now_us
    if at_us > now_us + FUTURE_SKEW_US:
        raise LimitExceeded(
            f"The {what} lies in the future; check the till's clock.", field="occurred_at_us"
        )
    if at_us < now_us - backdate_days * DAY - FUTURE_SKEW_US:
        raise LimitExceeded(
            f"The {what} is older than the {backdate_days} days for which this "
            f"programme accepts {what}s; a manager can adjust points instead.",
            field="occurred_at_us",
        )


def _check_purchase(programme: Programme, command: RecordPurchase) -> None:
    if command.currency != programme.currency:
        raise Malformed(
            f"This programme earns in {programme.currency}, not in {command.currency}.",
            field="amount.currency",
        )
    if command.minor < 1:
        raise Malformed("A purchase has an amount above zero.", field="amount.minor")
    if command.lines and sum(minor for minor, _, _ in command.lines) != command.minor:
        raise Malformed("The lines sum to the purchase's amount.", field="lines")
    names = [name for name, _ in command.attributes]
    if len(set(names)) != len(names):
        raise Malformed("Each attribute is given once.", field="attributes")


def _check_attributes(known: dict[str, str], command: RecordEvent) -> None:
    given = dict(command.attributes)
    if len(given) != len(command.attributes):
        raise Malformed("Each attribute is given once.", field="attributes")
    for name, value in command.attributes:
        if name not in known:
            raise Malformed(
                f"The event {command.type} has no attribute {name}.", field="attributes"
            )
        if type(value) is not _TYPES[known[name]]:
            raise Malformed(
                f"The attribute {name} of {command.type} is a {known[name]}.", field="attributes"
            )
    missing = sorted(known.keys() - given.keys())
    if missing:
        raise Malformed(
            f"The event {command.type} is reported with {', '.join(missing)}.", field="attributes"
        )


# --- deciding -------------------------------------------------------------------------------


def _prefetch(rules: Rules, rows: Rows, commands: Sequence[Reported]) -> None:
    """Earning asks nothing of the lots there are unless something on the account is due, so it
    does not slow down as they grow."""
    rows.load(events, [(command.id,) for command in commands])
    names = list(dict.fromkeys(command.account for command in commands))
    prefetch_balances(rules, rows, names)
    prefetch_standing(rows, names)
    rows.load(counts, _counted(rules, commands, rows.now_us))
    due = [name for name in names if is_due(rules, rows, name, rows.now_us)]
    rows.load_where(lots, ("account", "open"), [(name, 1) for name in due])


def _counted(
    rules: Rules, commands: Iterable[Reported], now_us: int
) -> Iterable[tuple[str, str, str]]:
    for command in commands:
        event = _event(command, now_us)
        for rule, period in count_keys(rules.at(event.at_us), event):
            yield command.account, rule, period


def _record(rules: Rules, batch: Batch, command: Reported) -> tuple[Earned, int]:
    """What it earned, and the index of the ACCRUAL, 0 for none."""
    rows, now_us, account = batch.rows, batch.now_us, command.account
    event = _event(command, now_us)
    programme = rules.at(event.at_us)
    member(rows, account)
    _check(programme, command, now_us)
    if rows.get(events, (event.id,)) is not None:
        raise Conflict(
            f"The id {event.id} is that of another event or purchase; give each its own.",
            field="purchase_id" if event.type == PURCHASE else "event_id",
        )
    if is_due(rules, rows, account, now_us):
        know_lots(rows, account)
        settle(rules, batch, account)
    keys = count_keys(programme, event)
    counted = {key: count_of(rows, account, key) for key in keys}
    known = facts(rules, rows, programme, account, counted)
    earned = earn(programme, known, event, now_us=now_us)
    index = _give(rules, batch, programme, account, event, earned)
    for penalty in earned.penalties:
        _take(rules, batch, programme, account, event, penalty)
    for key, count in earned.counts.items():
        put_count(rows, account, key, count)
    _note(rows, account, event)
    rows.put(events, _row(command, programme, event, earned, now_us))
    review_event(rules, batch, account, event, known)
    return earned, index


def _give(
    rules: Rules, batch: Batch, programme: Programme, account: str, event: Event, earned: Earned
) -> int:
    if not earned.grants:
        return 0
    movement = Movement(rules, batch, reference=event.id)
    issued: dict[str, int] = {}
    for place, grant in enumerate(earned.grants):
        unit = rules.full(grant.unit)
        source, funded_by = SOURCES[grant.source], FUNDING[grant.funded_by]
        draft = LotDraft(
            points=grant.points,
            earned_at_us=grant.earned_at_us,
            available_at_us=grant.available_at_us,
            expires_at_us=grant.expires_at_us,
        )
        given = Given(rule=grant.rule, source=source, funded_by=funded_by)
        lot = credit(rules, batch, movement, account, draft, unit=unit, given=given)
        issued[unit] = issued.get(unit, 0) + grant.points
        batch.rows.insert(
            earnings,
            {
                "event_id": event.id,
                "place": place,
                "rule": grant.rule,
                "unit": unit,
                "points": grant.points,
                "reversed_points": 0,
                "lot": lot,
                "numerator": grant.numerator,
                "denominator": grant.denominator,
                "by_line": int(grant.by_line),
                "source": source,
                "funded_by": funded_by,
            },
        )
    for unit, points in issued.items():
        movement.own(ISSUED, -points, unit=unit)
    movement.event(event.id)
    return movement.append(entry_pb2.Accrual(programme_version=programme.version))


def _take(
    rules: Rules, batch: Batch, programme: Programme, account: str, event: Event, penalty: Penalty
) -> None:
    """Points taken for what happened: of what is available, and beyond it a debt or nothing."""
    rows, unit = batch.rows, rules.full(penalty.unit)
    know_lots(rows, account)
    rule = programme.earn[penalty.rule]
    given = Given(rule=penalty.rule, source=SOURCES[rule.source], funded_by=FUNDING[rule.funded_by])
    movement = Movement(rules, batch, reference=event.id)
    left = penalty.points
    for lot, part in take_up_to(open_lots(rows, account, unit), left, batch.now_us):
        movement.change(lot, available=-part, given=given)
        left -= part
    if penalty.debt:
        movement.debt(account, -left, unit=unit, given=given)
        left = 0
    if movement.legs:
        movement.own(CLAWED_BACK, penalty.points - left, unit=unit)
        movement.event(event.id)
        movement.append(entry_pb2.Clawback())


def count_of(rows: Rows, account: str, key: CountKey) -> Count:
    """What a limit has counted, of a row that was loaded."""
    row = rows.get(counts, (account, *key))
    return Count() if row is None else Count(times=row["times"], points=row["points"])


def put_count(rows: Rows, account: str, key: CountKey, count: Count) -> None:
    """Keep what a limit has counted; its row must have been loaded."""
    at = {"account": account, "rule": key[0], "period": key[1]}
    rows.put(counts, at | {"times": count.times, "points": count.points})


def _note(rows: Rows, account: str, event: Event) -> None:
    """Add the event to what the member did."""
    before = activity_of(rows, account)
    row: dict[str, Any] = {
        "account": account,
        "purchases": before.purchases,
        "spend_minor": before.spend_minor,
        "first_purchase_at_us": before.first_purchase_at_us,
        "last_purchase_at_us": before.last_purchase_at_us,
        "last_event_at_us": max(before.last_event_at_us, event.at_us),
    }
    if event.type == PURCHASE:
        first = before.first_purchase_at_us
        row["purchases"] += 1
        row["spend_minor"] = add(before.spend_minor, event.amount_minor)
        row["first_purchase_at_us"] = min(first, event.at_us) if first else event.at_us
        row["last_purchase_at_us"] = max(before.last_purchase_at_us, event.at_us)
    rows.put(activity, row)


def _row(
    command: Reported, programme: Programme, event: Event, earned: Earned, now_us: int
) -> dict[str, Any]:
    details = pb.EventDetails(store=event.store)
    for line in event.lines:
        details.lines.add(
            amount_minor=line.amount_minor, category=line.category, product=line.product
        )
    for name, value in event.attributes.items():
        details.attributes.append(attribute(name, value))
    for one in earned.verdicts:
        if one.reason != "other_event":
            details.verdicts.add(
                rule=one.rule, earned=one.earned, reason=one.reason, detail=one.detail
            )
    return {
        "event_id": event.id,
        "account": command.account,
        "type": event.type,
        "at_us": event.at_us,
        "recorded_at_us": now_us,
        "programme_version": programme.version,
        "currency": programme.currency if event.type == PURCHASE else "",
        "amount_minor": event.amount_minor,
        "refunded_minor": 0,
        "details": canonical(details),
    }


def attribute(name: str, value: str | int | bool) -> pb.Attribute:
    """An attribute of an event as a message."""
    if isinstance(value, bool):
        return pb.Attribute(name=name, truth=value)
    if isinstance(value, int):
        return pb.Attribute(name=name, number=value)
    return pb.Attribute(name=name, text=value)


def attributes_of(found: Iterable[pb.Attribute]) -> Attributes:
    """Attributes as a command has them."""
    return tuple((one.name, _value(one)) for one in found)


def _value(one: pb.Attribute) -> str | int | bool:
    match one.WhichOneof("value"):
        case "truth":
            return one.truth
        case "number":
            return one.number
        case _:
            return one.text


# --- answers --------------------------------------------------------------------------------


def _purchase(rules: Rules, batch: Batch, command: RecordPurchase) -> bytes:
    earned, index = _record(rules, batch, command)
    main = rules.programme.main_unit
    grants = [one for one in earned.grants if one.unit == main]
    pending = any(one.available_at_us > batch.now_us for one in grants)
    points = sum(one.points for one in grants)
    return canonical(merchant_pb2.PurchaseResult(points=points, pending=pending, index=index))


def _happened(rules: Rules, batch: Batch, command: RecordEvent) -> bytes:
    earned, _ = _record(rules, batch, command)
    sums: dict[str, int] = {}
    for grant in earned.grants:
        sums[grant.unit] = sums.get(grant.unit, 0) + grant.points
    for penalty in earned.penalties:
        sums[penalty.unit] = sums.get(penalty.unit, 0) - penalty.points
    result = pb.EventResult()
    for name, points in sums.items():
        result.points.add(unit=rules.full(name), points=points)
    return canonical(result)


HANDLERS: Handlers = {
    RecordPurchase: Handler(_prefetch, _purchase, reviews=True),
    RecordEvent: Handler(_prefetch, _happened, reviews=True),
}
