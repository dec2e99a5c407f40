"""When nothing is under way any more: every hold and reservation ended, every errand done.

Read from the databases alone, as a stranger to the processes would.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Final

from tests.simulation.hosts import BrandHost, ClearingHost, Host, driver

LOOK_S: Final = 0.5
STILL_LOOKS: Final = 5
"""So many looks in a row without anything to do and without a log growing."""

_UNDER_WAY: Final = (
    ("holds", "state = 'HELD'"),
    ("redemptions", "state = 'RESERVED'"),
    ("returns", "state = 'CLAIMED'"),
    ("pledges", "state = 'PLEDGED' OR noticed = 0 OR asked_points > answered_points"),
    ("settlements", "state <> 'ANSWERED'"),
    ("agreements", "state IN ('PROPOSED', 'ACCEPTED')"),
)


async def wait(clearing: ClearingHost, brands: Sequence[BrandHost], *, within_s: float) -> None:
    """Wait until nothing is under way. Raises AssertionError with what still is."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    still, sizes = 0, [-1]
    while still < STILL_LOOKS:
        await asyncio.sleep(LOOK_S)
        before, sizes = sizes, [_size(host) for host in (clearing, *brands)]
        busy = under_way(clearing, brands)
        still = 0 if busy or sizes != before else still + 1
        if loop.time() > until:
            raise AssertionError(f"I5: after {within_s} s still under way: {busy}")


def under_way(clearing: ClearingHost, brands: Sequence[BrandHost]) -> list[str]:
    """What has not ended yet, in words."""
    found = [f"{host.name} does not run" for host in (clearing, *brands) if not host.alive]
    size = _size(clearing)
    for brand in brands:
        with driver(brand.engine) as connection:
            for table, where in _UNDER_WAY:
                count = _count(connection, f"SELECT count(*) FROM {table} WHERE {where}")
                if count:
                    found.append(f"{count} {table} at {brand.name}")
            mirrored = _count(connection, "SELECT coalesce(max(size), 0) FROM mirror_state")
        if mirrored != size:
            found.append(f"{brand.name} has mirrored {mirrored} of clearing's {size} entries")
    with driver(clearing.engine) as connection:
        due = _count(connection, "SELECT count(*) FROM redemptions WHERE due_us IS NOT NULL")
    if due:
        found.append(f"{due} deliveries clearing waits for")
    return found


def _size(host: Host) -> int:
    with driver(host.engine) as connection:
        return _count(connection, "SELECT size FROM ledgers")


def _count(connection: sqlite3.Connection, query: str) -> int:
    (found,) = connection.execute(query).fetchone()
    return int(found)
