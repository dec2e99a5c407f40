"""Where a member stands and what is missing, as of now: read, never written.

What has matured, expired or ended counts, whether or not the sweep has written it down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from comity.clock import DAY
from comity.ledger.rows import Rows
from comity.v1 import entry_pb2
from comity.v1 import programme_pb2 as pb
from node.accounts import SOURCE_PARTS, open_lots, prefetch_accounts
from node.book import Rules
from node.event_tables import counts, marks
from node.events import count_of
from node.lots import Lot, as_of
from node.programme import Programme, lifecycle
from node.programme import tiers as tier_rules
from node.programme.calendar import period_key
from node.programme.facts import Facts
from node.programme.model import PURCHASE, EarnRule
from node.standing import facts, prefetch_standing
from node.tables import accounts

_MARKS = (
    ("badges", entry_pb2.MARK_KIND_BADGE),
    ("titles", entry_pb2.MARK_KIND_TITLE),
    ("tags", entry_pb2.MARK_KIND_TAG),
)


def status(rules: Rules, rows: Rows, account: str) -> pb.GetStatusResponse:
    """Everything a member is shown beside balances and statement; the member must exist."""
    programme, now_us = rules.programme, rows.now_us
    prefetch_accounts(rules, rows, [account])
    prefetch_standing(rows, [account])
    lots = [as_of(one, now_us) for one in open_lots(rows, account)]
    known = _as_of(rules, facts(rules, rows, programme, account), lots, now_us)
    answer = pb.GetStatusResponse(
        account=account,
        programme_version=programme.version,
        lifecycle=lifecycle.state(
            programme, known.activity, enrolled_at_us=known.enrolled_at_us, now_us=now_us
        ),
        marks=_marks(programme, rows, account),
        sources=_sources(rules, rows, account),
        tasks=_tasks(programme, rows, account),
        notices=_notices(rules, lots, now_us),
    )
    _levels(rules, known, now_us, answer)
    return answer


def _as_of(rules: Rules, known: Facts, lots: list[Lot], now_us: int) -> Facts:
    """The facts once what is due by now has happened."""
    balances: dict[str, int] = dict.fromkeys(rules.programme.units, 0)
    for one in lots:
        name = one.unit.partition("/")[2]
        balances[name] = balances.get(name, 0) + one.available
    known = replace(known, balances=balances)
    while (change := tier_rules.review(rules.programme, known, now_us=now_us)) is not None:
        left = tier_rules.after(known.balances, change)
        known = replace(known, rank=change.rank, balances=left)
    return known


def _levels(rules: Rules, known: Facts, now_us: int, answer: pb.GetStatusResponse) -> None:
    programme, rank = rules.programme, known.rank
    if programme.tiers is None or rank is None:
        return
    own = next((one for one in programme.tiers.levels if one.id == rank.level), None)
    if own is None:
        return
    answer.level.CopyFrom(_level(programme, own.id, own.title or "", own.benefits, own.benefits))
    answer.since_us, answer.until_us = rank.since_us, rank.until_us
    for gap in tier_rules.missing(programme, known, now_us=now_us)[:1]:
        above = next(one for one in programme.tiers.levels if one.id == gap.level)
        answer.next.CopyFrom(
            _level(programme, above.id, above.title or "", above.benefits, own.benefits)
        )
        for way in gap.alternatives:
            missing = answer.ways.add().missing
            for name, points in way.items():
                missing.add(unit=rules.full(name), points=points)


def _level(
    programme: Programme,
    name: str,
    title: str,
    benefits: tuple[str, ...],
    unlocked: tuple[str, ...],
) -> pb.LevelStatus:
    shown = pb.LevelStatus(level=name, title=title or name)
    for one in benefits:
        benefit = programme.benefits[one]
        shown.benefits.add(
            benefit=one, title=benefit.title, kind=benefit.kind, unlocked=one in unlocked
        )
    return shown


def _marks(programme: Programme, rows: Rows, account: str) -> Iterator[pb.MarkStatus]:
    """Badges and titles earned and locked, and the tags there are."""
    since = {
        (row["kind"], row["name"]): row["since_us"] for row in rows.find(marks, "account", account)
    }
    for group, kind in _MARKS:
        for name, mark in getattr(programme, group).items():
            since_us = since.get((int(kind), name), 0)
            if since_us or group != "tags":
                yield pb.MarkStatus(
                    kind=kind, name=name, title=mark.title or name, since_us=since_us
                )


def _sources(rules: Rules, rows: Rows, account: str) -> Iterator[pb.SourceStatus]:
    for unit in rules.units:
        row = rows.get(accounts, (account, unit))
        if row is not None:
            parts = {part: row[part] for part in SOURCE_PARTS.values()}
            yield pb.SourceStatus(unit=unit, **parts)


def _tasks(programme: Programme, rows: Rows, account: str) -> list[pb.TaskStatus]:
    """What can be done to earn, beside buying, and what limits leave of it now."""
    found = []
    for name, rule in programme.earn.items():
        if rule.on == PURCHASE or (rule.points or 1) < 0:
            continue
        event = programme.events.get(rule.on)
        title = event.title if event is not None and event.title else rule.on
        times, points = _left(programme, rows, account, name, rule)
        found.append(
            pb.TaskStatus(
                type=rule.on, title=title, rule=name, times_left=times, points_left=points
            )
        )
    return found


def _left(
    programme: Programme, rows: Rows, account: str, name: str, rule: EarnRule
) -> tuple[int, int]:
    """How often, and how much, the limits of a rule allow now; -1 for no limit."""
    times, points = [], []
    for limit in rule.limits:
        key = (name, period_key(programme.zone, limit.per, rows.now_us))
        rows.load(counts, [(account, *key)])
        count = count_of(rows, account, key)
        if limit.times is not None:
            times.append(max(0, limit.times - count.times))
        if limit.points is not None:
            points.append(max(0, limit.points - count.points))
    return min(times, default=-1), min(points, default=-1)


def _notices(rules: Rules, lots: list[Lot], now_us: int) -> Iterator[pb.ExpiryNotice]:
    """Points that end within the days for which each unit gives notice, the farthest first."""
    ending: dict[str, list[Lot]] = defaultdict(list)
    for one in lots:
        if one.expires_at_us and one.available:
            ending[one.unit].append(one)
    for name, unit in rules.programme.units.items():
        for days in unit.notice_days:
            until = now_us + days * DAY
            due = [one for one in ending[rules.full(name)] if one.expires_at_us <= until]
            if due:
                yield pb.ExpiryNotice(
                    unit=rules.full(name),
                    within_days=days,
                    points=sum(one.available for one in due),
                    first_at_us=min(one.expires_at_us for one in due),
                )
