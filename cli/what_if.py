"""`comity programme what-if`: one history under two versions of a programme."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.commands import command
from cli.options import Json
from cli.programme import File, app, read_bytes, read_file
from comity.clock import SECOND, system_clock
from comity.errors import Malformed
from comity.wallet.offers import Money
from node.programme import histories
from node.programme.model import Programme, Value
from node.programme.what_if import WhatIf, what_if

Events = Annotated[
    Path,
    typer.Argument(
        help=f"A history as CSV, with the columns {', '.join(histories.COLUMNS)}; whatever "
        "other columns there are hold attributes of events."
    ),
]


@command(
    app,
    "what-if",
    example="comity programme what-if grocery.yaml grocery-devalued.yaml grocery-events.csv\n"
    "comity programme what-if starbucks-2015 starbucks-2016 visits.csv --worth 100/25 --json",
)
def what_if_files(
    before: File,
    after: Annotated[
        str, typer.Argument(metavar="NEWFILE", help="The version to come, or a preset.")
    ],
    events: Events,
    worth: Annotated[
        str,
        typer.Option(
            metavar="MINOR/POINTS",
            help="What points are worth where the programme publishes no value: so many minor "
            "units for so many points.",
        ),
    ] = "",
    members: Annotated[
        bool, typer.Option("--members", help="Everyone, and not only how many gain and lose.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Live a history again under another version: who gains, who loses, what it costs."""
    old, new = read_file(before)[0], read_file(after)[0]
    acts = read_history(old, events)
    found = what_if(old, new, acts, until_us=_until(acts), worth=_worth(worth))
    output.emit(_plain(found), as_json, lambda: _show(found, members=members))


def read_history(programme: Programme, events: Path) -> tuple[histories.Act, ...]:
    """The acts in a CSV file. Raises Malformed, naming the line that cannot be read."""
    try:
        text = read_bytes(events).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Malformed(f"{events} is not text in UTF-8.") from None
    return histories.read(programme, text.splitlines(keepends=True))


def _until(acts: tuple[histories.Act, ...]) -> int:
    """Up to now, or to the last act if that is later."""
    return max(system_clock(), *(act.at_us + SECOND for act in acts), 0)


def _worth(text: str) -> Value | None:
    if not text:
        return None
    minor, _, points = text.partition("/")
    if not (minor.isdecimal() and points.isdecimal() and int(minor) and int(points)):
        raise typer.BadParameter(f"{text!r} is not MINOR/POINTS, such as 1/100 for a cent each.")
    return Value(minor=int(minor), points=int(points))


def _plain(found: WhatIf) -> dict[str, Any]:
    before, after = found.levels()
    return {
        **found.verdicts,
        "points": found.points,
        "minor": found.minor,
        "currency": found.currency,
        "levels_before": dict(before),
        "levels_after": dict(after),
        "refused": dict(found.refused),
        "members": [
            {
                "member": one.member,
                "verdict": one.verdict,
                "points": one.points,
                "minor": one.minor,
                "level_before": one.before.level,
                "level_after": one.after.level,
                "earned_before": dict(one.before.earned),
                "earned_after": dict(one.after.earned),
            }
            for one in found.members
        ],
    }


def _show(found: WhatIf, *, members: bool) -> None:
    verdicts = found.verdicts
    cost = output.money(Money(found.currency, abs(found.minor)))
    output.facts(
        (
            ("members who gain", output.number(verdicts["gains"])),
            ("members who lose", output.number(verdicts["loses"])),
            ("members with the same", output.number(verdicts["same"])),
            ("points given that do not expire", f"{found.points:+,}"),
            ("what it costs the brand", f"{cost} {'less' if found.minor < 0 else 'more'}"),
            ("acts refused besides", output.number(sum(found.refused.values()))),
        )
    )
    before, after = found.levels()
    levels = [(name, before[name], after[name]) for name in dict.fromkeys((*before, *after))]
    if levels:
        output.table(("level", "before", "after"), levels, right=("before", "after"))
    if members:
        output.table(
            ("member", "", "points", "level before", "level after"),
            [
                (one.member, one.verdict, f"{one.points:+,}", one.before.level, one.after.level)
                for one in sorted(found.members, key=lambda one: (one.points, one.member))
            ],
            right=("points",),
        )
