"""A first programme file from the three questions before design: what for, with what, for whom.

The answers stand in the file, as `aim`. What they suggest is one of four shapes: points, levels,
both, or paid membership; each is a short file that says in comments what to change.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

from node.programme import presets

Goal = Literal["members", "loyalty", "participation", "spend"]
Mode = Literal["points", "levels", "both", "paid"]
GOALS: Final[dict[Goal, str]] = {
    "members": "more members",
    "loyalty": "members who stay",
    "participation": "members who take part",
    "spend": "members who buy more",
}
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
FIRST_RATE: Final = {"JPY": 100, "KRW": 1_000}
"""What earns a point where a minor unit is not a hundredth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the author of a programme says of it."""

    name: str
    zone: str
    currency: str
    goal: Goal
    resources: str
    need: str


def suggested(goal: Goal) -> tuple[Mode, str]:
    """The shape for a goal, and why."""
    if goal == "members":
        return "points", "points are understood at once, and everyone earns some on the first visit"
    if goal == "loyalty":
        return "levels", "who has reached a level comes back to keep it"
    if goal == "participation":
        return "both", "tasks earn points at once and raise the level in time"
    return "both", "points bring the next purchase, the next level the one after"


def written(answers: Answers, mode: Mode) -> str:
    """A programme file of this shape."""
    parts = [_head(answers), _PARTS[mode], _TAIL]
    per_minor = FIRST_RATE.get(answers.currency, 100)
    return "\n".join(parts).replace("PER_MINOR", str(per_minor))


def from_preset(answers: Answers, preset: str) -> str:
    """A preset under the author's own name, zone and currency. Raises NotFound."""
    text = presets.programme(preset).decode()
    for field, value in (
        ("version", "1"),
        ("name", answers.name),
        ("zone", answers.zone),
        ("currency", answers.currency),
    ):
        before = re.search(rf"^{field}: .*$", text, re.MULTILINE)
        assert before is not None, f"every preset has a {field}"
        line = f"{field}: {json.dumps(value, ensure_ascii=False)}"
        text = text[: before.start()] + line + text[before.end() :]
    return text.replace("\nunits:\n", f"\n{_aim(answers)}units:\n", 1)


def _head(answers: Answers) -> str:
    return (
        "# How this brand's points are earned and spent. A changed programme needs a new version.\n"
        'version: "1"\n'
        f"name: {json.dumps(answers.name, ensure_ascii=False)}\n"
        f"zone: {answers.zone}\n"
        f"currency: {answers.currency}\n\n{_aim(answers)}"
    )


def _aim(answers: Answers) -> str:
    return (
        "# What the programme is for, with what it rewards, and which need it meets.\n"
        "aim:\n"
        f"  goal: {answers.goal}\n"
        f"  resources: {json.dumps(answers.resources, ensure_ascii=False)}\n"
        f"  need: {json.dumps(answers.need, ensure_ascii=False)}\n\n"
    )


_POINTS: Final = """\
  # What members spend, here and at other brands.
  points: {kind: hard, expiry: {months: 24}}
"""
_GROWTH: Final = """\
  # What makes levels. It counts for a year and cannot be spent.
  growth: {kind: growth, expiry: {months: 12}}
"""
_LEVELS: Final = """\
# Three levels for a year each; whoever has less growth then falls by one.
tiers:
  levels:
    - {id: basic, title: Basic}
    - {id: silver, title: Silver, reach: [{growth: 300}], benefits: [early]}
    - {id: gold, title: Gold, reach: [{growth: 1000}], benefits: [early, gift]}
  validity: {months: 12}
  steps_down: 1

benefits:
  early: {title: Offers a day early}
  gift: {title: A gift for the birthday, cost_minor: 1000, priority: 10}
"""
_PARTS: Final[dict[Mode, str]] = {
    "points": f"""\
units:
{_POINTS}
# Something happens besides purchases: an app or a till tells it.
events:
  sign_in: {{title: Come by}}

earn:
  # One point for every so many minor units of a purchase, rounded down.
  purchase: {{on: purchase, rate: {{points: 1, per_minor: PER_MINOR}}}}
  sign_in: {{on: sign_in, points: 2, source: activity, limits: [{{times: 1, per: day}}]}}
""",
    "levels": f"""\
units:
{_GROWTH}
earn:
  # One growth for every so many minor units of a purchase, rounded down.
  purchase: {{on: purchase, unit: growth, rate: {{points: 1, per_minor: PER_MINOR}}}}

{_LEVELS}""",
    "both": f"""\
units:
{_POINTS}{_GROWTH}
# Something happens besides purchases: an app or a till tells it.
events:
  sign_in: {{title: Come by}}
  review: {{title: Write a review}}

earn:
  # Purchases earn points; what members do raises their level. Both for one thing pay it twice.
  purchase: {{on: purchase, rate: {{points: 1, per_minor: PER_MINOR}}}}
  sign_in:
    on: sign_in
    unit: growth
    points: 2
    source: activity
    limits: [{{times: 1, per: day}}]
  review:
    on: review
    unit: growth
    points: 20
    source: activity
    limits: [{{times: 3, per: week}}]

{_LEVELS}""",
    "paid": f"""\
units:
{_POINTS}  # What was paid lasts until the anniversary of joining.
  fee: {{kind: growth, expiry: {{anniversary_years: 1}}}}

# Told when a member has paid for a year.
events:
  fee_paid: {{}}

earn:
  # Paying members earn points.
  purchase:
    on: purchase
    when: member.level == 'member'
    rate: {{points: 2, per_minor: PER_MINOR}}
  fee: {{on: fee_paid, unit: fee, points: 1, limits: [{{times: 1, per: day}}]}}

tiers:
  levels:
    - {{id: guest, title: Guest}}
    - {{id: member, title: Member, reach: [{{fee: 1}}], benefits: [prices]}}
  downgrade: at_once
  minimum_stay_days: 30

benefits:
  prices: {{title: Prices for members, cost_minor: 2000}}

enrolment: {{mode: paid}}
""",
}
_TAIL: Final = """\
# Points are pending, not spendable, until a purchase can no longer be returned.
return_window_days: 14
# How old a purchase may be when it is recorded.
backdate_days: 30
redeemed_points_per_day: 1000000
"""
