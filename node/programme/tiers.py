"""Levels: which one a member has, when that changes, and what is missing for the next.

`review` is asked with the facts after every change of balances, and when `next_review_at` comes,
until it answers None. It rises at once to the highest level reached, over several if it must.
It falls as the programme says; a fall looks at `keep`, a rise at `reach`. A member whose balances
did not change can be reviewed again and again without effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from node.programme.calendar import end_of_day, local_day, start_of_day, validity_end
from node.programme.facts import Cause, Facts, Rank, RankChange
from node.programme.model import Level, Programme, Reach, Tiers
from node.programme.plan import Plan, plan_of
from node.programme.situation import Situation


def review(programme: Programme, facts: Facts, *, now_us: int) -> RankChange | None:
    """The next change of the member's level, or None if it stays as it is.

    A validity that ended in the past is re-rated as of its end, one at a time. The balances of
    `facts` are those of now; what re-rating takes of them is in the change and counted already.
    """
    tiers = programme.tiers
    if tiers is None:
        return None
    ladder = _Ladder(programme, tiers, plan_of(programme), facts, now_us)
    rank = facts.rank
    if rank is None or rank.level not in ladder.plan.level_index:
        return ladder.rated_first()
    at = ladder.plan.level_index[rank.level]
    if 0 < rank.until_us <= now_us:
        return ladder.rerated(rank, at)
    reached = ladder.reached(above=at)
    if reached > at:
        return ladder.change(rank, at, reached, "reached", now_us)
    if _falls_at_once(tiers) and not rank.pinned:
        lower = ladder.kept(at)
        if lower < at and now_us >= stays_until(programme, rank):
            return ladder.change(rank, at, lower, "lost", now_us)
    return None


def next_review_at(programme: Programme, facts: Facts, *, now_us: int) -> int:
    """When time alone may change the level of a member who was just reviewed; 0 for never.

    It is the end of the validity, the end of the minimum stay of one who would fall, or the next
    local midnight where only a level's `when` decides.
    """
    tiers, rank = programme.tiers, facts.rank
    if tiers is None or rank is None:
        return 0
    ladder = _Ladder(programme, tiers, plan_of(programme), facts, now_us)
    at = ladder.plan.level_index.get(rank.level, 0)
    times = [rank.until_us] if rank.until_us else []
    if _falls_at_once(tiers) and not rank.pinned and ladder.kept(at) < at:
        times.append(stays_until(programme, rank))
    if any(ladder.waits_for_time(index, above=at) for index in range(len(ladder.plan.levels))):
        times.append(end_of_day(programme, local_day(programme, now_us)))
    return min(times, default=0)


def stays_until(programme: Programme, rank: Rank) -> int:
    """Until when the minimum stay keeps a level from falling: whole local days, as expiry has.

    Where a soft landing falls at once, each step lasts at least to the next local midnight.
    """
    assert programme.tiers is not None
    days = programme.tiers.minimum_stay_days
    entered = local_day(programme, rank.since_us)
    if days:
        return end_of_day(programme, entered + timedelta(days=days))
    if programme.tiers.steps_down is not None:
        return start_of_day(programme, entered + timedelta(days=1))
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What a member still lacks for a level. Each alternative names units and how many more."""

    level: str
    title: str
    alternatives: tuple[Mapping[str, int], ...]
    """One that is empty is satisfied."""
    condition: str = ""
    """The level's `when`, where it does not hold."""
    benefits: tuple[str, ...] = ()
    """What the level gives that the member does not have."""


def missing(programme: Programme, facts: Facts, *, now_us: int) -> tuple[Missing, ...]:
    """What is missing for each level above the member's, the next one first."""
    tiers = programme.tiers
    if tiers is None:
        return ()
    ladder = _Ladder(programme, tiers, plan_of(programme), facts, now_us)
    levels, index = ladder.plan.levels, ladder.plan.level_index
    at = index.get(facts.rank.level, 0) if facts.rank is not None else 0
    own = set(levels[at].benefits)
    return tuple(
        Missing(
            level=level.id,
            title=level.title or level.id,
            alternatives=tuple(
                {
                    unit: asked - facts.balances.get(unit, 0)
                    for unit, asked in alternative.items()
                    if asked > facts.balances.get(unit, 0)
                }
                for alternative in level.reach
            ),
            condition="" if ladder.holds(level) else level.when or "",
            benefits=tuple(one for one in level.benefits if one not in own),
        )
        for level in levels[at + 1 :]
    )


def sentence(programme: Programme, gap: Missing) -> str:
    """What is missing, for the member: `120 growth to Gold: you get free delivery`."""
    ways = [
        " and ".join(f"{more:,} {_called(programme, unit)}" for unit, more in way.items())
        for way in gap.alternatives
    ]
    asked = " or ".join(way for way in ways if way) if all(ways) else ""
    if gap.condition:
        asked = f"{asked}, with {gap.condition}," if asked else gap.condition
    gifts = ", ".join(programme.benefits[one].title for one in gap.benefits)
    told = f"{asked or 'nothing more'} to {gap.title}"
    return f"{told}: you get {gifts}" if gifts else told


def projected(
    programme: Programme,
    facts: Facts,
    *,
    at_us: int,
    balances: Mapping[str, int] | None = None,
) -> str:
    """The level at `at_us` if nothing more is earned; "" without levels.

    `balances` are those of then, where points expire until then.
    """
    known = facts if balances is None else replace(facts, balances=balances)
    while (change := review(programme, known, now_us=at_us)) is not None:
        known = replace(known, rank=change.rank, balances=after(known.balances, change))
    return known.rank.level if known.rank is not None else ""


def after(balances: Mapping[str, int], change: RankChange) -> dict[str, int]:
    """The balances once a change's `clear` and `deduct` were applied."""
    rest = {unit: 0 if unit in change.clear else points for unit, points in balances.items()}
    for unit, points in change.deduct.items():
        rest[unit] = max(0, rest.get(unit, 0) - points)
    return rest


# --- one review -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Ladder:
    """The levels as one member meets them at one moment."""

    programme: Programme
    tiers: Tiers
    plan: Plan
    facts: Facts
    now_us: int
    asked: dict[str, bool] = field(default_factory=dict)

    def holds(self, level: Level) -> bool:
        """Whether the level's condition holds, asked once a review."""
        if level.when is None:
            return True
        if level.id not in self.asked:
            situation = Situation(self.programme, self.facts, now_us=self.now_us)
            found = self.programme.expressions.holds(level.when, situation)
            self.asked[level.id] = found is True
        return self.asked[level.id]

    def reached(self, *, above: int = 0) -> int:
        """The highest level above this one that is reached; else this one."""
        levels, balances = self.plan.levels, self.facts.balances
        for at in range(len(levels) - 1, above, -1):
            if _meets(levels[at].reach, balances) and self.holds(levels[at]):
                return at
        return above

    def kept(self, at: int) -> int:
        """The highest level up to this one that is kept, within the soft landing."""
        levels, balances = self.plan.levels, self.facts.balances
        floor = 0 if self.tiers.steps_down is None else max(0, at - self.tiers.steps_down)
        for lower in range(at, floor, -1):
            level = levels[lower]
            need = level.reach if level.keep is None else level.keep
            if _meets(need, balances) and self.holds(level):
                return lower
        return floor

    def waits_for_time(self, at: int, *, above: int) -> bool:
        """Whether the level's condition alone keeps the member from it, or in it."""
        level = self.plan.levels[at]
        if level.when is None or at < above or not self.programme.expressions.by_time(level.when):
            return False
        return at == above or (_meets(level.reach, self.facts.balances) and not self.holds(level))

    def rated_first(self) -> RankChange:
        """The first rating, or the one after a programme dropped the member's level."""
        rank = self.facts.rank
        cause: Cause = "first" if rank is None else "programme"
        return self.change(rank, -1, self.reached(), cause, self.now_us)

    def rerated(self, rank: Rank, at: int) -> RankChange:
        """The rating at the end of a validity, on what re-rating leaves of the balances."""
        balances = self.facts.balances
        clear = tuple(one for one in self.tiers.rerating.clear if balances.get(one, 0) > 0)
        deduct = {
            unit: min(points, balances[unit])
            for unit, points in self.tiers.rerating.deduct.items()
            if unit not in clear and balances.get(unit, 0) > 0
        }
        taken = RankChange(
            steps=(), before="", rank=rank, cause="renewed", clear=clear, deduct=deduct
        )
        self.facts = replace(self.facts, balances=after(balances, taken))
        self.asked.clear()
        level = self.reached(above=at)
        if level == at and self.tiers.downgrade != "never":
            level = self.kept(at)
        cause: Cause = "reached" if level > at else "expired" if level < at else "renewed"
        change = self.change(rank, at, level, cause, rank.until_us)
        return replace(change, clear=clear, deduct=deduct)

    def change(
        self, before: Rank | None, at: int, level: int, cause: Cause, at_us: int
    ) -> RankChange:
        """From the level with index `at` (-1: none) to another, or to a new validity of it."""
        levels = self.plan.levels
        own = levels[at].benefits if at >= 0 else ()
        new = levels[level].benefits
        if level == at:
            assert before is not None
            rank = replace(before, until_us=self.until(level, at_us), pinned=False)
        else:
            rank = Rank(level=levels[level].id, since_us=at_us, until_us=self.until(level, at_us))
        return RankChange(
            steps=tuple(self.steps(at, level)),
            before=before.level if before is not None else "",
            rank=rank,
            cause=cause,
            benefits_gained=tuple(one for one in new if one not in own),
            benefits_lost=tuple(one for one in own if one not in new),
        )

    def steps(self, at: int, level: int) -> Iterator[str]:
        """The levels to announce between two."""
        if self.tiers.announce == "each" and at >= 0:
            way = range(at + 1, level) if level > at else range(at - 1, level, -1)
            for between in way:
                yield self.plan.levels[between].id
        if level != at:
            yield self.plan.levels[level].id

    def until(self, level: int, at_us: int) -> int:
        """When the validity of a level entered at `at_us` ends; 0 for never.

        The first level ends only where re-rating takes growth.
        """
        rerating = self.tiers.rerating
        if level == 0 and not rerating.clear and not rerating.deduct:
            return 0
        ends = validity_end(self.programme, at_us)
        rank = Rank(level=self.plan.levels[level].id, since_us=at_us)
        return max(ends, stays_until(self.programme, rank)) if ends else 0


def _falls_at_once(tiers: Tiers) -> bool:
    """Without a validity, a level lasts as long as it is kept."""
    if tiers.downgrade == "at_end":
        return tiers.validity.months is None and tiers.validity.calendar_years is None
    return tiers.downgrade == "at_once"


def _meets(reach: Reach, balances: Mapping[str, int]) -> bool:
    """Whether one alternative is satisfied. A level that asks for nothing is."""
    return not reach or any(
        all(balances.get(unit, 0) >= asked for unit, asked in way.items()) for way in reach
    )


def _called(programme: Programme, unit: str) -> str:
    return programme.units[unit].title or unit
