"""`comity member status` and `convert`: level, what is missing, badges, tasks, what expires."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.commands import WriteId, command
from cli.member import BrandName, app
from cli.options import DEFAULT_WALLET, Id, Json, Wallet
from cli.purse import open_wallet
from comity.v1 import programme_pb2 as pb


@command(app, "status", example="comity member status grocery\ncomity member status grocery --json")
async def status(brand: BrandName, wallet: Wallet = DEFAULT_WALLET, as_json: Json = False) -> None:
    """Show your level at a brand, what is missing for the next, badges, tasks and expiry."""
    async with open_wallet(wallet) as opened:
        found = await opened.programme(opened.store.brand(brand)).status()
    output.emit(found, as_json, lambda: _show(found))


def _show(found: pb.GetStatusResponse) -> None:
    pairs: list[tuple[str, object]] = []
    if found.HasField("level"):
        until = f" until {output.when(found.until_us)}" if found.until_us else ""
        pairs.append(("level", f"{found.level.title} since {output.when(found.since_us)}{until}"))
        pairs.append(("you have", _benefits(found.level, unlocked=True)))
    if found.HasField("next"):
        ways = " or ".join(
            " and ".join(f"{one.points:,} {one.unit.partition('/')[2]}" for one in way.missing)
            for way in found.ways
        )
        pairs.append(("next", f"{ways} to {found.next.title}".strip()))
        pairs.append(("you would get", _benefits(found.next, unlocked=False)))
    has = [one.title for one in found.marks if one.since_us]
    locked = [one.title for one in found.marks if not one.since_us]
    pairs += [("badges and titles", ", ".join(has)), ("not yet", ", ".join(locked))]
    pairs += [("to do", _task(one)) for one in found.tasks]
    pairs += [
        ("expiring", f"{one.points:,} {one.unit} within {one.within_days} days")
        for one in found.notices
    ]
    pairs.append(("you are", found.lifecycle))
    output.facts([(name, text) for name, text in pairs if text])


def _benefits(level: pb.LevelStatus, *, unlocked: bool) -> str:
    return ", ".join(one.title for one in level.benefits if one.unlocked is unlocked)


def _task(task: pb.TaskStatus) -> str:
    if task.times_left == 0 or task.points_left == 0:
        return f"{task.title}: done for now"
    if task.times_left > 0:
        return f"{task.title}: {task.times_left} more for now"
    return task.title


@command(app, "convert", example="comity member convert grocery growth-to-points 100")
async def convert(
    brand: BrandName,
    conversion: Annotated[
        str, typer.Argument(metavar="CONVERSION", help="One of the programme's conversions.")
    ],
    points: Annotated[int, typer.Argument(metavar="POINTS", min=1, help="Points to give.")],
    write_id: Id = None,
    wallet: Wallet = DEFAULT_WALLET,
) -> None:
    """Turn points of one unit of a brand into another."""
    async with open_wallet(wallet) as opened:
        client = opened.programme(opened.store.brand(brand))
        made = await client.convert(id=WriteId.of(write_id), conversion=conversion, points=points)
    output.say(f"{points:,} became {made:,}.")
