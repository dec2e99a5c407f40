"""The life of a server process: listen, work, drain, close.

1. start the listeners; say on which ports; spare the garbage collector what will stay anyway
2. start the background loops; one that fails stops the process, because a node whose feed or
   lease is dead must not go on answering
3. on SIGTERM, SIGINT or such a failure: drain the listeners, cancel the loops
4. commit what waits and give the lease back
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from comity.errors import ComityError
from comity.ledger.queue import CommandQueue
from comity.rpc.server import Listener, serve_until, stop_on_signals

COLLECT: Final = (50_000, 20, 50)
"""New objects before the youngest are looked through, and how often before the older ones are."""

Loop = Callable[[], Awaitable[Any]]
"""A background loop: runs until it is cancelled."""


async def serve(
    *,
    listeners: Sequence[Listener],
    loops: Mapping[str, Loop],
    queue: CommandQueue,
    log: FilteringBoundLogger,
    ready: Callable[[Mapping[str, int]], None],
    stopping: Callable[[], None] = lambda: None,
    grace_s: float = 10.0,
) -> None:
    """Run until stopped. `ready` is told each listener's port by name once all listen.

    `stopping` is called before the drain; it wakes whoever waits for news in a long poll.
    Raises the error of a loop that failed, after the orderly end.
    """
    stop = asyncio.Event()
    stop_on_signals(stop, log)
    ports = {one.settings.name: await one.start() for one in listeners}
    failures: list[BaseException] = []

    def ended(task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            return
        error = task.exception() or RuntimeError(f"{task.get_name()} ended by itself")
        failures.append(error)
        if isinstance(error, ComityError):
            log.error("loop_failed", loop=task.get_name(), code=error.code, reason=error.message)
        else:
            log.error("loop_failed", loop=task.get_name(), exc_info=error)
        stop.set()

    tasks = []
    for name, loop in loops.items():
        task = asyncio.ensure_future(_run(loop))
        task.set_name(name)
        task.add_done_callback(ended)
        tasks.append(task)
    spare_collector()
    ready(ports)
    log.info("serving", **{f"{name}_port": port for name, port in ports.items()})
    try:
        await stop.wait()
        stopping()
        await serve_until(stop, listeners, grace_s=grace_s)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await queue.close()
        log.info("stopped")
    if failures:
        raise failures[0]


def spare_collector() -> None:
    """Set apart what exists now, and look for cycles among new objects less often.

    With the defaults a busy server spends a seventh of its time on looking at messages and rows
    which reference counting frees anyway.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)


async def _run(loop: Loop) -> None:
    await loop()
