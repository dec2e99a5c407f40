"""What one version of a programme promised and the next no longer does."""

from __future__ import annotations

from collections.abc import Iterator

from node.programme.model import EarnRule, Level, Programme


def broken_forms(before: Programme, after: Programme) -> tuple[str, ...]:
    """Why `after` cannot follow `before` at all, as sentences: what members own would be lost."""
    return tuple(_broken(before, after))


def _broken(before: Programme, after: Programme) -> Iterator[str]:
    if after.currency != before.currency:
        yield f"The programme earns in {before.currency}."
    if after.main_unit != before.main_unit:
        yield f"Partners redeem {before.main_unit}, and agreements name it."
    for name, unit in before.units.items():
        kept = after.units.get(name)
        if kept is None:
            yield f"Members may have points of the unit {name}."
        elif kept.kind is not unit.kind:
            yield f"The unit {name} is of kind {unit.kind.value}."


def taken_away(before: Programme, after: Programme) -> tuple[str, ...]:
    """What members lose when `after` follows `before`, as sentences; empty if nothing."""
    return tuple(_lost(before, after))


def _lost(before: Programme, after: Programme) -> Iterator[str]:
    for name, unit in before.units.items():
        kept = after.units.get(name)
        if kept is not None and kept.expiry != unit.expiry and not kept.expiry.never:
            yield f"Points of {name} expire by another rule."
    for name, rule in before.earn.items():
        if _size(rule) < 0:
            continue
        now = after.earn.get(name)
        if now is None:
            yield f"The rule {name} earns nothing any more."
        elif now != rule and not _no_worse(rule, now):
            yield f"The rule {name} earns less, or otherwise."
    yield from _levels(before, after)


def _size(rule: EarnRule) -> int:
    return rule.points if rule.points is not None else 1


def _no_worse(rule: EarnRule, now: EarnRule) -> bool:
    """Whether only the rate or the points changed, and upwards."""
    if rule.rate is not None and now.rate is not None:
        same = now.model_copy(update={"rate": rule.rate}) == rule
        more = now.rate.points * rule.rate.per_minor >= rule.rate.points * now.rate.per_minor
        return same and more
    if rule.points is not None and now.points is not None:
        same = now.model_copy(update={"points": rule.points}) == rule
        return same and now.points >= rule.points
    return False


def _levels(before: Programme, after: Programme) -> Iterator[str]:
    levels = before.tiers.levels if before.tiers is not None else ()
    kept = {level.id: level for level in after.tiers.levels} if after.tiers is not None else {}
    for level in levels:
        now = kept.get(level.id)
        if now is None:
            yield f"There is no level {level.id} any more."
            continue
        for benefit in level.benefits:
            if benefit not in now.benefits:
                yield f"The level {level.id} no longer gives {benefit}."
        if _harder(level, now):
            yield f"The level {level.id} asks for more, or for something else."


def _harder(level: Level, now: Level) -> bool:
    if now.when != level.when and now.when is not None:
        return True
    return not all(
        any(_covers(way, other) for other in now.reach) or not now.reach for way in level.reach
    )


def _covers(way: dict[str, int], other: dict[str, int]) -> bool:
    """Whether whoever goes `way` also goes `other`."""
    return all(way.get(unit, 0) >= points for unit, points in other.items())
