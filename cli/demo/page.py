"""The page at the end: what became of the points, who owes whom, and whether it all holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cli import output
from cli.demo.coalition import COALITION, CURRENCY, PARTNER, PARTNER_ISSUER
from cli.demo.tally import Check, Flow, Result
from cli.demo.verifier import INVARIANTS
from comity.wallet.offers import Money

WIDTH: Final = 100
"""The widest the page becomes; at 80 it still fits."""

BAR: Final = 24
TWO_COLUMNS_FROM: Final = 96

REASONS: Final[Mapping[str, str]] = {
    "CAP_EXCEEDED": "the issuer's net debit cap was reached",
    "INSUFFICIENT_POINTS": "not enough points",
    "LIMIT_EXCEEDED": "beyond a limit of the agreement",
    "QUOTE_EXPIRED": "the quote had expired",
    "HOLD_EXPIRED": "the hold had expired",
}


def show(result: Result, console: Console) -> None:
    """Print the whole page."""
    for part in (
        _brands(result),
        flows(result),
        redemptions(result),
        window(result),
        _receipt(result),
        checks(result, wide=console.width >= TWO_COLUMNS_FROM),
        verdict(result),
    ):
        console.print(Padding(part, (1, 0, 0, 1)))


def _brands(result: Result) -> Table:
    drawn = table("Brands, and what became of their points")
    for name in ("members", "baskets", "issued", "spendable", "pending", "spent", "log entries"):
        drawn.add_column(name, justify="right", no_wrap=name != "log entries")
    tally = result.tally
    for brand, totals in result.totals.items():
        partner = tally.partner_baskets if brand == PARTNER else 0
        drawn.add_row(
            named(brand),
            _count(tally.members[brand]),
            _count(tally.baskets[brand] + partner),
            _count(-totals.get("issued", 0)),
            _count(totals.get("available", 0)),
            _count(totals.get("pending", 0)),
            _count(totals.get("spent", 0) + totals.get("converted", 0)),
            _count(result.entries.get(brand, 0)),
        )
    drawn.add_row(
        Text("Clearing", style="dim"), *[""] * 6, _count(result.entries.get("clearing", 0))
    )
    return drawn


def flows(result: Result) -> Group:
    """What went between each two brands."""
    drawn = table("Points spent at another brand, and what their issuer pays")
    for brand in COALITION:
        drawn.add_column(f"at {brand}", justify="right", no_wrap=True)
    for issuer in COALITION:
        drawn.add_row(
            named(issuer),
            *(_flow(result.flows.get((issuer, acceptor))) for acceptor in COALITION),
        )
    accrued = result.accrued
    if not accrued.redemptions:
        return Group(drawn)
    sentence = Text.assemble(
        f"{_count(accrued.redemptions)} baskets at ",
        named(PARTNER),
        f" earned {_count(accrued.points)} points of ",
        named(PARTNER_ISSUER),
        ", and it pays ",
        (dollars(accrued.minor), "cyan"),
        " for them.",
    )
    return Group(drawn, sentence)


def _flow(flow: Flow | None) -> Text:
    if flow is None:
        return Text("·", style="dim")
    return Text.assemble(f"{_count(flow.points)}\n", (dollars(flow.minor), "cyan"))


def redemptions(result: Result) -> Table:
    """What became of every wish."""
    tally = result.tally
    drawn = listing("Redemptions")
    drawn.add_column(justify="right")
    drawn.add_column()
    rows: list[tuple[int, str]] = [
        (tally.committed, "committed by clearing, and delivered; of these"),
        (tally.exchanges, "  exchanged for points of the other brand"),
        (tally.vouchers_used, "  used as a voucher at a till"),
        (tally.reversed_in_part, "  returned in part, and the points restored to their lots"),
        (tally.reversed_whole, "  returned whole"),
        *((count, f"aborted: {_reason(code)}") for code, count in tally.aborted.most_common()),
        *((count, f"refused: {_reason(code)}") for code, count in tally.refused.most_common()),
        (tally.too_poor, "wishes given up: not enough points at any other brand yet"),
        *((count, f"baskets rejected at import: {why}") for why, count in _rejected(result)),
    ]
    for count, text in rows:
        if count:
            drawn.add_row(_count(count), text)
    if tally.cap_raised:
        drawn.add_row("", Text("The operator then raised the cap.", style="dim"))
    return drawn


def _rejected(result: Result) -> Iterator[tuple[str, int]]:
    for code, count in result.tally.rejected.most_common():
        yield "worth nothing" if code == "MALFORMED" else _reason(code), count


def window(result: Result) -> Group:
    """Positions, payments and who acknowledged them."""
    drawn = listing(f"Window {result.window}: {_count(result.decisions)} decisions, settled")
    drawn.add_column()
    drawn.add_column(justify="right")
    drawn.add_column()
    largest = max((abs(minor) for minor in result.net_positions.values()), default=0) or 1
    for name, minor in result.net_positions.items():
        length = max(1, abs(minor) * BAR // largest) if minor else 0
        bar = Text("█" * length, style="green" if minor > 0 else "red")
        drawn.add_row(named(name), dollars(minor), bar)
    total = sum(result.net_positions.values())
    drawn.add_row(Text("sum", style="dim"), Text(dollars(total), style="dim"), "")
    paid = [
        Text.assemble(named(payer), " pays ", named(payee), " ", (dollars(minor), "cyan"))
        for payer, payee, minor in result.payments
    ]
    who = Text(f"Acknowledged by {', '.join(result.acknowledged) or 'nobody'}.", style="dim")
    return Group(drawn, Text(), *paid, who)


def _receipt(result: Result) -> RenderableType:
    facts = result.receipt
    if not facts:
        return Text("No receipt: nothing was redeemed.", style="dim")
    issuer = str(facts["issuer"]).rpartition("/")[2]
    acceptor = str(facts["acceptor"]).rpartition("/")[2]
    bought = facts["reward_id"] or f"{_count(facts['acceptor_points'])} points"
    words = Text.assemble(
        f"{_count(facts['points'])} points of ",
        named(issuer),
        f" bought {bought} at ",
        named(acceptor),
        f" ({str(facts['state']).replace('_', ' ')}).\n",
        (f"{' '.join(facts['statements'])}\n", "dim"),
        (str(facts["folder"]), "dim"),
    )
    return Panel(words, title="A member's receipt, which verifies offline", title_align="left")


def checks(result: Result, *, wide: bool) -> Table:
    """Every check in one column or two."""
    drawn = listing("Verified by another process, as a stranger and as an admitted auditor")
    rows = [_check(check) for check in result.checks]
    if not wide:
        _columns(drawn, 1)
        for row in rows:
            drawn.add_row(*row)
        return drawn
    invariants = sum(check.name in INVARIANTS for check in result.checks)
    left = invariants // 2 + 4
    _columns(drawn, 2)
    for one, other in zip_longest(rows[:left], rows[left:], fillvalue=("", "", "")):
        drawn.add_row(*one, *other)
    return drawn


def _columns(drawn: Table, times: int) -> None:
    for _ in range(times):
        drawn.add_column()
        drawn.add_column(no_wrap=True)
        drawn.add_column(style="dim", overflow="fold")


def _check(check: Check) -> tuple[RenderableType, RenderableType, RenderableType]:
    if check.passed:
        return Text("✓", style="green"), check.name, Text(check.detail)
    return Text("✗", style="bold red"), check.name, Text(check.detail, style="red")


def verdict(result: Result) -> Text:
    """The last line."""
    failed: Sequence[Check] = [check for check in result.checks if not check.passed]
    if failed or not result.checks:
        return Text(f"{len(failed)} of {len(result.checks)} checks FAILED.", style="bold red")
    tally = result.tally
    return Text(
        f"All {len(result.checks)} checks passed. {sum(tally.members.values())} memberships, "
        f"{_count(sum(tally.baskets.values()) + tally.partner_baskets)} baskets and "
        f"{tally.committed} redemptions took {result.seconds:.0f} seconds.",
        style="bold green",
    )


def table(title: str) -> Table:
    """A table with a heading and a first column of names."""
    drawn = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    drawn.pad_edge = False
    drawn.add_column("", no_wrap=True)
    return drawn


def listing(title: str) -> Table:
    """A table without a heading."""
    drawn = Table(title=title, title_justify="left", title_style="bold", box=None)
    drawn.show_header = False
    drawn.pad_edge = False
    return drawn


def named(participant: str) -> str:
    """What a participant is called."""
    member = COALITION.get(participant)
    return participant if member is None else member.name


def _reason(code: str) -> str:
    return REASONS.get(code, code.replace("_", " ").lower())


def _count(value: int) -> str:
    return output.number(value)


def dollars(minor: int) -> str:
    """An amount of the coalition's currency."""
    text = output.money(Money(CURRENCY, abs(minor))).removesuffix(f" {CURRENCY}")
    return f"-${text}" if minor < 0 else f"${text}"
