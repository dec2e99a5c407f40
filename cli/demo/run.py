"""One run of the demonstration, from the data to the page."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from cli.access import database_of, read_settings
from cli.demo import journey, plan, verifier
from cli.demo.coalition import COALITION, CURRENCY, NETWORK
from cli.demo.journey import Journey
from cli.demo.network import CLEARING, DatabaseUrl, Network
from cli.demo.patience import patiently
from cli.demo.plan import Day
from cli.demo.screen import Screen
from cli.demo.story import Story
from cli.demo.tally import Check, Result
from cli.demo.verifier import Order, Organisation
from comity import keys
from comity.client.connection import closing, connect
from comity.client.log import LogClient
from comity.errors import Unavailable
from comity.keys import SigningKey
from comity.log.checkpoint import read_checkpoint
from comity.v1.entry_pb2 import SettlementTable
from comity.verify.settlement import pack
from comity.wallet import receipts as receipt_files

AUDITOR: Final = "auditor"
DARK: Final = "drug"
"""Whose lights go out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much of the data is lived through."""

    households: int
    weeks: int


async def up(
    stack: AsyncExitStack, folder: Path, screen: Screen, database: DatabaseUrl | None = None
) -> Network:
    """The coalition's network, running until the stack is closed."""
    with screen.stage(f"An operator and {len(COALITION)} brands start, each its own process"):
        return await stack.enter_async_context(
            Network(
                folder / "network",
                brands=[member.brand() for member in COALITION.values()],
                name=NETWORK,
                database=database or "sqlite",
            )
        )


async def tell(network: Network, story: Story, screen: Screen, *, begun: float) -> Result:
    """The whole story over a network which is up, and what came of it."""
    watch = Watch(network)
    await story.prepare(screen)
    await story.enrol(screen)
    await watch.look()
    cut = PowerCut(network, screen, at=len(story.plan.days) // 2)

    async def day_done(day: Day) -> None:
        await watch.after(day)
        cut.after(day)

    try:
        await story.live(screen, day_done=day_done)
    finally:
        # Why the brand is not back, if it is not, says more than that it does not answer.
        await cut.over()
    with screen.stage("The window closes; the books of three parties are compared") as stage:
        await story.quiet()
        window = await story.close_window()
        rows, breaks = await story.reconcile(window)
        stage.advance(0, f"{rows} rows, {len(breaks)} breaks")
    with screen.stage("It settles, and the brands acknowledge"):
        table = await story.settle(window)
        summary = await story.acknowledged(window)
    await watch.look()
    place = network.folder / "audit"
    with screen.stage("Another process verifies, as a stranger and as an admitted auditor"):
        await admit_auditor(network, place)
        await write_order(network, place, watch, window=window, receipts=story.tally.receipts)
        checks = await verified(place)
    totals = await story.totals()
    flows, accrued = await story.flows()
    reconciled = Check(
        name="reconciliation",
        passed=not breaks and not summary.protested,
        detail=f"{rows} rows agree, nobody protests",
    )
    return Result(
        tally=story.tally,
        weeks=story.weeks,
        flows=flows,
        accrued=accrued,
        window=window,
        decisions=summary.decisions,
        net_positions=positions(table),
        payments=[(one.payer, one.payee, one.amount.minor) for one in table.payments],
        acknowledged=list(summary.acknowledged),
        entries=watch.sizes,
        totals=totals,
        receipt=sample(story.tally.receipts),
        checks=[*checks, reconciled],
        seconds=time.monotonic() - begun,
    )


class Watch:
    """Keeps the heads of all logs as a stranger sees them, day by day."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.heads: dict[str, list[bytes]] = {name: [] for name in (CLEARING, *network.brands)}
        self.sizes: dict[str, int] = {}

    async def look(self) -> None:
        """Ask every organisation for its head."""
        for name, kept in self.heads.items():
            async with closing(connect(self._network.server(name))) as channel:
                answer = await patiently(LogClient(channel).get_checkpoint)
            if answer.checkpoint:
                self.sizes[name] = read_checkpoint(answer.checkpoint).size
                if not kept or kept[-1] != answer.checkpoint:
                    kept.append(answer.checkpoint)

    async def after(self, day: Day) -> None:
        """A day has passed; a look once a week is enough."""
        if day.day.weekday() == 0:
            await self.look()


class PowerCut:
    """Half-way through, one brand's process is killed and started again; the story goes on."""

    def __init__(self, network: Network, screen: Screen, *, at: int) -> None:
        self._network = network
        self._screen = screen
        self._days_left = at
        self._task: asyncio.Task[None] | None = None

    def after(self, day: Day) -> None:
        """A day has passed."""
        self._days_left -= 1
        if self._days_left == 0:
            self._task = asyncio.create_task(self._happen(day))

    async def over(self) -> None:
        """Return once the brand is back."""
        if self._task is not None:
            await self._task

    async def _happen(self, day: Day) -> None:
        begun = time.monotonic()
        await self._network.kill(DARK)
        await self._network.start(DARK)
        self._screen.say(
            f"[yellow]⚡[/yellow] {day.day:%d %b}: the process of {COALITION[DARK].name} is killed "
            f"and starts again [dim]{time.monotonic() - begun:.1f} s[/dim]"
        )


async def load(extent: Extent) -> Journey:
    """The data of so many households and weeks, moved by whole weeks so that it ends now."""

    def read() -> Journey:
        chosen = journey.select(journey.load(), households=extent.households, weeks=extent.weeks)
        return chosen.shifted(journey.weeks_until(chosen, datetime.now(UTC)))

    return await asyncio.to_thread(read)


def planned(data: Journey) -> plan.Plan:
    """The journey as days."""
    return plan.make(data)


async def admit_auditor(network: Network, place: Path) -> None:
    """Every brand, and the operator, let the same auditor in."""
    key = new_key(place / verifier.AUDITOR_KEY)
    for brand in network.brands:
        await network.add_staff(brand, role="auditor", name=AUDITOR, key=key)
    admit = partial(
        network.operator.admit_auditor,
        id=f"auditor-{key.key_id}",
        auditor=AUDITOR,
        public_key=key.public.raw,
    )
    await patiently(admit)


def new_key(file: Path) -> SigningKey:
    """A key, in a file of its own folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    key = SigningKey.generate(secrets.token_bytes)
    keys.save(file, key)
    return key


async def write_order(
    network: Network, place: Path, watch: Watch, *, window: int, receipts: Sequence[str]
) -> None:
    """What the verifier is told: addresses, keys of the roster, heads, receipts, settlement."""
    vkeys = {one.participant: one.vkey for one in await network.operator.list_participants()}
    async with closing(connect(network.server(CLEARING))) as channel:
        vkeys[CLEARING] = (await LogClient(channel).get_checkpoint()).vkey
    first = next(iter(network.brands))
    statement = await network.operator.read_participant_window(window=window, participant=first)
    (place / verifier.SETTLEMENT).write_text(
        pack(statement.settlement, statement.settlement_entry, vkey=vkeys[CLEARING]), "utf-8"
    )
    organisations = [
        Organisation(
            name=name,
            address=network.server(name).address,
            origin=network.origin(name),
            vkey=vkeys[name],
            database=database_of(network.home(name), read_settings(network.home(name))),
            head_file=str(network.home(name) / "head"),
            heads=heads,
        )
        for name, heads in watch.heads.items()
    ]
    verifier.write_order(
        place,
        Order(ca_file=str(network.ca_file), organisations=organisations, receipts=list(receipts)),
    )


async def verified(place: Path) -> list[Check]:
    """What the verifier's process found. Raises Unavailable if it broke down."""
    run = partial(
        subprocess.run,
        [sys.executable, "-m", "cli.demo.verifier", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    done = await asyncio.to_thread(run)
    if done.returncode not in (0, 1):
        raise Unavailable(f"The verifier has failed.\n{done.stderr}")
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise Unavailable(f"The verifier has failed.\n{done.stderr}") from None
    return [Check(**one) for one in found]


def positions(table: SettlementTable) -> dict[str, int]:
    """Minor units by participant, operator and drift included, brands first."""
    found = dict.fromkeys((*COALITION, "operator", "drift"), 0)
    for row in table.positions:
        if row.net.currency == CURRENCY:
            found[row.participant] = row.net.minor
    return found


def sample(folders: Sequence[str]) -> Mapping[str, Any]:
    """A receipt to show: the newest one."""
    if not folders:
        return {}
    receipt = receipt_files.load(Path(folders[-1]))
    return {**receipt.summary, "folder": str(receipt.folder)}
