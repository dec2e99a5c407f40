"""Repeating what was not decided: every write carries its id, so a repetition is safe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from comity.errors import Unavailable

PATIENCE_S: Final = 60.0
PAUSE_S: Final = 0.2

ResultT = TypeVar("ResultT")


async def patiently(
    call: Callable[[], Awaitable[ResultT]], *, patience_s: float = PATIENCE_S
) -> ResultT:
    """The answer to `call`, repeated while a server is away. Raises Unavailable in the end."""
    until = time.monotonic() + patience_s
    while True:
        try:
            return await call()
        except Unavailable:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(PAUSE_S)


async def until(
    done: Callable[[], Awaitable[bool]], *, what: str, patience_s: float = PATIENCE_S
) -> None:
    """Return once `done` says so. Raises Unavailable, naming what was waited for."""
    end = time.monotonic() + patience_s
    while not await done():
        if time.monotonic() > end:
            raise Unavailable(f"After {patience_s:.0f} seconds, still waiting for {what}.")
        await asyncio.sleep(PAUSE_S)
