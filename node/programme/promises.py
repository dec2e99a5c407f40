"""What every later version of a programme must leave as it is: members own points by it."""

from __future__ import annotations

from collections.abc import Iterator

from node.programme.model import Programme


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
