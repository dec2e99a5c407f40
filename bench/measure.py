"""Figures: a value beside its baseline, both measured in turns, and the place where data lies.

A round measures the value and its baseline one right after the other, so that whatever else the
machine does meets both. A figure is the median of its rounds, as is its baseline.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})


class NotDurable(Exception):
    """The folder lies in memory, where a commit costs nothing; the message says which."""


class NotMeasured(Exception):
    """A figure needs something that is not on this machine; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is measured."""

    short: bool
    million: bool = False
    """Whether what takes half an hour is measured whole."""

    @property
    def rounds(self) -> int:
        return 3 if self.short else 5

    def seconds(self, whole: float) -> float:
        """How long one measurement of a round lasts."""
        return whole / 4 if self.short else whole

    def count(self, whole: int) -> int:
        """How many things a measurement handles."""
        return whole // 10 if self.short else whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the result."""

    name: str
    value: float
    unit: str
    baseline: str
    baseline_value: float
    floor: float
    wish: float | None = None
    at_most: bool = False
    """Whether less is better."""
    percentiles_ms: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return self.value / self.baseline_value

    @property
    def reached(self) -> bool:
        """Whether the ratio is at least (or at most) the floor."""
        return self.ratio <= self.floor if self.at_most else self.ratio >= self.floor

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "value": _rounded(self.value),
            "unit": self.unit,
            "baseline": self.baseline,
            "baseline_value": _rounded(self.baseline_value),
            "ratio": _rounded(self.ratio),
            "floor": f"{'≤' if self.at_most else '≥'} {self.floor:g}",
            "wish": None if self.wish is None else f"{'≤' if self.at_most else '≥'} {self.wish:g}",
            **{name: _rounded(value) for name, value in self.percentiles_ms.items()},
            **self.notes,
        }


def _rounded(value: float) -> float:
    """Four significant digits."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, max(0, 3 - math.floor(math.log10(abs(value)))))


def in_turns(
    rounds: int, value: Callable[[], float], baseline: Callable[[], float]
) -> tuple[float, float]:
    """The medians of both, measured in turns; who goes first alternates."""
    values: list[float] = []
    baselines: list[float] = []
    for number in range(rounds):
        if number % 2:
            baselines.append(baseline())
            values.append(value())
        else:
            values.append(value())
            baselines.append(baseline())
    return statistics.median(values), statistics.median(baselines)


def percentile(sample: Sequence[float], part: float) -> float:
    """The smallest value that `part` of the sample does not exceed."""
    ordered = sorted(sample)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """p50 and p99 of a sample of durations, in milliseconds."""
    return {
        "p50_ms": percentile(seconds, 0.50) * 1_000,
        "p99_ms": percentile(seconds, 0.99) * 1_000,
    }


def filesystem(folder: Path) -> str:
    """The type of the file system on which `folder` lies, such as `ext4`."""
    place = folder.resolve()
    mounts = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    for parent in (place, *place.parents):
        if parent in mounts:
            return mounts[parent]
    return "unknown"


def require_durable(folder: Path) -> None:
    """Raise NotDurable if what is written to `folder` is only in memory."""
    kind = filesystem(folder)
    if kind in IN_MEMORY:
        raise NotDurable(
            f"{folder} is on {kind}, where nothing is durable and a commit costs nothing. "
            "Name a folder on a disk with --folder."
        )
