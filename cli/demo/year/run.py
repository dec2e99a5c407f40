"""One run of the year, from the data to the folder of charts."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from cli.demo import run
from cli.demo.coalition import COALITION, NETWORK
from cli.demo.journey import Journey
from cli.demo.network import DatabaseUrl, Network
from cli.demo.screen import Screen
from cli.demo.year import files, page
from cli.demo.year.figures import YearResult, brand_year, devalued
from cli.demo.year.programmes import DEVALUED, brands
from cli.demo.year.story import Year

SWEEP_SECONDS: Final = 2
"""What is past its time when it comes in is in the totals soon after."""


async def up(
    stack: AsyncExitStack, folder: Path, screen: Screen, database: DatabaseUrl | None = None
) -> Network:
    """The network of the year, running until the stack is closed."""
    with screen.stage(f"An operator and {len(COALITION)} brands start, each with its programme"):
        return await stack.enter_async_context(
            Network(
                folder / "network",
                brands=brands(),
                name=NETWORK,
                database=database or "sqlite",
                environment={"COMITY_NODE_SWEEP_SECONDS": str(SWEEP_SECONDS)},
            )
        )


def story(network: Network, data: Journey, *, weeks: int) -> Year:
    """The year over a network which is up."""
    return Year(network, run.planned(data), weeks=weeks)


async def tell(network: Network, told: Year, screen: Screen, *, begun: float) -> YearResult:
    """Live the year, read it off the nodes, and try it again beside them."""
    result = await run.tell(network, told, screen, begun=begun)
    audit = network.folder / "audit"
    found = []
    with screen.stage("The year is tried again beside the nodes", len(COALITION)) as stage:
        await told.swept()
        for brand in COALITION:
            found.append(await brand_year(network, told, brand, audit))
            stage.advance()
    with screen.stage(f"{COALITION[DEVALUED].name} lives it under another version") as stage:
        one = next(year for year in found if year.brand == DEVALUED)
        changed = await devalued(one)
        stage.advance(0, f"{changed.verdicts['gains']} gain, {changed.verdicts['loses']} lose")
    checks = [*result.checks, *(check for year in found for check in year.checks)]
    return YearResult(
        result=replace(result, checks=checks),
        brands=found,
        what_if=changed,
        refunds=sum(told.refunds.values()),
        events=sum(told.events.values()),
    )


def show(year: YearResult, console: Console, folder: Path) -> None:
    """Write the folder, print the page."""
    written = files.write(year, folder)
    page.show(year, console, folder, len(written))
