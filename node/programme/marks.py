"""Badges, titles and tags that a rule gives and takes; those without a rule are left alone.

None of them is worth points: a mark is a fact about a member. A member may have several of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from node.programme.calendar import end_of_day, local_day
from node.programme.expressions import Failed
from node.programme.facts import Event, Facts, MarkChange, MarkKind
from node.programme.model import Mark, Programme
from node.programme.situation import Situation

_STAYS: Final[Mapping[MarkKind, bool]] = {"badge": True, "title": True, "tag": False}
"""Whether a mark of this kind outlives its condition if the file does not say."""


def review(
    programme: Programme, facts: Facts, event: Event | None, *, now_us: int
) -> tuple[MarkChange, ...]:
    """What is given and taken now. `event` is what just happened; None if only time passed.

    A mark with `on` is looked at after such events only.
    """
    situation = Situation(programme, facts, event, now_us=now_us)
    changes = []
    for kind, marks, own in _kinds(programme, facts):
        for name, mark in marks.items():
            if mark.when is None or (mark.on and (event is None or event.type != mark.on)):
                continue
            given = name in own
            if given and _keeps(kind, mark):
                continue
            holds = programme.expressions.holds(mark.when, situation)
            if not isinstance(holds, Failed) and holds != given:
                changes.append(MarkChange(kind=kind, name=name, given=not given))
    return tuple(changes)


def next_review_at(programme: Programme, *, now_us: int) -> int:
    """When time alone may change a mark: the next local midnight, or 0 without such marks."""
    every = (*programme.badges.values(), *programme.titles.values(), *programme.tags.values())
    by_time = programme.expressions.by_time
    if any(mark.when and not mark.on and by_time(mark.when) for mark in every):
        return end_of_day(programme, local_day(programme, now_us))
    return 0


def _kinds(
    programme: Programme, facts: Facts
) -> tuple[tuple[MarkKind, Mapping[str, Mark], frozenset[str]], ...]:
    return (
        ("badge", programme.badges, facts.badges),
        ("title", programme.titles, facts.titles),
        ("tag", programme.tags, facts.tags),
    )


def _keeps(kind: MarkKind, mark: Mark) -> bool:
    return _STAYS[kind] if mark.keeps is None else mark.keeps
