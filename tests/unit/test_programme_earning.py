"""What events earn: rates, rounding, multipliers, limits, penalties, and why."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.clock import DAY, HOUR
from comity.errors import Overflow
from node.programme import Programme
from node.programme.earning import REASONS, count_keys, earn
from node.programme.facts import Count, Earned, Event, Facts, Line
from node.programme.plan import plan_of
from tests.trials import at, happening, programme, purchase

NOON = at("2026-11-22 12:00", "Asia/Shanghai")
NEW = Facts(enrolled_at_us=at("2026-01-01", "Asia/Shanghai"))

CITY = programme(
    """\
units:
  points: {expiry: {months: 24}}
  growth: {kind: growth, expiry: {calendar_years: 0}}
events:
  login: {}
  signin: {title: Sign in}
  bind: {title: Bind an account}
  article_shared: {}
  refused_delivery: {}
earn:
  buy: {on: purchase, rate: {points: 1, per_minor: 100}}
  grow: {on: purchase, unit: growth, rate: {points: 1, per_minor: 100}}
  login: {on: login, unit: growth, points: 2, source: activity}
  signin: {on: signin, points: 10, source: activity, limits: [{times: 1, per: day}]}
  bind: {on: bind, points: 50, source: bonus, funded_by: partner, limits: [{times: 1, per: ever}]}
  share:
    on: article_shared
    points: 4
    limits: [{points: 10, per: week}, {times: 4, per: month}]
  refused: {on: refused_delivery, points: -30, penalty: debt}
""",
    zone="Asia/Shanghai",
)


def earned(rules: Programme, event: Event, facts: Facts = NEW) -> Earned:
    return earn(rules, facts, event, now_us=event.at_us)


def points(found: Earned) -> Counter[str]:
    sums: Counter[str] = Counter()
    for grant in found.grants:
        sums[grant.unit] += grant.points
    return sums


def reasons(found: Earned) -> dict[str, str]:
    return {one.rule: one.reason for one in found.verdicts if one.reason != "other_event"}


# --- rates and rounding ---------------------------------------------------------------------


@pytest.mark.row("P1")
def test_one_point_for_each_whole_yuan() -> None:
    found = earned(CITY, purchase(1280, NOON))
    assert points(found)["points"] == 12
    assert [one.detail for one in found.verdicts if one.rule == "buy"] == [
        "1280 at 1/100, rounded down"
    ]


@pytest.mark.row("P1")
@pytest.mark.parametrize(("rounding", "given"), [("order", 3), ("line", 1)])
def test_fractions_are_dropped_once_for_the_order_or_in_each_line(
    rounding: str, given: int
) -> None:
    rules = programme(
        f"""\
units: {{points: {{}}}}
earn: {{buy: {{on: purchase, rate: {{points: 1, per_minor: 100}}, rounding: {rounding}}}}}
"""
    )
    assert points(earned(rules, purchase(300, NOON, lines=[180, 70, 50])))["points"] == given
    assert points(earned(rules, purchase(300, NOON)))["points"] == 3


@pytest.mark.row("T5")
def test_a_login_and_thirty_yuan_are_thirty_two() -> None:
    both = points(earned(CITY, happening("login", NOON))) + points(
        earned(CITY, purchase(3000, NOON))
    )
    assert both["growth"] == 32


def test_less_than_a_point_earns_nothing_and_says_so() -> None:
    found = earned(CITY, purchase(99, NOON))
    assert found.grants == ()
    assert reasons(found) == {"buy": "no_points", "grow": "no_points"}


@pytest.mark.row("T6")
@pytest.mark.row("P18")
def test_every_grant_says_where_it_comes_from_and_who_pays() -> None:
    events = [purchase(500, NOON), happening("signin", NOON), happening("bind", NOON)]
    grants = [grant for event in events for grant in earned(CITY, event).grants]
    assert [(one.rule, one.source, one.funded_by) for one in grants] == [
        ("buy", "business", "merchant"),
        ("grow", "business", "merchant"),
        ("signin", "activity", "merchant"),
        ("bind", "bonus", "partner"),
    ]


# --- limits ---------------------------------------------------------------------------------


def many(rules: Programme, events: list[Event]) -> tuple[list[int], list[str]]:
    """What each event gives, with the counts carried along, and why."""
    facts, given_, why = NEW, [], []
    for event in events:
        found = earned(rules, event, facts)
        facts = replace(facts, counts={**facts.counts, **found.counts})
        given_.append(sum(grant.points for grant in found.grants))
        why.append(next(one.reason for one in found.verdicts if one.reason != "other_event"))
    return given_, why


@pytest.mark.row("P2")
def test_signing_in_counts_once_a_local_day() -> None:
    late, later = at("2026-11-22 23:59:59", CITY.zone), at("2026-11-23 00:00:00", CITY.zone)
    twice = [happening("signin", NOON), happening("signin", late)]
    assert many(CITY, twice) == ([10, 0], ["earned", "limit_times"])
    assert many(CITY, [happening("signin", late), happening("signin", later)])[0] == [10, 10]


@pytest.mark.row("P3")
def test_a_task_for_once_is_done_once_for_ever() -> None:
    first, again = happening("bind", NOON), happening("bind", NOON + 3_000 * DAY)
    assert many(CITY, [first, again]) == ([50, 0], ["earned", "limit_times"])


@pytest.mark.row("P3")
@pytest.mark.row("P5")
def test_any_event_may_earn_until_its_limits_in_points_and_times() -> None:
    monday = at("2026-11-02 09:00", CITY.zone)
    shares = [happening("article_shared", monday + hour * HOUR) for hour in range(4)]
    assert many(CITY, shares) == (
        [4, 4, 2, 0],
        ["earned", "earned", "limit_points", "limit_points"],
    )
    next_weeks = [happening("article_shared", monday + week * 7 * DAY) for week in range(1, 4)]
    assert many(CITY, [*shares, *next_weeks]) == (
        [4, 4, 2, 0, 4, 0, 0],
        [
            "earned",
            "earned",
            "limit_points",
            "limit_points",
            "earned",
            "limit_times",
            "limit_times",
        ],
    )


@pytest.mark.parametrize(
    ("per", "within", "after"),
    [
        ("day", "2026-12-31 23:59:59", "2027-01-01 00:00:00"),
        ("week", "2027-01-03 23:59:59", "2027-01-04 00:00:00"),
        ("month", "2026-12-31 23:59:59", "2027-01-01 00:00:00"),
        ("year", "2026-12-31 23:59:59", "2027-01-01 00:00:00"),
    ],
)
def test_a_period_ends_at_local_midnight(per: str, within: str, after: str) -> None:
    rules = programme(
        f"""\
units: {{points: {{}}}}
events: {{visit: {{}}}}
earn: {{visit: {{on: visit, points: 1, limits: [{{times: 1, per: {per}}}]}}}}
""",
        zone="Europe/Berlin",
    )
    first = happening("visit", at("2026-12-31 00:00:00", "Europe/Berlin"))
    second = happening("visit", at(within, "Europe/Berlin"))
    third = happening("visit", at(after, "Europe/Berlin"))
    assert many(rules, [first, second, third])[0] == [1, 0, 1]


def test_the_counts_to_load_are_those_that_change() -> None:
    event = happening("article_shared", NOON)
    assert set(earned(CITY, event).counts) == set(count_keys(CITY, event))
    assert count_keys(CITY, event) == (("share", "2026-W47"), ("share", "2026-11"))


FAST = programme(
    """\
units: {points: {}}
events: {scan: {}}
earn:
  scan: {on: scan, points: 1}
  bonus: {on: scan, points: 5}
velocity: [{on: scan, times: 2, per: day}]
"""
)


def test_too_many_events_of_a_day_wait_for_a_person() -> None:
    scans = [happening("scan", NOON) for _ in range(3)]
    given_, why = many(FAST, scans)
    assert given_ == [6, 6, 0]
    assert why[2] == "velocity"
    full = replace(NEW, counts={("velocity:0", "2026-11-22"): Count(times=2)})
    approved = earn(FAST, full, scans[2], now_us=NOON, approved=True)
    assert sum(grant.points for grant in approved.grants) == 6


# --- multipliers ----------------------------------------------------------------------------

STACK = """\
units: {{points: {{}}}}
earn: {{buy: {{on: purchase, rate: {{points: 1, per_minor: 100}}}}}}
multipliers:
  member_day: {{when: 'local.day == 22', numerator: 3, denominator: 2}}
  evening: {{when: 'local.hour >= 12', numerator: 6, denominator: 5}}
  never: {{when: 'local.day == 8', numerator: 100}}
combine: {combine}
"""


@pytest.mark.row("C10")
@pytest.mark.parametrize(("combine", "given"), [("largest", 19), ("multiply", 23)])
def test_multipliers_carry_exact_ratios_and_round_once(combine: str, given: int) -> None:
    rules = programme(STACK.format(combine=combine))
    found = earned(rules, purchase(1_299, at("2026-11-22 12:00")))
    assert points(found)["points"] == given
    grant = found.grants[0]
    assert 1_299 * grant.numerator // grant.denominator == given


def test_a_fixed_reward_is_multiplied_only_by_name() -> None:
    rules = programme(
        """\
units: {points: {}}
events: {visit: {}}
earn: {visit: {on: visit, points: 5}}
multipliers:
  rates: {when: 'true', numerator: 10}
  visits: {when: 'true', numerator: 3, denominator: 2, rules: [visit]}
"""
    )
    found = earned(rules, happening("visit", NOON))
    assert points(found)["points"] == 7
    assert found.verdicts[0].detail == "×3/2 visits"


def test_points_that_no_ledger_holds_are_refused() -> None:
    rules = programme(
        """\
units: {points: {}}
earn: {buy: {on: purchase, rate: {points: 1000000000000, per_minor: 1}}}
"""
    )
    with pytest.raises(Overflow):
        earned(rules, purchase(10**12, NOON))


# --- penalties, pending, expiry -------------------------------------------------------------


@pytest.mark.row("P8")
def test_a_refused_delivery_costs_points() -> None:
    found = earned(CITY, happening("refused_delivery", NOON))
    assert found.grants == ()
    assert [(one.points, one.unit, one.debt) for one in found.penalties] == [(30, "points", True)]
    assert [one.earned for one in found.verdicts if one.reason == "penalty"] == [-30]


def test_points_of_a_purchase_wait_for_the_return_window() -> None:
    rules = programme(
        """\
units: {points: {}}
events: {visit: {}, review: {}}
return_window_days: 14
earn:
  buy: {on: purchase, rate: {points: 1, per_minor: 100}}
  at_once: {on: purchase, points: 1, pending: false}
  visit: {on: visit, points: 1}
  review: {on: review, points: 1, pending: true}
"""
    )
    bought = earned(rules, purchase(100, NOON)).grants
    assert [one.available_at_us - NOON for one in bought] == [14 * DAY, 0]
    assert earned(rules, happening("visit", NOON)).grants[0].available_at_us == NOON
    assert earned(rules, happening("review", NOON)).grants[0].available_at_us == NOON + 14 * DAY


def test_an_event_told_too_late_earns_nothing_that_expired_before() -> None:
    login = happening("login", at("2025-12-31 23:00", CITY.zone))
    found = earn(CITY, NEW, login, now_us=at("2026-01-01 00:00", CITY.zone))
    assert found.grants == ()
    assert reasons(found) == {"login": "expired"}
    assert earn(CITY, NEW, login, now_us=at("2025-12-31 23:59:59", CITY.zone)).grants


# --- QQ: a level needs N² + 4N days ---------------------------------------------------------

QQ = programme(
    """\
units: {hundredths: {kind: growth, title: hundredths of a day}}
events: {online: {attributes: {minutes: number, vip: number}}}
earn:
  online:
    on: online
    unit: hundredths
    formula: 'event.number.minutes >= 120 ? 100 : event.number.minutes >= 30 ? 50 : 0'
    limits: [{times: 1, per: day}]
multipliers:
  vip1: {when: 'event.number.vip == 1', numerator: 11, denominator: 10, rules: [online]}
  vip2: {when: 'event.number.vip == 2', numerator: 12, denominator: 10, rules: [online]}
  vip3: {when: 'event.number.vip == 3', numerator: 13, denominator: 10, rules: [online]}
  vip4: {when: 'event.number.vip == 4', numerator: 14, denominator: 10, rules: [online]}
  vip5: {when: 'event.number.vip == 5', numerator: 15, denominator: 10, rules: [online]}
  vip6: {when: 'event.number.vip == 6', numerator: 16, denominator: 10, rules: [online]}
""",
    zone="Asia/Shanghai",
)


@pytest.mark.row("T12")
@pytest.mark.parametrize(
    ("minutes", "vip", "hundredths"),
    [(29, 0, 0), (30, 0, 50), (119, 0, 50), (120, 0, 100)]
    + [(120, vip, 100 + 10 * vip) for vip in range(1, 7)]
    + [(30, vip, 50 + 5 * vip) for vip in range(1, 7)],
)
def test_qq_counts_active_days_and_members_days_count_more(
    minutes: int, vip: int, hundredths: int
) -> None:
    event = happening("online", NOON, {"minutes": minutes, "vip": vip})
    assert points(earned(QQ, event))["hundredths"] == hundredths


# --- explain is true ------------------------------------------------------------------------

numbers = st.integers(0, 10**7)
events = st.one_of(
    st.builds(
        lambda at_us, lines: Event(
            id="x",
            type="purchase",
            at_us=at_us,
            amount_minor=sum(lines),
            lines=tuple(Line(amount_minor=one) for one in lines),
        ),
        st.integers(NOON - 400 * DAY, NOON),
        st.lists(numbers, min_size=1, max_size=5),
    ),
    st.builds(
        lambda at_us, kind: Event(id="x", type=kind, at_us=at_us),
        st.integers(NOON - 400 * DAY, NOON),
        st.sampled_from(["login", "signin", "bind", "article_shared", "refused_delivery"]),
    ),
)
ALL = programme(STACK.format(combine="multiply"))


@given(st.sampled_from([CITY, ALL]), st.lists(events, min_size=1, max_size=12))
def test_the_explanation_sums_to_what_happened(rules: Programme, told: list[Event]) -> None:
    facts = NEW
    for event in told:
        found = earn(rules, facts, event, now_us=NOON)
        if event.type == "purchase" or rules is CITY:
            assert [one.rule for one in found.verdicts] == list(rules.earn)
        assert {one.reason for one in found.verdicts} <= set(REASONS)
        assert sum(one.earned for one in found.verdicts) == sum(
            one.points for one in found.grants
        ) - sum(one.points for one in found.penalties)
        by_rule = {one.rule: one.earned for one in found.verdicts}
        for grant in found.grants:
            assert by_rule[grant.rule] == grant.points > 0
        facts = replace(facts, counts={**facts.counts, **found.counts})


@given(st.sampled_from([CITY, ALL]), events)
def test_the_same_event_earns_the_same(rules: Programme, event: Event) -> None:
    again = Programme.model_validate(rules.model_dump())
    first = earn(rules, NEW, event, now_us=NOON)
    assert first == earn(rules, NEW, event, now_us=NOON)
    assert first == earn(again, NEW, event, now_us=NOON)


def test_what_is_made_ready_for_a_programme_goes_with_it() -> None:
    rules = programme(STACK.format(combine="largest"))
    plan = weakref.ref(plan_of(rules).factors["buy"][0][1])
    assert plan_of(rules) is plan_of(rules)
    del rules
    gc.collect()
    assert plan() is None
