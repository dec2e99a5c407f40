"""Sending: each endpoint has a cursor over this brand's log, and takes one message at a time.

A message counts as taken with a status of 2xx. Until then the same message is sent again, with
growing pauses, and nothing behind it is sent: an endpoint hears of everything, in order, at
least once. One that says 410 (gone), or takes nothing for days, is marked FAILED and shown to
managers; the log stays, so whoever starts it again loses nothing.

The writer never waits for an endpoint: messages are read from committed entries.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import select
from structlog.typing import FilteringBoundLogger

from comity.clock import DAY, HOUR, SECOND, Clock
from comity.errors import Unavailable
from comity.keys import Random
from comity.ledger.queue import CommandQueue
from comity.ledger.runner import Runner
from comity.ledger.store import LedgerStore, StoredEntry
from comity.rpc.tokens import ServerSecret
from node.gate import Gate
from node.operation_tables import webhooks
from node.webhooks.endpoints import ACTIVE, NoteProgress
from node.webhooks.messages import Message, messages, wanted
from node.webhooks.signing import EndpointKeys, headers

LOOK_S: Final = 1.0
"""How often the log's size is looked at, which is known without the database."""
LOOK_AGAIN_S: Final = 60.0
"""How often the endpoints are read though nobody said that they changed."""
PAGE: Final = 100
"""Entries read at once, and at most sent before the cursor is written down."""
FIRST_PAUSE_US: Final = SECOND
LONGEST_PAUSE_US: Final = HOUR
LONGEST_ASKED_US: Final = DAY
"""How long an endpoint may ask to be left alone (Retry-After)."""
GIVE_UP_US: Final = 3 * DAY
GONE: Final = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of an attempt: a status, or 0 with why there was none."""

    status: int
    problem: str = ""
    retry_after_us: int = 0

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300

    @property
    def error(self) -> str:
        return self.problem or f"answered with status {self.status}"


Post = Callable[[str, Mapping[str, str], bytes], Awaitable[Reply]]
"""Sends a body with headers to a URL, within its own time; raises nothing."""


def pause_us(failures: int, jitter: int) -> int:
    """How long to wait after so many failures in a row; `jitter` is a random byte.

    Twice as long each time up to an hour, and up to a quarter more, so that endpoints which
    failed together do not come back together.
    """
    pause = min(FIRST_PAUSE_US << min(failures - 1, 20), LONGEST_PAUSE_US)
    return pause + pause * jitter // 1_024


class Webhooks:
    """The sender of one node: one task for each active endpoint."""

    def __init__(
        self,
        *,
        participant: str,
        store: LedgerStore,
        queue: CommandQueue,
        gate: Gate,
        read: Runner,
        post: Post | None,
        secret: ServerSecret,
        clock: Clock,
        random: Random,
        log: FilteringBoundLogger,
        look_s: float = LOOK_S,
    ) -> None:
        self._participant = participant
        self._store = store
        self._queue = queue
        self._gate = gate
        self._read = read
        self._post = post
        self._secret = secret
        self._clock = clock
        self._random = random
        self._log = log
        self._look_s = look_s
        self._changes = asyncio.Event()

    def changed(self) -> None:
        """Somebody has set an endpoint."""
        self._changes.set()

    async def run(self) -> None:
        """Send until cancelled."""
        await self._gate.opened()
        tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        try:
            while True:
                found = {
                    (row["name"], row["changed_at_us"]): row
                    for row in await self._read(self._active)
                }
                for at in [one for one, task in tasks.items() if one not in found or task.done()]:
                    found.pop(at, None)  # it may have failed since it was read; look again
                    task = tasks.pop(at)
                    task.cancel()
                    await asyncio.wait([task])
                    if not task.cancelled():
                        task.result()
                for at, row in found.items():
                    if at not in tasks:
                        tasks[at] = asyncio.ensure_future(self._serve(row))
                await self._until_changed([*tasks.values()])
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _until_changed(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Wait until an endpoint was set, or failed."""
        change = asyncio.ensure_future(self._changes.wait())
        await asyncio.wait(
            {change, *tasks}, timeout=LOOK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED
        )
        change.cancel()
        self._changes.clear()

    async def _serve(self, row: dict[str, Any]) -> None:
        """Send to one endpoint as long as it is as it is now."""
        told = row["next_index"]
        while row["state"] == ACTIVE:
            start = row["next_index"]
            if start >= self._store.head().size:
                await asyncio.sleep(self._look_s)
                continue
            page = await self._read(partial(self._store.entries, start, PAGE))
            for stored in page:
                if not await self._tell(row, stored):
                    break
                row["next_index"] = stored.index + 1
            if row["failures"]:
                told = row["next_index"]
            elif row["next_index"] > told:
                told = row["next_index"]
                await self._note(row)

    async def _tell(self, row: dict[str, Any], stored: StoredEntry) -> bool:
        """Send all messages about one entry; False once one was not taken."""
        for message in messages(self._participant, stored):
            if not wanted(row["kinds"].split(), message.kind):
                continue
            await self._until(row["retry_at_us"])
            reply = await self._send(row, message)
            if not reply.taken:
                await self._failed(row, reply)
                return False
            if row["failures"]:
                row |= {"failures": 0, "failing_since_us": 0, "retry_at_us": 0, "last_error": ""}
                await self._note(row)
        return True

    async def _send(self, row: dict[str, Any], message: Message) -> Reply:
        now_us = self._clock()
        signed = headers(message.id, message.body, at_us=now_us, keys=self._keys(row, now_us))
        assert self._post is not None, "without it nothing runs"
        return await self._post(row["url"], signed, message.body)

    def _keys(self, row: dict[str, Any], now_us: int) -> Sequence[EndpointKeys]:
        salts = [row["salt"]]
        if row["old_until_us"] > now_us:
            salts.append(row["old_salt"])
        return [EndpointKeys.of(self._secret, row["name"], salt) for salt in salts]

    async def _failed(self, row: dict[str, Any], reply: Reply) -> None:
        now_us = self._clock()
        row["failures"] += 1
        row["failing_since_us"] = row["failing_since_us"] or now_us
        row["last_error"] = reply.error
        pause = pause_us(row["failures"], self._random(1)[0])
        row["retry_at_us"] = now_us + max(pause, min(reply.retry_after_us, LONGEST_ASKED_US))
        over = reply.status == GONE or now_us - row["failing_since_us"] >= GIVE_UP_US
        self._log.warning("webhook_failed", endpoint=row["name"], reason=reply.error, given_up=over)
        await self._note(row, failed=over)
        if over:
            row["state"] = "FAILED"

    async def _until(self, at_us: int) -> None:
        while (left := at_us - self._clock()) > 0:
            await asyncio.sleep(left / SECOND)

    async def _note(self, row: dict[str, Any], *, failed: bool = False) -> None:
        """Write down how far the endpoint is; if that cannot be done now, the next note does."""
        note = NoteProgress(
            name=row["name"],
            changed_at_us=row["changed_at_us"],
            next_index=row["next_index"],
            failures=row["failures"],
            failing_since_us=row["failing_since_us"],
            retry_at_us=row["retry_at_us"],
            last_error=row["last_error"],
            failed=failed,
        )
        with contextlib.suppress(Unavailable):
            await self._queue.submit(note)

    def _active(self) -> list[dict[str, Any]]:
        table = webhooks
        columns = [column for column in table.c if column.name != "ledger"]
        query = select(*columns).where(
            table.c.ledger == self._store.ledger, table.c.state == ACTIVE
        )
        with self._store.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]
