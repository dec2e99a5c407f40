"""`comity demo`: a whole network on this machine, driven by real purchases.

What it needs is imported when it runs, because no other command has use for it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from cli import output
from cli.commands import command
from cli.failures import VERIFICATION
from comity.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from cli.demo.journey import Journey
    from cli.demo.network import DatabaseUrl, Network
    from cli.demo.run import Extent
    from cli.demo.tally import Result

HOUSEHOLDS: Final = 120
WEEKS: Final = 8
YEAR_HOUSEHOLDS: Final = 40
ALL_HOUSEHOLDS: Final = 2_469
ALL_WEEKS: Final = 53


def add_to(app: typer.Typer) -> None:
    """Add the command to the whole tree."""
    command(
        app,
        "demo",
        example="comity demo\n"
        "comity demo --households 20 --weeks 2 --json demo.json\n"
        "comity demo --keep --folder coalition\n"
        "comity demo --postgresql postgresql://postgres@127.0.0.1/postgres\n"
        "comity demo --scale 1.0\n"
        "comity demo --story programme-year --households 12 --out year",
    )(demo)


class Tale(StrEnum):
    """What is told."""

    COALITION = "coalition"
    PROGRAMME_YEAR = "programme-year"


async def demo(
    story: Annotated[
        Tale,
        typer.Option(help="Brands that settle; or four kinds of programme through a year."),
    ] = Tale.COALITION,
    households: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"How many households; {HOUSEHOLDS} if left out, {YEAR_HOUSEHOLDS} for a year.",
        ),
    ] = None,
    weeks: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=ALL_WEEKS,
            help=f"How many weeks; {WEEKS} if left out, {ALL_WEEKS} for a year.",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(min=0.001, max=1.0, help="The whole year for this share of all households."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where it all goes and stays; else it is temporary.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="programme-year: a new folder for its charts and tables."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the network running afterwards, to explore it.")
    ] = False,
    postgresql: Annotated[
        str, typer.Option(help="A PostgreSQL server's URL: everybody gets a database there.")
    ] = "",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures and checks to this file too.")
    ] = None,
) -> None:
    """Run a network of four brands through real purchases, settle it and verify it."""
    extent = _extent(story, households, weeks, scale)
    charts = _charts(story, out)
    with (
        _place(folder, keep=keep) as place,
        _databases(postgresql, stay=keep or folder is not None) as database,
        ended_by_signal(),
    ):
        tell = _run if charts is None else partial(_run_year, charts=charts)
        result = await tell(place, extent, database, keep=keep, json_file=json_file)
    if not result.passed:
        raise typer.Exit(VERIFICATION)


def _extent(story: Tale, households: int | None, weeks: int | None, scale: float | None) -> Extent:
    from cli.demo.run import Extent

    if scale is not None:
        return Extent(households=max(1, round(scale * ALL_HOUSEHOLDS)), weeks=ALL_WEEKS)
    year = story is Tale.PROGRAMME_YEAR
    return Extent(
        households=households or (YEAR_HOUSEHOLDS if year else HOUSEHOLDS),
        weeks=weeks or (ALL_WEEKS if year else WEEKS),
    )


def _charts(story: Tale, out: Path | None) -> Path | None:
    """The folder for charts, which has to be new; None for the story that draws none."""
    if story is not Tale.PROGRAMME_YEAR:
        if out is not None:
            raise typer.BadParameter(f"only {Tale.PROGRAMME_YEAR} writes charts; leave out --out.")
        return None
    folder = out or Path(Tale.PROGRAMME_YEAR)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is not an empty folder; name a new one with --out.")
    return folder


async def _run(
    place: Path,
    extent: Extent,
    database: DatabaseUrl | None,
    *,
    keep: bool,
    json_file: Path | None,
) -> Result:
    from cli.demo import page, run
    from cli.demo.screen import Screen
    from cli.demo.story import Story

    console = _console()
    screen, begun = Screen(console), time.monotonic()
    async with AsyncExitStack() as stack:
        loading = asyncio.create_task(run.load(extent))
        network = await run.up(stack, place, screen, database)
        with screen.stage("A year of real purchases is read (the Complete Journey, 2017)"):
            data = await loading
        screen.say(_said(data, extent))
        story = Story(network, run.planned(data), weeks=extent.weeks)
        stack.push_async_callback(story.close)
        try:
            result = await run.tell(network, story, screen, begun=begun)
        except Unavailable as error:
            raise Unavailable(f"{error.message}\n{network.obituary()}".rstrip()) from error
        page.show(result, console)
        if json_file is not None:
            write_json(result.plain(), json_file)
        if keep:
            await _kept(network, result, place)
    return result


async def _run_year(
    place: Path,
    extent: Extent,
    database: DatabaseUrl | None,
    *,
    keep: bool,
    json_file: Path | None,
    charts: Path,
) -> Result:
    from cli.demo import run
    from cli.demo.screen import Screen
    from cli.demo.year import run as year

    console = _console()
    screen, begun = Screen(console), time.monotonic()
    async with AsyncExitStack() as stack:
        loading = asyncio.create_task(run.load(extent))
        network = await year.up(stack, place, screen, database)
        with screen.stage("A year of real purchases is read (the Complete Journey, 2017)"):
            data = await loading
        screen.say(_said(data, extent))
        story = year.story(network, data, weeks=extent.weeks)
        stack.push_async_callback(story.close)
        try:
            result = await year.tell(network, story, screen, begun=begun)
        except Unavailable as error:
            raise Unavailable(f"{error.message}\n{network.obituary()}".rstrip()) from error
        year.show(result, console, charts)
        if json_file is not None:
            write_json(result.plain(), json_file)
        if keep:
            await _kept(network, result.result, place)
    return result.result


def _console() -> Console:
    from cli.demo import page

    console = Console(highlight=False)
    if not console.is_terminal or console.width > page.WIDTH:
        console.width = page.WIDTH
    return console


def _said(data: Journey, extent: Extent) -> str:
    return (
        f"  {len(data.households)} households, {len(data.purchases):,} purchases and "
        f"{len(data.coupon_uses):,} coupons of {extent.weeks} weeks; dates are moved by whole "
        "weeks to end now."
    )


async def _kept(network: Network, result: Result, place: Path) -> None:
    """The network stays until Ctrl-C."""
    explain(network, result)
    await interrupted()
    output.say(f"\nStopping. Everything stays in {place}.")


async def interrupted() -> None:
    """Wait for Ctrl-C, which from here on is no failure."""
    task = asyncio.current_task()
    assert task is not None
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        task.uncancel()


def write_json(content: Mapping[str, Any], file: Path) -> None:
    """The figures and checks, for a script."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


@contextmanager
def _place(folder: Path | None, *, keep: bool) -> Iterator[Path]:
    """The folder of this run: named, or a temporary one which stays only if it is kept."""
    if folder is not None:
        if folder.exists() and any(folder.iterdir()):
            raise Conflict(f"{folder} is not empty; name a new folder, or remove it.")
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.absolute()
    elif keep:
        yield Path(tempfile.mkdtemp(prefix="comity-demo-"))
    else:
        with tempfile.TemporaryDirectory(
            prefix="comity-demo-", ignore_cleanup_errors=True
        ) as temporary:
            yield Path(temporary)


@contextmanager
def _databases(server: str, *, stay: bool) -> Iterator[DatabaseUrl | None]:
    """Databases on the server; None without one, for SQLite in each folder."""
    if not server:
        yield None
        return
    from cli.demo.postgresql import databases

    with databases(server, stay=stay) as database:
        yield database


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """SIGTERM and SIGINT end the task in order, so that no server is left behind."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def explain(network: Network, result: Result) -> None:
    """How to explore a network that is left running."""
    home = network.folder
    receipt = Path(result.receipt.get("folder", home / "wallets" / "nobody" / "receipts" / "none"))
    wallet = receipt.parent.parent
    comity = shutil.which("comity") or str(Path(sys.executable).with_name("comity"))
    lines = (
        ("a member's points at all brands", f"member balance --wallet {wallet}"),
        ("its receipts", f"member receipts --wallet {wallet}"),
        ("one of them, verified offline", f"verify receipt {receipt}"),
        ("what became of a brand's points", f"merchant totals --node {home}/drug"),
        ("who owes whom", f"clearing window show {result.window} --clearing {home}/clearing"),
        ("every decision", f"clearing decisions --clearing {home}/clearing"),
        ("a brand's database against its log", f"verify log {home}/grocery"),
        (
            "all books against each other",
            " ".join(("verify network", *(f"{home}/{name}" for name in homes(network)))),
        ),
    )
    output.say(f"\nThe network is running, in {home}. To explore it from another terminal:\n")
    for what, how in lines:
        output.remark(f"  # {what}")
        output.say(f"  {comity} {how}")
    output.remark("\nStop it with Ctrl-C.")
    if network.in_postgresql:
        return
    output.remark("Then flip one bit of an entry, and have the entry named:")
    output.say(f"  {sys.executable} -m cli.demo.spoil {home}/grocery 7")
    output.say(f"  {comity} verify log {home}/grocery")


def homes(network: Network) -> tuple[str, ...]:
    """The folders of all organisations, clearing first."""
    return ("clearing", *network.brands)
