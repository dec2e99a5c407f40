"""What real behaviour suggests for a programme: how many levels, and from where.

A *history* is one customer's growth by purchase, in order: each number is what that purchase and
the behaviour around it are worth in growth (`¥1 = 1`, a sign-in 2, …). Shares are whole parts of
a thousand, so that nothing here depends on how a machine rounds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from comity.errors import NotFound
from comity.points import Rounding, divide

FLAT_PER_MILLE: Final = 30
"""The repeat share is stable once one more purchase raises it by less than this."""

MIN_CUSTOMERS: Final = 30
"""Shares of fewer customers say nothing."""

TOPS: Final = ((200, "the core fifth of the 2-8 law"), (50, "the best twentieth"))
"""How many in a thousand the upper levels are for."""

_MEMORABLE: Final = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100)


# --- the retention node ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """Of the customers who bought `k` times, how many bought again."""

    k: int
    customers: int
    again: int

    @property
    def per_mille(self) -> int:
        """The share that bought again, rounded to the nearest thousandth."""
        return divide(1_000 * self.again, self.customers, Rounding.HALF_UP)


def repeats(purchases: Iterable[int]) -> tuple[Repeat, ...]:
    """P(next | k) for k = 1, 2, … from the number of purchases of each customer."""
    by_count = Counter(count for count in purchases if count > 0)
    found, customers = [], sum(by_count.values())
    for k in range(1, max(by_count, default=0) + 1):
        again = customers - by_count[k]
        found.append(Repeat(k=k, customers=customers, again=again))
        customers = again
    return tuple(found)


def retention_node(found: Sequence[Repeat], *, flat_per_mille: int = FLAT_PER_MILLE) -> int:
    """The number of purchases after which customers stay: the first that one more hardly betters.

    Raises NotFound if the customers are too few to show one.
    """
    known = [one for one in found if one.customers >= MIN_CUSTOMERS]
    for one, more in pairwise(known):
        if one.k > 1 and more.per_mille - one.per_mille < flat_per_mille:
            return one.k
    raise NotFound(
        "These customers show no purchase after which they stay: they are too few, or each "
        "purchase still makes the next one likelier. Take a longer time."
    )


def node_threshold(histories: Iterable[Sequence[int]], node: int) -> int:
    """The growth with which the middle customer passes the node, rounded to be remembered."""
    reached = sorted(sum(one[:node]) for one in histories if len(one) >= node)
    if not reached:
        raise NotFound(f"No customer bought {node} times.")
    return memorable(reached[len(reached) // 2])


def memorable(value: int) -> int:
    """The number people remember that is nearest to `value`: 1, 2, 5, 10, 12, 15, 20, … 1,200.

    Two as near: the smaller, which promises more.
    """
    if value <= 10:
        return max(1, value)
    scale = int("1" + "0" * (len(str(value)) - 2))
    return min((step * scale for step in _MEMORABLE), key=lambda one: (abs(one - value), one))


# --- levels ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A suggested level: from how much growth, and how many customers have it."""

    threshold: int
    customers: int
    why: str


def ladder(histories: Sequence[Sequence[int]]) -> tuple[Rung, ...]:
    """Four levels or five: everyone, the retention node, the core fifth, the best of it; the
    largest band between is split if it has more customers than all bands above it.

    Raises NotFound where no retention node shows.
    """
    growth = sorted(sum(one) for one in histories)
    node = retention_node(repeats(len(one) for one in histories))
    wanted = {
        0: "everyone",
        node_threshold(histories, node): f"the retention node, {node} purchases",
    }
    for share, why in TOPS:
        wanted.setdefault(memorable(_top(growth, share)), why)
    middle = _middle_split(growth, sorted(wanted))
    if middle:
        wanted.setdefault(middle, "splits the large middle")
    rungs = [
        Rung(threshold=threshold, customers=_from(growth, threshold), why=wanted[threshold])
        for threshold in sorted(wanted)
    ]
    return tuple(one for one in rungs if one.customers)


def _middle_split(growth: Sequence[int], thresholds: Sequence[int]) -> int:
    """Where to split the largest band above the first if it has more than all bands above it."""
    bands = [
        (_from(growth, low) - _from(growth, high), low, high)
        for low, high in pairwise(thresholds[1:])
    ]
    if not bands:
        return 0
    size, low, high = max(bands)
    if size <= _from(growth, high):
        return 0
    inside = growth[bisect_left(growth, low) : bisect_left(growth, high)]
    return memorable(inside[len(inside) // 2])


def _top(growth: Sequence[int], per_mille: int) -> int:
    """The growth that so many in a thousand have at least."""
    count = max(1, len(growth) * per_mille // 1_000)
    return growth[-count]


def _from(growth: Sequence[int], threshold: int) -> int:
    return len(growth) - bisect_left(growth, threshold)


# --- is it a pyramid, is it 2-8? ------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Pyramid:
    """How the members of a programme spread over its levels, the lowest first."""

    counts: tuple[int, ...]

    @property
    def shrinks(self) -> bool:
        """Whether each level has fewer members than the one below."""
        return all(
            above < below for below, above in zip(self.counts, self.counts[1:], strict=False)
        )


def pyramid(levels: Sequence[str], members: Mapping[str, int] | Iterable[str]) -> Pyramid:
    """The members on each level, from their counts or from everyone's level."""
    counts = members if isinstance(members, Mapping) else Counter(members)
    return Pyramid(counts=tuple(counts.get(level, 0) for level in levels))


def pareto_per_mille(values: Iterable[int], *, top_per_mille: int = 200) -> int:
    """What share of everything the top customers have, in thousandths: 800 is the 2-8 law."""
    ordered = sorted(values, reverse=True)
    top = max(1, len(ordered) * top_per_mille // 1_000)
    return divide(1_000 * sum(ordered[:top]), max(1, sum(ordered)), Rounding.HALF_UP)
