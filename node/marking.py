"""By hand and by wish: staff give badges, titles and tags, members turn one unit into another."""

from __future__ import annotations

from collections.abc import Sequence

from comity.errors import Conflict, Malformed, NotFound, Unauthenticated
from comity.ledger.command import Batch
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.v1 import entry_pb2
from comity.v1 import programme_pb2 as pb
from node.accounts import (
    CONVERTED,
    ISSUED,
    Movement,
    credit,
    member,
    open_lots,
    prefetch_accounts,
    settle,
)
from node.book import Handler, Handlers, Rules
from node.commands import ConvertPoints, SetMark
from node.event_tables import marks
from node.freeze import prefetch_freeze, require_burning
from node.lots import take
from node.members import member_device, require_unlocked
from node.programme import LotDraft, Programme, expires_at
from node.programme.facts import MarkChange, MarkKind
from node.programme.spending import converted
from node.standing import Marking, prefetch_standing, rank_of
from node.tables import devices, members

_NAMES: dict[int, MarkKind] = {
    int(entry_pb2.MARK_KIND_BADGE): "badge",
    int(entry_pb2.MARK_KIND_TITLE): "title",
    int(entry_pb2.MARK_KIND_TAG): "tag",
}

# --- marks by hand --------------------------------------------------------------------------


def _prefetch_mark(rules: Rules, rows: Rows, commands: Sequence[SetMark]) -> None:
    rows.load(members, [(command.account,) for command in commands])
    rows.load(marks, [(one.account, one.kind, one.name) for one in commands])


def _set_mark(rules: Rules, batch: Batch, command: SetMark) -> bytes:
    member(batch.rows, command.account)
    kind = _NAMES.get(command.kind)
    if kind is None:
        raise Malformed("Give a badge, a title or a tag; a level is reached.", field="kind")
    if command.name not in _known(rules.programme, kind):
        raise NotFound(f"The programme has no {kind} {command.name}.", field="name")
    there = batch.rows.get(marks, (command.account, command.kind, command.name)) is not None
    if there and command.given:
        raise Conflict(f"The member has the {kind} {command.name} already.", field="name")
    if not there and not command.given:
        raise NotFound(f"The member does not have the {kind} {command.name}.", field="name")
    marking = Marking(rules, batch, command.account)
    change = MarkChange(kind=kind, name=command.name, given=command.given)
    marking.mark(change, cause=command.reason_code)
    index = marking.append()
    answer = pb.GiveMarkResponse if command.given else pb.TakeMarkResponse
    return canonical(answer(index=index))


def _known(programme: Programme, kind: MarkKind) -> Sequence[str]:
    by_kind = {"badge": programme.badges, "title": programme.titles, "tag": programme.tags}
    return tuple(by_kind[kind])


# --- conversion -----------------------------------------------------------------------------


def _prefetch_convert(rules: Rules, rows: Rows, commands: Sequence[ConvertPoints]) -> None:
    names = [command.account for command in commands]
    prefetch_accounts(rules, rows, names)
    prefetch_standing(rows, names)
    rows.load(devices, [(command.acting_key,) for command in commands])
    prefetch_freeze(rows)


def _convert(rules: Rules, batch: Batch, command: ConvertPoints) -> bytes:
    rows, account, programme = batch.rows, command.account, rules.programme
    row = member(rows, account)
    device = member_device(rows, command.acting_key)
    if device is None or device["account"] != account:
        raise Unauthenticated("This device was revoked; use another device of the member.")
    require_unlocked(row)
    conversion = programme.conversions.get(command.conversion)
    if conversion is None:
        raise NotFound(f"The programme has no conversion {command.conversion}.", field="conversion")
    require_burning(rules, rows)
    made = converted(conversion, command.points)
    settle(rules, batch, account)
    source, target = rules.full(conversion.from_unit), rules.full(conversion.into_unit)
    movement = Movement(rules, batch, reference=command.conversion)
    for lot, part in take(open_lots(rows, account, source), command.points, batch.now_us):
        movement.change(lot, available=-part)
    movement.own(CONVERTED, command.points, unit=source)
    draft = LotDraft(
        points=made,
        earned_at_us=batch.now_us,
        available_at_us=batch.now_us,
        expires_at_us=expires_at(
            programme, conversion.into_unit, batch.now_us, row["created_at_us"]
        ),
    )
    credit(rules, batch, movement, account, draft, unit=target)
    movement.own(ISSUED, -made, unit=target)
    body = entry_pb2.Convert(conversion=command.conversion, programme_version=programme.version)
    index = movement.append(body)
    rank = rank_of(rows, account)
    if conversion.keeps_level and rank is not None and not rank.pinned:
        marking = Marking(rules, batch, account)
        marking.pin(rank)
        marking.append()
    return canonical(pb.ConvertPointsResponse(into_points=made, index=index))


HANDLERS: Handlers = {
    SetMark: Handler(_prefetch_mark, _set_mark),
    ConvertPoints: Handler(_prefetch_convert, _convert),
}
