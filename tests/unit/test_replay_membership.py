"""Levels, badges and points spent at home, replayed: honest logs pass, lies name their entry."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comity.errors import BadStatement
from comity.ledger import entries
from comity.ledger.entries import LegDraft
from comity.ledger.membership import RankState
from comity.v1 import entry_pb2
from tests.unit.replay_log import (
    AVAILABLE,
    CLAWED_BACK,
    ISSUED,
    SPENT,
    UNIT,
    Log,
    digest,
    earn,
    failed,
    leg,
)

CONVERTED = entry_pb2.ACCOUNT_CLASS_CONVERTED
EXPIRED = entry_pb2.ACCOUNT_CLASS_EXPIRED
GROWTH = "grocery/growth"
TIER, BADGE = entry_pb2.MARK_KIND_TIER, entry_pb2.MARK_KIND_BADGE


@pytest.fixture
def log() -> Log:
    """A log whose first entry earns a thousand points in lot 0.1."""
    made = Log("grocery")
    earn(made, 1_000)
    return made


def mark(
    kind: entry_pb2.MarkKind.ValueType,
    name: str,
    *,
    given: bool = True,
    since_us: int = 900,
    account: str = "acc_a",
) -> entry_pb2.MarkOpening:
    return entry_pb2.MarkOpening(
        salt=bytes(16), account=account, kind=kind, name=name, given=given, since_us=since_us
    )


def write(log: Log, *marks: entry_pb2.MarkOpening) -> int:
    body = entry_pb2.Marks(marks=[entries.seal_mark(one) for one in marks])
    return log.append(body, entry_pb2.EntryOpening(marks=marks))


def spend(log: Log, points: int) -> int:
    body = entry_pb2.Spend(event=digest("order"))
    return log.move(body, leg(AVAILABLE, -points), leg(SPENT, points))


def bring_back(log: Log, index: int, points: int) -> int:
    body = entry_pb2.Reinstate(event=digest("order"), spend_index=index)
    return log.move(body, leg(SPENT, -points), leg(AVAILABLE, points))


def broken(log: Log, *, opened: bool = True) -> dict[str, str]:
    return failed(log.fold(opened=opened).checks())


def test_levels_badges_and_tags_follow_from_their_marks(log: Log) -> None:
    write(log, mark(TIER, "silver"), mark(BADGE, "first"), mark(entry_pb2.MARK_KIND_TAG, "vip"))
    write(log, mark(TIER, "gold", since_us=1_002))
    write(log, mark(entry_pb2.MARK_KIND_TAG, "vip", given=False))
    replay = log.fold()
    assert failed(replay.checks()) == {}
    assert replay.membership.ranks == {"acc_a": RankState("gold", 1_002, 0)}
    assert replay.membership.marks == {("acc_a", int(BADGE), "first"): 900}
    assert broken(log, opened=False) == {}


@pytest.mark.parametrize(
    ("marks", "says"),
    [
        ([mark(BADGE, "first"), mark(BADGE, "first")], "gives first, which the member has"),
        ([mark(BADGE, "first", given=False)], "takes first, which the member does not have"),
        ([mark(TIER, "gold", given=False)], "takes a level of acc_a away"),
        ([mark(TIER, "gold"), mark(TIER, "gold")], "the level it has"),
        ([mark(BADGE, "first", since_us=10**12)], "before its time"),
    ],
)
def test_a_mark_out_of_order_is_named(
    log: Log, marks: list[entry_pb2.MarkOpening], says: str
) -> None:
    write(log, *marks)
    assert says in broken(log)["marks"]


def test_a_mark_opened_for_somebody_else_is_named(log: Log) -> None:
    honest = mark(TIER, "gold")
    body = entry_pb2.Marks(marks=[entries.seal_mark(honest)])
    log.append(body, entry_pb2.EntryOpening(marks=[mark(TIER, "gold", account="acc_b")]))
    assert "Entry 1" in broken(log)["openings"]
    entries.check_mark(entries.seal_mark(honest), honest)
    with pytest.raises(BadStatement):
        entries.check_mark(entries.seal_mark(honest), mark(TIER, "silver"))


def test_what_is_spent_comes_back_at_most_once(log: Log) -> None:
    index = spend(log, 600)
    bring_back(log, index, 200)
    bring_back(log, index, 400)
    assert broken(log) == {}
    bring_back(log, index, 1)
    assert f"more than {index} spent" in broken(log)["I12"]
    assert "more back to lot 0.1 than it gave" in broken(log)["I12"]
    assert "I12" in broken(log, opened=False)


def test_points_come_back_from_somewhere(log: Log) -> None:
    bring_back(log, 0, 10)
    assert "from nowhere" in broken(log)["I12"]


def test_expired_points_are_brought_back_to_their_lot_and_never_above_it(log: Log) -> None:
    log.move(entry_pb2.Expiry(), leg(AVAILABLE, -400), leg(EXPIRED, 400))
    body = entry_pb2.Reinstate(event=digest("complaint"))
    log.move(body, leg(EXPIRED, -400), leg(AVAILABLE, 400))
    assert broken(log) == {}
    again = entry_pb2.Reinstate(event=digest("complaint"))
    log.move(again, leg(EXPIRED, -1), leg(AVAILABLE, 1))
    assert "above what it earned" in broken(log)["I12"]


def test_a_spend_spends_what_it_takes(log: Log) -> None:
    body = entry_pb2.Spend(event=digest("order"))
    log.move(body, leg(AVAILABLE, -10), leg(SPENT, 5), leg(CLAWED_BACK, 5))
    assert "does not spend what it takes" in broken(log)["I5"]


def convert(log: Log, unit: str) -> None:
    log.move(
        entry_pb2.Convert(conversion="growth-to-points"),
        leg(AVAILABLE, -100),
        leg(CONVERTED, 100),
        LegDraft(ISSUED, unit, -10),
        LegDraft(AVAILABLE, unit, 10, "acc_a", "9.9"),
    )


def test_one_unit_becomes_another(log: Log) -> None:
    convert(log, GROWTH)
    replay = log.fold()
    assert failed(replay.checks()) == {}
    assert replay.accounts["acc_a", GROWTH] == [0, 10, 0, 0]
    convert(log, UNIT)
    assert "does not turn one unit into another" in broken(log)["I12"]


def test_points_are_told_apart_by_their_source_and_a_lot_grows_by_them(log: Log) -> None:
    def given(points: int, source: entry_pb2.Source.ValueType) -> LegDraft:
        draft = replace(leg(AVAILABLE, points, lot="1.1"), rule="visit", source=source)
        return replace(draft, funded_by=entry_pb2.FUNDING_MERCHANT)

    for points in (5, 7):
        body = entry_pb2.Accrual(event=digest("visit"))
        log.move(body, leg(ISSUED, -points), given(points, entry_pb2.SOURCE_ACTIVITY))
    taken = entry_pb2.Clawback(event=digest("visit"))
    log.move(taken, leg(CLAWED_BACK, 2), given(-2, entry_pb2.SOURCE_ACTIVITY))
    replay = log.fold()
    assert failed(replay.checks()) == {}
    assert replay.membership.sources == {("acc_a", UNIT): [0, 10, 0]}
    assert (replay.lots["1.1"].earned, replay.lots["1.1"].points) == (12, [0, 10, 0])


def test_a_leg_says_under_its_commitment_who_bears_it(log: Log) -> None:
    draft = replace(
        leg(AVAILABLE, 5),
        rule="visit",
        source=entry_pb2.SOURCE_BONUS,
        funded_by=entry_pb2.FUNDING_PARTNER,
    )
    public, private = entries.seal_legs((draft, leg(ISSUED, -5)), log.random)
    entries.check_leg(public[0], private[0])
    private[0].funded_by = entry_pb2.FUNDING_MERCHANT
    with pytest.raises(BadStatement):
        entries.check_leg(public[0], private[0])
