"""`comity programme suggest`: levels that a history of purchases asks for."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.commands import command
from cli.options import Json
from cli.programme import File, app, read_file
from cli.what_if import Events, read_history
from node.programme.histories import by_member
from node.programme.model import PURCHASE
from node.programme.suggest import (
    ladder,
    pareto_per_mille,
    repeats,
    retention_node,
)

SHOWN = 8
"""So many shares of customers who came again; the later ones are of few."""


@command(
    app,
    "suggest",
    example="comity programme suggest grocery.yaml grocery-events.csv\n"
    "comity programme suggest tmall purchases.csv --per-minor 100 --json",
)
def suggest(
    programme: File,
    events: Events,
    per_minor: Annotated[
        int, typer.Option(min=1, help="So many minor units spent are a point of growth.")
    ] = 100,
    as_json: Json = False,
) -> None:
    """Find after how many purchases customers stay, and levels that follow from it."""
    histories = [
        tuple(
            act.event.amount_minor // per_minor
            for act in acts
            if act.event is not None and act.event.type == PURCHASE
        )
        for acts in by_member(read_history(read_file(programme)[0], events)).values()
    ]
    bought = [one for one in histories if one]
    came_again = repeats(len(one) for one in bought)
    found: dict[str, Any] = {
        "customers": len(bought),
        "top_fifth_per_mille": pareto_per_mille(sum(one) for one in bought),
        "node": retention_node(came_again),
        "repeats": [
            {"purchases": one.k, "customers": one.customers, "again_per_mille": one.per_mille}
            for one in came_again[:SHOWN]
        ],
        "levels": [
            {"growth": one.threshold, "customers": one.customers, "why": one.why}
            for one in ladder(bought)
        ],
    }
    output.emit(found, as_json, lambda: _show(found))


def _show(found: dict[str, Any]) -> None:
    output.facts(
        (
            ("customers", output.number(found["customers"])),
            ("what the top fifth brings", output.percent(10 * found["top_fifth_per_mille"])),
            ("they stay after", f"{found['node']} purchases"),
        )
    )
    output.table(
        ("purchases", "customers", "bought again"),
        [
            (
                one["purchases"],
                output.number(one["customers"]),
                output.percent(10 * one["again_per_mille"]),
            )
            for one in found["repeats"]
        ],
        right=("purchases", "customers", "bought again"),
    )
    output.table(
        ("level from growth", "customers", "why"),
        [
            (output.number(one["growth"]), output.number(one["customers"]), one["why"])
            for one in found["levels"]
        ],
        right=("level from growth", "customers"),
    )
