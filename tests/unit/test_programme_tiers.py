"""Levels: rising, falling, ending, and what is missing for the next."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.clock import DAY, SECOND
from node.programme import Programme
from node.programme.facts import Facts, Rank, RankChange
from node.programme.tiers import (
    after,
    missing,
    next_review_at,
    projected,
    review,
    sentence,
    stays_until,
)
from tests.trials import at, enrolled, happening, programme, purchase

SHANGHAI = "Asia/Shanghai"
START = at("2026-01-01 09:00", SHANGHAI)

LADDER = """\
units: {{growth: {{kind: growth{expiry}}}, referrals: {{kind: growth}}}}
events: {{referred: {{}}, login: {{}}}}
earn:
  grow: {{on: purchase, unit: growth, rate: {{points: 1, per_minor: 100}}}}
  login: {{on: login, unit: growth, points: 2, source: activity}}
  refer: {{on: referred, unit: referrals, points: 1, source: bonus}}
benefits:
  free_trial: {{title: a free trial}}
  delivery: {{title: free delivery}}
  assistant: {{title: a private assistant, kind: spiritual, priority: 9}}
tiers:
  levels:
  - {{id: basic, title: Basic, benefits: [free_trial]}}
  - {{id: silver, title: Silver, reach: [{{growth: 100}}, {{referrals: 2}}], benefits: [delivery]}}
  - {{id: gold, title: Gold, reach: [{{growth: 500}}], benefits: [delivery, assistant]{gold}}}
  - id: black
    title: Black
    reach: [{{growth: 1000, referrals: 1}}]
    benefits: [delivery, assistant]
{more}"""


def ladder(more: str = "", *, gold: str = "", expiry: str = "", zone: str = SHANGHAI) -> Programme:
    text = LADDER.format(more=more, gold=gold, expiry=expiry)
    return programme(text, zone=zone)


def facts(level: str = "", *, since_us: int = START, until_us: int = 0, **balances: int) -> Facts:
    rank = Rank(level=level, since_us=since_us, until_us=until_us) if level else None
    return Facts(enrolled_at_us=START, balances=balances, rank=rank)


def level(rules: Programme, known: Facts, now_us: int = START) -> str:
    change = review(rules, known, now_us=now_us)
    if change is not None:
        return change.rank.level
    assert known.rank is not None
    return known.rank.level


# --- rising ---------------------------------------------------------------------------------


@pytest.mark.row("T1")
@pytest.mark.row("T17")
def test_a_level_is_reached_by_spending_or_by_two_referrals() -> None:
    rules = ladder()
    spender, friend = enrolled(rules), enrolled(rules)
    assert spender.level == friend.level == "basic"
    spender.record(purchase(10_000, START + DAY))
    friend.record(happening("referred", START + DAY))
    assert (spender.level, friend.level) == ("silver", "basic")
    friend.record(happening("referred", START + 2 * DAY))
    assert friend.level == "silver"


@pytest.mark.row("T1")
def test_all_of_an_alternative_is_asked_for() -> None:
    rules = ladder()
    assert level(rules, facts("basic", growth=999, referrals=1)) == "gold"
    assert level(rules, facts("basic", growth=1_000, referrals=0)) == "gold"
    assert level(rules, facts("basic", growth=1_000, referrals=1)) == "black"


@pytest.mark.row("T8")
@pytest.mark.parametrize(("announce", "steps"), [("jump", ("gold",)), ("each", ("silver", "gold"))])
def test_one_event_over_two_thresholds_ends_at_the_upper_one(
    announce: str, steps: tuple[str, ...]
) -> None:
    book = enrolled(ladder(f"  announce: {announce}\n"))
    book.record(purchase(50_000, START + DAY, id="big"))
    assert book.level == "gold"
    (_, change) = book.changes()
    assert change.steps == steps
    assert (change.before, change.cause) == ("basic", "reached")
    assert change.rank.since_us == START + DAY


@pytest.mark.row("T10")
def test_benefits_change_in_the_same_change_as_the_level() -> None:
    rules = ladder()
    up = review(rules, facts("basic", growth=500), now_us=START)
    assert up is not None
    assert up.benefits_gained == ("delivery", "assistant")
    assert up.benefits_lost == ("free_trial",)
    down = review(rules, facts("gold", growth=100), now_us=START)
    assert down is not None
    assert (down.benefits_gained, down.benefits_lost) == ((), ("assistant",))
    assert (down.rank.level, down.cause) == ("silver", "lost")


@pytest.mark.row("T18")
def test_a_level_may_ask_for_tenure_besides() -> None:
    book = enrolled(ladder(gold=", when: 'member.days >= 365'"), "2026-01-01 09:00")
    book.record(purchase(60_000, START + DAY))
    assert book.level == "silver"
    book.advance(at("2026-12-31 23:59:59", SHANGHAI))
    assert book.level == "silver"
    book.advance(at("2027-01-01 00:00:00", SHANGHAI))
    assert book.level == "gold"
    assert book.changes()[-1].rank.since_us == at("2027-01-01", SHANGHAI)


def test_a_programme_without_levels_rates_nobody() -> None:
    rules = programme("units: {points: {}}\n")
    known = Facts(enrolled_at_us=START)
    assert review(rules, known, now_us=START) is None
    assert next_review_at(rules, known, now_us=START) == 0
    assert missing(rules, known, now_us=START) == ()
    assert projected(rules, known, at_us=START) == ""


def test_who_has_a_level_that_is_no_more_is_rated_anew() -> None:
    change = review(ladder(), facts("platinum", growth=500), now_us=START)
    assert change is not None
    assert (change.cause, change.before, change.rank.level) == ("programme", "platinum", "gold")


# --- falling --------------------------------------------------------------------------------


@pytest.mark.row("T11")
def test_hysteresis_keeps_a_level_below_what_reaches_it() -> None:
    rules = ladder(gold=", keep: [{growth: 400}]")
    assert level(rules, facts("gold", growth=400)) == "gold"
    assert level(rules, facts("gold", growth=399)) == "silver"
    assert level(rules, facts("silver", growth=499)) == "silver"
    assert level(rules, facts("silver", growth=500)) == "gold"


@pytest.mark.row("T11")
def test_a_minimum_stay_is_whole_local_days() -> None:
    book = enrolled(ladder("  minimum_stay_days: 30\n"))
    book.record(purchase(50_000, START + DAY, id="p"))
    book.refund("p", kept_minor=0)
    assert book.level == "gold"
    ends = at("2026-02-02 00:00", SHANGHAI)
    assert stays_until(book.programme, book.rank or Rank(level="", since_us=0)) == ends
    book.advance(ends - SECOND)
    assert book.level == "gold"
    book.advance(ends)
    assert book.level == "basic"
    assert book.changes()[-1].cause == "lost"


@pytest.mark.row("T11")
def test_a_soft_landing_falls_one_level_at_a_time() -> None:
    soft = "  steps_down: 1\n  validity: {calendar_years: 0}\n  downgrade: at_end\n"
    book = enrolled(ladder(soft, expiry=", expiry: {calendar_years: 0}"))
    book.record(happening("referred", START + DAY))
    book.record(purchase(100_000, START + DAY))
    found = [book.level]
    for year in (2027, 2028, 2029, 2030):
        book.advance(at(f"{year}-01-01 00:00", SHANGHAI))
        found.append(book.level)
    assert found == ["black", "gold", "silver", "basic", "basic"]


def test_a_soft_landing_at_once_takes_a_step_a_day() -> None:
    book = enrolled(ladder("  steps_down: 1\n  downgrade: at_once\n"))
    book.record(purchase(50_000, START + DAY, id="p"))
    book.refund("p", kept_minor=0)
    assert book.level == "gold"
    book.advance(at("2026-01-03 00:00", SHANGHAI))
    assert book.level == "silver"
    book.advance(at("2026-01-04 00:00", SHANGHAI))
    assert book.level == "basic"


@pytest.mark.parametrize(
    ("downgrade", "before", "then"),
    [("at_once", "basic", "basic"), ("at_end", "gold", "basic"), ("never", "gold", "gold")],
)
def test_when_a_lost_level_falls_is_the_programmes_policy(
    downgrade: str, before: str, then: str
) -> None:
    book = enrolled(ladder(f"  validity: {{calendar_years: 0}}\n  downgrade: {downgrade}\n"))
    book.record(purchase(50_000, START + DAY, id="p"))
    book.refund("p", kept_minor=0)
    assert book.level == before
    book.advance(at("2026-12-31 23:59:59", SHANGHAI))
    assert book.level == before
    book.advance(at("2027-01-01 00:00:00", SHANGHAI))
    assert book.level == then


# --- validity and re-rating -----------------------------------------------------------------

DEDUCT = "  validity: {{months: 12}}\n  rerating: {{deduct: {{growth: {0}}}}}\n"


@pytest.mark.row("T9")
@pytest.mark.parametrize(
    ("spent", "deducted", "then", "left"),
    [(1_000, 400, "gold", 600), (600, 400, "silver", 200), (520, 500, "basic", 20)],
)
def test_a_level_ends_and_a_part_of_the_growth_with_it(
    spent: int, deducted: int, then: str, left: int
) -> None:
    book = enrolled(ladder(DEDUCT.format(deducted)))
    book.record(purchase(spent * 100, START + DAY))
    assert book.level == "gold"
    end = at("2027-01-03 00:00", SHANGHAI)
    book.advance(end - SECOND)
    assert (book.level, book.balance("growth")) == ("gold", spent)
    book.advance(end)
    assert (book.level, book.balance("growth")) == (then, left)
    change = book.changes()[-1]
    assert change.deduct == {"growth": deducted}
    assert change.cause == ("renewed" if then == "gold" else "expired")
    assert change.rank.until_us == at("2028-01-04 00:00", SHANGHAI)


@pytest.mark.row("T9")
@pytest.mark.row("T20")
def test_a_yearly_clear_begins_from_nothing() -> None:
    yearly = "  validity: {calendar_years: 0}\n  rerating: {clear: [growth]}\n"
    book = enrolled(ladder(yearly))
    book.record(purchase(50_000, START + DAY, id="p"))
    book.advance(at("2026-12-31 23:59:59", SHANGHAI))
    assert (book.level, book.balance("growth")) == ("gold", 500)
    book.advance(at("2027-01-01 00:00:00", SHANGHAI))
    assert (book.level, book.balance("growth")) == ("basic", 0)
    book.record(purchase(10_000, at("2027-02-01", SHANGHAI)))
    assert book.level == "silver"
    book.refund("p", kept_minor=0)
    assert book.balance("growth") == 100


@pytest.mark.row("T7")
@pytest.mark.parametrize(
    ("expiry", "curve"),
    [
        ("", "basic silver silver gold gold gold"),
        (", expiry: {calendar_years: 0}", "basic silver basic silver basic silver"),
        (", expiry: {months: 12}", "basic silver silver gold silver silver"),
        (", expiry: {anniversary_years: 1}", "basic silver basic silver silver silver"),
    ],
)
def test_one_history_gives_four_curves_under_four_policies(expiry: str, curve: str) -> None:
    book = enrolled(ladder(expiry=expiry), "2025-06-01 09:00")
    found = [book.level]
    for when, cents in (
        ("2025-07-15 12:00", 30_000),
        ("2026-06-10 12:00", 0),
        ("2026-07-01 12:00", 25_000),
        ("2027-01-02 12:00", 0),
        ("2027-05-31 12:00", 10_000),
    ):
        moment = at(when, SHANGHAI)
        book.advance(moment)
        if cents:
            book.record(purchase(cents, moment))
        found.append(book.level)
    assert " ".join(found) == curve


def test_a_level_that_ended_long_ago_is_rated_for_every_end() -> None:
    rules = ladder("  validity: {calendar_years: 0}\n  steps_down: 1\n")
    known = facts("gold", until_us=at("2027-01-01", SHANGHAI))
    now = at("2029-06-01", SHANGHAI)
    levels = []
    while (change := review(rules, known, now_us=now)) is not None:
        levels.append((change.rank.level, change.rank.since_us, change.rank.until_us))
        known = replace(known, rank=change.rank, balances=after(known.balances, change))
    first, second, third = (at(f"{year}-01-01", SHANGHAI) for year in (2027, 2028, 2029))
    assert levels == [("silver", first, second), ("basic", second, 0)]
    assert third < now


def test_the_next_review_is_the_end_of_the_validity() -> None:
    rules = ladder("  validity: {calendar_years: 0}\n")
    until = at("2027-01-01", SHANGHAI)
    assert next_review_at(rules, facts("gold", until_us=until), now_us=START) == until
    assert next_review_at(ladder(), facts("gold", growth=500), now_us=START) == 0


# --- what is missing ------------------------------------------------------------------------


@pytest.mark.row("T22")
def test_a_member_sees_how_far_the_next_levels_are_and_what_they_give() -> None:
    rules = ladder()
    known = facts("basic", growth=380, referrals=1)
    silver, gold, black = missing(rules, replace(known, balances={"growth": 80}), now_us=START)
    assert sentence(rules, silver) == "20 growth or 2 referrals to Silver: you get free delivery"
    gold, black = missing(rules, facts("silver", growth=380, referrals=1), now_us=START)
    assert gold.alternatives == ({"growth": 120},)
    assert sentence(rules, gold) == "120 growth to Gold: you get a private assistant"
    assert black.alternatives == ({"growth": 620},)


@pytest.mark.row("T22")
def test_the_level_to_come_is_told_from_what_will_be_left() -> None:
    rules = ladder("  validity: {calendar_years: 0}\n")
    until = at("2027-01-01", SHANGHAI)
    known = facts("gold", until_us=until, growth=600)
    assert projected(rules, known, at_us=until - SECOND) == "gold"
    assert projected(rules, known, at_us=until) == "gold"
    assert projected(rules, known, at_us=until, balances={"growth": 150}) == "silver"


@pytest.mark.row("T23")
@pytest.mark.row("T19")
def test_benefits_of_a_level_say_who_is_served_first() -> None:
    rules = ladder()
    assert rules.tiers is not None
    queue = sorted(
        rules.tiers.levels,
        key=lambda one: -max(rules.benefits[name].priority for name in one.benefits),
    )
    assert [one.id for one in queue] == ["gold", "black", "basic", "silver"]


# --- QQ and cards ---------------------------------------------------------------------------


@pytest.mark.row("T12")
def test_the_thirteenth_qq_level_takes_221_days() -> None:
    levels = "".join(
        f"  - {{id: n{n}, reach: [{{days: {n * n + 4 * n}}}]}}\n" for n in range(1, 65)
    )
    rules = programme(
        f"""\
units: {{days: {{kind: growth}}}}
events: {{active: {{}}}}
earn: {{active: {{on: active, unit: days, points: 1, limits: [{{times: 1, per: day}}]}}}}
tiers:
  levels:
  - {{id: n0}}
{levels}""",
        zone=SHANGHAI,
    )
    book = enrolled(rules)
    day_of: dict[str, int] = {}
    for day in range(1, 222):
        book.record(happening("active", START + day * DAY))
        day_of.setdefault(book.level, day)
    assert day_of["n1"] == 5
    assert day_of["n13"] == 221
    reached = list(day_of.items())[1:]
    assert [later[1] - one[1] for one, later in pairwise(reached)] == [
        2 * n + 5 for n in range(1, 13)
    ]


STARS = """\
units: {{stars: {{}}, year: {{kind: growth, expiry: {{anniversary_years: 1}}}}}}
main: stars
earn:
  star: {{on: purchase, {worth}}}
  year: {{on: purchase, unit: year, {worth}}}
tiers:
  levels: [{{id: green}}, {{id: gold, reach: [{{year: {gold}}}]}}]
  validity: {{months: 12}}
"""


@pytest.mark.row("P25")
@pytest.mark.parametrize(
    ("worth", "gold", "free", "visits_to_gold", "visits_to_free"),
    [
        ("points: 1", 30, 12, 30, 12),
        ("rate: {points: 2, per_minor: 100}", 300, 125, 50, 21),
    ],
)
def test_star_cards_before_and_after_2016(
    worth: str, gold: int, free: int, visits_to_gold: int, visits_to_free: int
) -> None:
    book = enrolled(programme(STARS.format(worth=worth, gold=gold), zone="UTC"))
    first_free = first_gold = 0
    for visit in range(1, 61):
        book.record(purchase(300, START + visit * DAY))
        first_free = first_free or (visit if book.balance("stars") >= free else 0)
        first_gold = first_gold or (visit if book.level == "gold" else 0)
    assert (first_gold, first_free) == (visits_to_gold, visits_to_free)


# --- properties -----------------------------------------------------------------------------

POLICIES = [
    ladder(),
    ladder(gold=", keep: [{growth: 300}]"),
    ladder("  steps_down: 1\n  downgrade: at_once\n"),
    ladder("  validity: {months: 3}\n  rerating: {deduct: {growth: 200}}\n"),
    ladder("  validity: {calendar_years: 0}\n  downgrade: never\n  announce: each\n"),
    ladder("  validity: {calendar_years: 0}\n  rerating: {clear: [growth]}\n  steps_down: 2\n"),
    ladder("  minimum_stay_days: 40\n"),
]


@given(
    st.sampled_from(POLICIES),
    st.sampled_from(["", "basic", "silver", "gold", "black", "gone"]),
    st.integers(0, 2_000),
    st.integers(0, 3),
    st.integers(0, 900),
)
def test_a_review_ends_and_benefits_follow_the_level(
    rules: Programme, start: str, growth: int, referrals: int, days: int
) -> None:
    assert rules.tiers is not None
    benefits = {one.id: set(one.benefits) for one in rules.tiers.levels} | {"gone": set()}
    known = facts(start, until_us=START + 30 * DAY, growth=growth, referrals=referrals)
    own = benefits[start] if start else set()
    changes: list[RankChange] = []
    while (change := review(rules, known, now_us=START + days * DAY)) is not None:
        changes.append(change)
        own = (own | set(change.benefits_gained)) - set(change.benefits_lost)
        known = replace(known, rank=change.rank, balances=after(known.balances, change))
        assert len(changes) < 100
        assert change.rank.level != change.before or change.cause == "renewed"
        assert not change.steps or change.steps[-1] == change.rank.level
    assert known.rank is not None
    assert own == benefits[known.rank.level]
    assert min(known.balances.values()) >= 0
    later = next_review_at(rules, known, now_us=START + days * DAY)
    assert later == 0 or later > START + days * DAY
