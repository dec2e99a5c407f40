"""Time as an argument: integer microseconds since the Unix epoch, UTC.

Only a process's `main` owns a system clock; everything else is handed one, so a simulated
world can run the same code on virtual time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

Clock = Callable[[], int]
"""A source of the current time in microseconds since the epoch."""


def system_clock() -> int:
    """The machine's wall clock, in microseconds since the epoch."""
    return time.time_ns() // 1_000


def rfc3339(at_us: int) -> str:
    """`at_us` as an RFC 3339 timestamp in UTC, e.g. `2026-11-22T17:00:00.000000Z`."""
    stamp = datetime.fromtimestamp(at_us // SECOND, UTC).replace(microsecond=at_us % SECOND)
    return stamp.isoformat(timespec="microseconds").replace("+00:00", "Z")
