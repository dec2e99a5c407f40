"""The page at the end: what became of the points, who owes whom, and whether it all holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cli import output
from cli.demo.coalition import COALITION, CURRENCY
from cli.demo.tally import Flow, Result
from comity.wallet.offers import Money

WIDTH: Final = 100
BAR: Final = 18

REASONS: Final[Mapping[str, str]] = {
    "CAP_EXCEEDED": "issuer's net debit cap reached",
    "INSUFFICIENT_POINTS": "not enough points",
    "LIMIT_EXCEEDED": "beyond a limit of the agreement",
    "QUOTE_EXPIRED": "quote expired",
    "HOLD_EXPIRED": "hold expired",
}


def show(result: Result, console: Console) -> None:
    """Print the whole page."""
    for part in (
        _brands(result),
        _flows(result),
        Columns((_redemptions(result), _window(result)), padding=(0, 4)),
        _receipt(result),
        _checks(result),
        _verdict(result),
    ):
        console.print(Padding(part, (1, 0, 0, 1)))


def _brands(result: Result) -> Table:
    drawn = _table("Brands")
    for name in ("members", "baskets", "issued", "spendable", "pending", "spent elsewhere"):
        drawn.add_column(name, justify="right")
    drawn.add_column("log entries", justify="right")
    tally = result.tally
    for brand, totals in result.totals.items():
        partner = tally.partner_baskets if brand == "fuel" else 0
        drawn.add_row(
            COALITION[brand].name,
            _count(tally.members[brand]),
            _count(tally.baskets[brand] + partner),
            _count(-totals.get("issued", 0)),
            _count(totals.get("available", 0)),
            _count(totals.get("pending", 0)),
            _count(totals.get("spent", 0) + totals.get("converted", 0)),
            _count(result.entries.get(brand, 0)),
        )
    return drawn


def _flows(result: Result) -> Table:
    drawn = _table("Points of … ↓  spent at … →   (points, and what the issuer pays for them)")
    for member in COALITION.values():
        drawn.add_column(member.name, justify="right")
    for issuer in COALITION:
        drawn.add_row(
            COALITION[issuer].name,
            *(_flow(result.flows.get((issuer, acceptor))) for acceptor in COALITION),
        )
    return drawn


def _flow(flow: Flow | None) -> Text:
    if flow is None:
        return Text("·", style="dim")
    return Text.assemble(f"{_count(flow.points)}  ", (_dollars(flow.minor), "cyan"))


def _redemptions(result: Result) -> Table:
    tally = result.tally
    drawn = Table(title="Redemptions", title_justify="left", title_style="bold", box=None)
    drawn.show_header = False
    drawn.add_column(justify="right")
    drawn.add_column()
    rows: list[tuple[int, str]] = [
        (tally.committed, "committed by clearing and delivered"),
        (tally.exchanges, "  of them exchanged for the other brand's points"),
        (tally.vouchers_used, "  vouchers used at a till"),
        (tally.reversed_in_part, "  returned in part, points restored"),
        (tally.reversed_whole, "  returned whole"),
        (tally.partner_baskets, "fuel baskets earned grocery points, fuel pays"),
        *((count, f"aborted: {_reason(code)}") for code, count in tally.aborted.most_common()),
        *((count, f"refused: {_reason(code)}") for code, count in tally.refused.most_common()),
        (tally.too_poor, "wishes left: not enough points yet"),
        *((count, f"baskets rejected at import: {code}") for code, count in _rejected(result)),
    ]
    for count, text in rows:
        if count:
            drawn.add_row(_count(count), text)
    return drawn


def _rejected(result: Result) -> Iterator[tuple[str, int]]:
    for code, count in result.tally.rejected.most_common():
        yield "worth nothing" if code == "MALFORMED" else code, count


def _window(result: Result) -> Group:
    drawn = Table(
        title=f"Window {result.window}: {result.decisions} decisions, closed and settled",
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=False,
    )
    drawn.add_column()
    drawn.add_column(justify="right")
    drawn.add_column()
    largest = max((abs(minor) for minor in result.net_positions.values()), default=0) or 1
    for name, minor in result.net_positions.items():
        length = max(1, abs(minor) * BAR // largest) if minor else 0
        drawn.add_row(
            name, _dollars(minor), Text("█" * length, style="green" if minor > 0 else "red")
        )
    drawn.add_row(Text("sum", style="dim"), _dollars(sum(result.net_positions.values())), "")
    lines: list[RenderableType] = [drawn, Text()]
    lines.extend(
        Text.assemble("  ", payer, (" pays ", "dim"), payee, " ", (_dollars(minor), "cyan"))
        for payer, payee, minor in result.payments
    )
    lines.append(Text(f"  acknowledged by {', '.join(result.acknowledged)}", style="dim"))
    return Group(*lines)


def _receipt(result: Result) -> RenderableType:
    facts = result.receipt
    if not facts:
        return Text("No receipt: nothing was redeemed.", style="dim")
    issuer = str(facts["issuer"]).rpartition("/")[2]
    acceptor = str(facts["acceptor"]).rpartition("/")[2]
    bought = facts["reward_id"] or f"{facts['acceptor_points']} points"
    words = Text.assemble(
        (f"{_count(facts['points'])} points of {COALITION[issuer].name}", "bold"),
        " bought ",
        (f"{bought} at {COALITION[acceptor].name}", "bold"),
        f" · {str(facts['state']).replace('_', ' ')}\n",
        (f"{', '.join(facts['statements'])}\n", "dim"),
        ("comity verify receipt ", "dim"),
        (str(facts["folder"]), "dim"),
    )
    return Panel(words, title="A receipt of a member, which verifies offline", title_align="left")


def _checks(result: Result) -> Table:
    drawn = Table(
        title="Verified by another process, as a stranger and as an admitted auditor",
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=False,
    )
    drawn.add_column()
    drawn.add_column()
    drawn.add_column(style="dim", overflow="fold")
    for check in result.checks:
        mark = Text("✓", style="green") if check.passed else Text("✗", style="bold red")
        drawn.add_row(mark, check.name, check.detail)
    return drawn


def _verdict(result: Result) -> Text:
    failed = [check for check in result.checks if not check.passed]
    if failed:
        return Text(f"{len(failed)} of {len(result.checks)} checks FAILED.", style="bold red")
    tally = result.tally
    return Text(
        f"All {len(result.checks)} checks passed. {sum(tally.members.values())} memberships, "
        f"{_count(sum(tally.baskets.values()) + tally.partner_baskets)} baskets, "
        f"{tally.committed} redemptions in {result.seconds:.0f} seconds.",
        style="bold green",
    )


def _table(title: str) -> Table:
    drawn = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    drawn.pad_edge = False
    drawn.add_column("")
    return drawn


def _reason(code: str) -> str:
    return REASONS.get(code, code.replace("_", " ").lower())


def _count(value: int) -> str:
    return output.number(value)


def _dollars(minor: int) -> str:
    return "$" + output.money(Money(CURRENCY, minor)).removesuffix(f" {CURRENCY}")
