"""Events and what they earned, against the entries that commit to them; levels and marks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from comity.ledger.replay import Replay
from comity.v1 import entry_pb2
from comity.verify.comparison import Comparison, Key, Values, Written

ISSUED: Final = int(entry_pb2.ACCOUNT_CLASS_ISSUED)
CLAWED_BACK: Final = int(entry_pb2.ACCOUNT_CLASS_CLAWED_BACK)

PAYMENT: Final = "payment/"
"""What the event of a SPEND begins with that paid an order; its id follows."""

Sums = Mapping[tuple[str, str], int]
"""Points by rule and unit. The rule is empty in entries of a release that did not name it."""


def check_standing(compare: Comparison, replay: Replay) -> None:
    """Levels, badges, titles and tags: what the MARKS entries gave and took."""
    compare.table(
        "ranks",
        ("account",),
        ("level", "since_us", "until_us", "pinned"),
        {
            (account,): (rank.level, rank.since_us, rank.until_us, int(rank.pinned))
            for account, rank in replay.membership.ranks.items()
        },
    )
    compare.table(
        "marks",
        ("account", "kind", "name"),
        ("since_us",),
        {at: (since_us,) for at, since_us in replay.membership.marks.items()},
    )


def check_payments(compare: Comparison, replay: Replay, spent: Mapping[int, Written]) -> None:
    """Orders that points paid: the SPEND entries, and what REINSTATE entries brought back."""
    expected: dict[Key, Values] = {}
    for index, one in spent.items():
        state = replay.membership.spends.get(index)
        if state is None or not one.opening.event.startswith(PAYMENT):
            continue
        accounts = {leg.account for leg in one.opening.legs if leg.account}
        expected[(one.opening.event.removeprefix(PAYMENT),)] = (
            index,
            " ".join(sorted(accounts)),
            " ".join(state.points),
            sum(state.points.values()),
            " ".join(f"{lot}:{points}" for lot, points in state.lots.items()),
            sum(state.back.values()),
        )
    columns = ("index", "account", "unit", "points", "taken", "refunded_points")
    compare.table("payments", ("order_id",), columns, expected)


def check_events(
    compare: Comparison,
    earned: Mapping[str, Sequence[Written]],
    taken: Mapping[str, Sequence[Written]],
) -> None:
    """What each event earned stands in the entries that commit to it, rule by rule; and at least
    what was taken back of it is written off."""
    if not compare.has("earnings"):
        return
    owners: dict[str, str] = dict(compare.rows("events", ("event_id", "account")))
    stored: dict[str, list[tuple[str, str, int, int, str]]] = defaultdict(list)
    columns = ("event_id", "rule", "unit", "points", "reversed_points", "lot")
    for name, *row in compare.rows("earnings", columns):
        stored[name].append(tuple(row))
    compare.keep("events", f"{len(owners)} events are those the log commits to.")
    compare.keep("earnings", f"{len(stored)} events earned what the log says.")
    for name in stored.keys() | earned.keys():
        rows, entries = stored.get(name, []), earned.get(name, ())
        if name not in owners:
            compare.wrong("events", f"{name}, which earned, is missing.")
        accounts = {leg.account for one in entries for leg in one.opening.legs if leg.account}
        if accounts - {owners.get(name, "")}:
            compare.wrong("events", f"{name} earned for another account in the log.")
        _check_event(compare, name, rows, entries, taken.get(name, ()))


def _check_event(
    compare: Comparison,
    name: str,
    rows: Sequence[tuple[str, str, int, int, str]],
    entries: Sequence[Written],
    taken: Sequence[Written],
) -> None:
    said, lots = _points(entries), {leg.lot for one in entries for leg in one.opening.legs}
    written: dict[tuple[str, str], int] = defaultdict(int)
    back: dict[tuple[str, str], int] = defaultdict(int)
    named = all(rule for rule, _ in said)
    for rule, unit, points, reversed_points, lot in rows:
        at = (rule if named else "", unit)
        written[at] += points
        back[at] += reversed_points
        if lot and lot not in lots:
            compare.wrong("earnings", f"{name} earned in another lot than {lot} in the log.")
    if said != written:
        compare.wrong("earnings", f"{name} says it earned {_text(written)}, the log {_text(said)}.")
    for at, points in _points(taken).items():
        if at in written and -points > back[at]:
            compare.wrong("earnings", f"{name} says less was taken back than the log.")


def _points(entries: Iterable[Written]) -> dict[tuple[str, str], int]:
    """What members' legs move, by rule and unit; of legs that only move points within a lot, none.

    Where no leg names a rule, what the entries issue is all that can be said.
    """
    found: dict[tuple[str, str], int] = {}
    for one in entries:
        legs = list(zip(one.body.legs, one.opening.legs, strict=False))
        ruled = [(leg, secret) for leg, secret in legs if secret.rule]
        for leg, secret in ruled:
            at = (secret.rule, leg.unit)
            found[at] = found.get(at, 0) + leg.points
        for leg, _ in () if ruled else legs:
            if leg.account_class in (ISSUED, CLAWED_BACK):
                at = ("", leg.unit)
                found[at] = found.get(at, 0) - leg.points
    return found


def _text(sums: Sums) -> str:
    return ", ".join(f"{points} {unit} by {rule}" for (rule, unit), points in sums.items()) or "0"
