"""The four states of a member's life, by local days."""

from __future__ import annotations

import pytest

from node.programme.facts import Activity
from node.programme.lifecycle import state
from tests.trials import at, programme

RULES = programme(
    """\
units: {points: {}}
lifecycle: {new_days: 30, sticky_purchases: 3, dormant_days: 180}
""",
    zone="Asia/Shanghai",
)
JOINED = at("2026-01-01 23:30", "Asia/Shanghai")


def state_at(local: str, *, purchases: int = 0, last: str = "") -> str:
    acted = at(last, "Asia/Shanghai") if last else 0
    activity = Activity(purchases=purchases, last_event_at_us=acted)
    return state(RULES, activity, enrolled_at_us=JOINED, now_us=at(local, "Asia/Shanghai"))


@pytest.mark.row("T3")
def test_a_member_is_new_then_to_be_retained_then_dormant() -> None:
    assert state_at("2026-01-01 23:30") == "new"
    assert state_at("2026-01-30 23:59:59") == "new"
    assert state_at("2026-01-31 00:00:00") == "retain"
    assert state_at("2026-06-29 23:59:59") == "retain"
    assert state_at("2026-06-30 00:00:00") == "dormant"


@pytest.mark.row("T3")
def test_three_purchases_stick_until_the_member_falls_asleep_and_wakes() -> None:
    assert state_at("2026-01-05", purchases=3, last="2026-01-04 12:00") == "sticky"
    assert state_at("2026-07-02 23:59:59", purchases=3, last="2026-01-04 12:00") == "sticky"
    assert state_at("2026-07-03", purchases=3, last="2026-01-04 12:00") == "dormant"
    assert state_at("2026-07-04", purchases=3, last="2026-07-04") == "sticky"
    assert state_at("2026-07-04", purchases=2, last="2026-07-04") == "retain"
