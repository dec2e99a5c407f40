"""When nothing is under way any more: every hold and reservation ended, every errand done.

Read from the databases alone, as a stranger to the processes would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, func, select

from clearing import tables as clearing_tables
from node.redemption_tables import (
    agreements,
    holds,
    mirror_state,
    pledges,
    redemptions,
    returns,
    settlements,
)
from tests.simulation.hosts import BrandHost, ClearingHost, Host

LOOK_S: Final = 0.5
STILL_LOOKS: Final = 5
"""So many looks in a row without anything to do and without a log growing."""

_UNDER_WAY: Final[Sequence[tuple[Table, ColumnElement[bool]]]] = (
    (holds, holds.c.state == "HELD"),
    (redemptions, redemptions.c.state == "RESERVED"),
    (returns, returns.c.state == "CLAIMED"),
    (pledges, (pledges.c.state == "PLEDGED") | (pledges.c.noticed == 0)),
    (settlements, settlements.c.state != "ANSWERED"),
    (agreements, agreements.c.state.in_(("PROPOSED", "ACCEPTED"))),
)


async def wait(clearing: ClearingHost, brands: Sequence[BrandHost], *, within_s: float) -> None:
    """Wait until nothing is under way. Raises AssertionError with what still is."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    still, sizes = 0, [-1]
    while still < STILL_LOOKS:
        await asyncio.sleep(LOOK_S)
        before, sizes = sizes, [host.store.head().size for host in (clearing, *brands)]
        busy = under_way(clearing, brands)
        still = 0 if busy or sizes != before else still + 1
        if loop.time() > until:
            raise AssertionError(f"I5: after {within_s} s still under way: {busy}")


def under_way(clearing: ClearingHost, brands: Sequence[BrandHost]) -> list[str]:
    """What has not ended yet, in words."""
    found = [f"{host.name} does not run" for host in (clearing, *brands) if not host.alive]
    size = clearing.store.head().size
    for brand in brands:
        for table, where in _UNDER_WAY:
            count = _count(brand, table, where)
            if count:
                found.append(f"{count} {table.name} at {brand.name}")
        if _count(brand, mirror_state, mirror_state.c.size == size) != 1:
            found.append(f"{brand.name} has not mirrored clearing's {size} entries")
    decided = clearing_tables.redemptions
    if count := _count(clearing, decided, decided.c.due_us.is_not(None)):
        found.append(f"{count} deliveries clearing waits for")
    return found


def _count(host: Host, table: Table, where: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(table).where(table.c.ledger == host.ledger, where)
    with host.engine.connect() as connection:
        found: Any = connection.execute(query).scalar_one()
    return int(found)
