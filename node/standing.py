"""Where members stand: the facts that rules look at, and the levels and marks that follow.

Whenever a member's points changed, and when time alone may change something, the member is
reviewed in the same commit: what the pure rules answer becomes rows and one MARKS entry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from comity.ledger import entries
from comity.ledger.command import Batch
from comity.ledger.rows import Mark, Rows
from comity.v1 import entry_pb2 as pb
from node.accounts import EXPIRED, Movement, is_due, know_lots, open_lots, settle
from node.book import Rules
from node.event_tables import activity, marks, ranks
from node.lots import take_up_to
from node.programme import Programme
from node.programme import marks as mark_rules
from node.programme import tiers as tier_rules
from node.programme.facts import (
    Activity,
    Count,
    CountKey,
    Event,
    Facts,
    MarkChange,
    Rank,
    RankChange,
)
from node.tables import accounts, members, profiles

KINDS: Final[Mapping[str, pb.MarkKind.ValueType]] = {
    "badge": pb.MARK_KIND_BADGE,
    "title": pb.MARK_KIND_TITLE,
    "tag": pb.MARK_KIND_TAG,
}
_LOOKS: Final = 1_000
"""A member whose level changes more often in one review is left to the next one."""


# --- facts ----------------------------------------------------------------------------------


def prefetch_standing(rows: Rows, names: Iterable[str]) -> None:
    """Load what `facts` reads of these accounts besides members and balances."""
    wanted = list(names)
    keys = [(name,) for name in wanted]
    rows.load(activity, keys)
    rows.load(ranks, keys)
    rows.load(profiles, keys)
    rows.load_where(marks, "account", wanted)


def facts(
    rules: Rules,
    rows: Rows,
    programme: Programme,
    account: str,
    counts: Mapping[CountKey, Count] | None = None,
) -> Facts:
    """What is known of a member whose rows were loaded, as this batch has them."""
    member = rows.get(members, (account,))
    assert member is not None, "members are loaded before they are looked at"
    own: dict[int, list[str]] = defaultdict(list)
    for row in rows.find(marks, "account", account):
        own[row["kind"]].append(row["name"])
    profile = rows.get(profiles, (account,)) or {"region": "", "birth_date": ""}
    return Facts(
        enrolled_at_us=member["created_at_us"],
        region=profile["region"],
        birthday=profile["birth_date"][5:],
        balances=_balances(rules, rows, programme, account),
        activity=activity_of(rows, account),
        rank=rank_of(rows, account),
        badges=frozenset(own[pb.MARK_KIND_BADGE]),
        titles=frozenset(own[pb.MARK_KIND_TITLE]),
        tags=frozenset(own[pb.MARK_KIND_TAG]),
        counts={} if counts is None else counts,
    )


def _balances(rules: Rules, rows: Rows, programme: Programme, account: str) -> dict[str, int]:
    """Points available, by the programme's names of its units."""
    found: dict[str, int] = {}
    for name in programme.units:
        row = rows.get(accounts, (account, rules.full(name)))
        found[name] = 0 if row is None else row["available"]
    return found


def activity_of(rows: Rows, account: str) -> Activity:
    """What the member did, in sums."""
    row = rows.get(activity, (account,))
    if row is None:
        return Activity()
    del row["account"]
    return Activity(**row)


def rank_of(rows: Rows, account: str) -> Rank | None:
    """The member's level, if there is one."""
    row = rows.get(ranks, (account,))
    if row is None or not row["level"]:
        return None
    return Rank(
        level=row["level"],
        since_us=row["since_us"],
        until_us=row["until_us"],
        pinned=bool(row["pinned"]),
    )


# --- looking again --------------------------------------------------------------------------


def review_changed(rules: Rules, batch: Batch, since: Mark) -> None:
    """Look again at everybody who joined, or whose points or sums were written, since a mark of
    the rows. Who joins a programme of levels alone has no points yet, and a level."""
    rows = batch.rows
    changed = [account for (account,) in rows.keys_since(since, members)]
    changed += [account for account, _ in rows.keys_since(since, accounts)]
    changed += [account for (account,) in rows.keys_since(since, activity)]
    for account in dict.fromkeys(changed):
        review(rules, batch, account)


def review(rules: Rules, batch: Batch, account: str) -> None:
    """Let the member's level and marks follow from what is known now. Erased members have none."""
    rows, now_us = batch.rows, batch.now_us
    rows.load(members, [(account,)])
    member = rows.get(members, (account,))
    if member is None or member["erased_at_us"]:
        return
    rows.load(accounts, [(account, unit) for unit in rules.units])
    prefetch_standing(rows, [account])
    if is_due(rules, rows, account, now_us):
        know_lots(rows, account)
        settle(rules, batch, account)
    _follow(rules, batch, account, facts(rules, rows, rules.programme, account), None)


def review_event(rules: Rules, batch: Batch, account: str, event: Event, before: Facts) -> None:
    """As `review`, after an event of which all is known that was before it."""
    if rules.reviewed:
        known = replace(
            before,
            balances=_balances(rules, batch.rows, rules.programme, account),
            activity=activity_of(batch.rows, account),
        )
        _follow(rules, batch, account, known, event)


def _follow(rules: Rules, batch: Batch, account: str, known: Facts, event: Event | None) -> None:
    rows, programme, now_us = batch.rows, rules.programme, batch.now_us
    given = Marking(rules, batch, account)
    for _ in range(_LOOKS):
        change = tier_rules.review(programme, known, now_us=now_us)
        if change is None:
            break
        if change.clear or change.deduct:
            _end_growth(rules, batch, account, change)
        given.rank(change)
        balances = tier_rules.after(known.balances, change)
        known = replace(known, rank=change.rank, balances=balances)
    changes = mark_rules.review(programme, known, event, now_us=now_us)
    for one in changes:
        given.mark(one)
    given.append("" if event is None else event.id)
    if changes:
        known = facts(rules, rows, programme, account)
    _look_again(batch, programme, account, known)


def _end_growth(rules: Rules, batch: Batch, account: str, change: RankChange) -> None:
    """What re-rating takes of the growth there is ends like expired points."""
    rows, now_us = batch.rows, batch.now_us
    know_lots(rows, account)
    movement = Movement(rules, batch, reference="re-rated")
    wanted = dict(change.deduct) | dict.fromkeys(change.clear)
    for name, points in wanted.items():
        unit = rules.full(name)
        there = open_lots(rows, account, unit)
        most = sum(one.available for one in there) if points is None else points
        ended = 0
        for lot, part in take_up_to(there, most, now_us):
            movement.end(lot, available=part)
            ended += part
        movement.own(EXPIRED, ended, unit=unit)
    if movement.legs:
        movement.append(pb.Expiry())


def _look_again(batch: Batch, programme: Programme, account: str, known: Facts) -> None:
    """Note when time alone may change something."""
    now_us = batch.now_us
    looks = (
        tier_rules.next_review_at(programme, known, now_us=now_us),
        mark_rules.next_review_at(programme, now_us=now_us),
    )
    due_at_us = min((max(at_us, now_us + 1) for at_us in looks if at_us), default=0)
    row = batch.rows.get(ranks, (account,))
    if row is None and due_at_us:
        row = rank_row(account)
    if row is not None and row["due_at_us"] != due_at_us:
        batch.rows.put(ranks, row | {"due_at_us": due_at_us})


def rank_row(account: str, rank: Rank | None = None) -> dict[str, object]:
    """The row of a member's level, or of one who has none."""
    return {
        "account": account,
        "level": rank.level if rank is not None else "",
        "since_us": rank.since_us if rank is not None else 0,
        "until_us": rank.until_us if rank is not None else 0,
        "pinned": int(rank is not None and rank.pinned),
        "due_at_us": 0,
    }


class Marking:
    """One MARKS entry in the making, with the rows that follow from it."""

    def __init__(self, rules: Rules, batch: Batch, account: str) -> None:
        self._rules = rules
        self._batch = batch
        self._account = account
        self._openings: list[pb.MarkOpening] = []

    def rank(self, change: RankChange) -> None:
        """Another level, by every step, or a new validity of the same one."""
        rank = change.rank
        steps = change.steps or (rank.level,)
        for at, level in enumerate(steps, 1):
            last = at == len(steps)
            self._open(
                kind=pb.MARK_KIND_TIER,
                name=level,
                given=True,
                since_us=rank.since_us,
                until_us=rank.until_us if last else 0,
                pinned=rank.pinned and last,
                cause=change.cause,
            )
        self._keep(rank)

    def pin(self, rank: Rank) -> None:
        """The level stays, although what it was reached with was converted."""
        self._open(
            kind=pb.MARK_KIND_TIER,
            name=rank.level,
            given=True,
            since_us=rank.since_us,
            until_us=rank.until_us,
            pinned=True,
            cause="converted",
        )
        self._keep(replace(rank, pinned=True))

    def mark(self, change: MarkChange, *, cause: str = "rule") -> None:
        """A badge, title or tag, given or taken."""
        kind, rows, now_us = KINDS[change.kind], self._batch.rows, self._batch.now_us
        at = (self._account, int(kind), change.name)
        since_us = now_us if change.given else 0
        if change.given:
            row = {"account": at[0], "kind": at[1], "name": at[2], "since_us": now_us}
            rows.insert(marks, row)
        else:
            rows.delete(marks, at)
        self._open(kind=kind, name=change.name, given=change.given, since_us=since_us, cause=cause)

    def append(self, event: str = "") -> int:
        """Write the entry, if anything was given or taken; returns its index, or -1."""
        if not self._openings:
            return -1
        rules, batch = self._rules, self._batch
        body = pb.Marks(
            programme_version=rules.programme.version,
            marks=[entries.seal_mark(one) for one in self._openings],
        )
        opening = pb.EntryOpening(marks=self._openings)
        if event:
            opening.event = event
            opening.event_salt = batch.random(entries.SALT_BYTES)
            body.event = entries.seal_event(event, opening.event_salt)
        data = entries.encode(body, origin=rules.origin, at_us=batch.now_us)
        return batch.append(data, kind="marks", opening=entries.canonical(opening))

    def _open(self, **parts: object) -> None:
        salt = self._batch.random(entries.SALT_BYTES)
        opening = pb.MarkOpening(salt=salt, account=self._account, **parts)  # type: ignore[arg-type]
        self._openings.append(opening)

    def _keep(self, rank: Rank) -> None:
        rows = self._batch.rows
        row = rows.get(ranks, (self._account,))
        due_at_us = row["due_at_us"] if row is not None else 0
        rows.put(ranks, rank_row(self._account, rank) | {"due_at_us": due_at_us})
