"""`comity member`, second part: catalogue, quotes, redemptions, exchanges and receipts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.commands import command
from cli.failures import UNDECIDED
from cli.member import Ca, ServerName, app
from cli.options import DEFAULT_WALLET, Json, Wallet, Yes
from cli.purse import brand_at, open_wallet, paying
from comity.errors import NotFound
from comity.v1.common_pb2 import Money as MoneyMessage
from comity.wallet.offers import Offer, money_json
from comity.wallet.receipts import STATES, Receipt
from comity.wallet.wallet import Outcome
from comity.wallet.wallet import Wallet as OpenWallet

At = Annotated[
    str, typer.Option("--at", help="The brand that gives: its name in the wallet, or host:port.")
]
With = Annotated[
    str | None,
    typer.Option("--with", help="The brand whose points you spend; if only one fits, it is taken."),
]
MaxPoints = Annotated[
    int | None, typer.Option(help="Refuse if it costs more points than this.", min=1)
]
Wait = Annotated[float, typer.Option(help="Wait so many seconds for the outcome.", min=1)]
RedemptionId = Annotated[str, typer.Argument(metavar="REDEMPTION", help="rdm_ and 32 digits.")]


@command(
    app,
    "rewards",
    example="comity member rewards --at fuel\ncomity member rewards --at localhost:7543",
)
async def rewards(
    at: At,
    ca: Ca = None,
    server_name: ServerName = "",
    wallet: Wallet = DEFAULT_WALLET,
    as_json: Json = False,
) -> None:
    """Show the catalogue of a brand, and whose points it accepts."""
    async with open_wallet(wallet, create=True) as opened:
        brand = await brand_at(opened, at, ca=ca, server_name=server_name)
        found = await opened.rewards(brand)
        issuers = await opened.guest(brand).list_issuers()
    rows = [
        (
            one.reward_id,
            one.title,
            output.word(one, "kind"),
            output.number(one.price_points),
            output.money(one.retail),
            "unlimited" if one.stock < 0 else output.number(one.stock),
        )
        for one in found
        if one.active
    ]

    def show() -> None:
        columns = ("reward", "title", "kind", "price in its points", "in the store", "left")
        output.table(columns, rows, right=columns[3:])
        output.remark(f"{brand.participant} accepts points of: {', '.join(issuers) or 'nobody'}.")

    output.emit({"rewards": found, "issuers": list(issuers)}, as_json, show)


@command(
    app,
    "quote",
    example="comity member quote car-wash --at fuel --with grocery\n"
    "comity member quote car-wash --at fuel --with grocery --quantity 2 --json",
)
async def quote(
    reward: Annotated[str, typer.Argument(help="The reward's id, as the catalogue shows it.")],
    at: At,
    points_of: With = None,
    quantity: Annotated[int, typer.Option(min=1, max=1000)] = 1,
    ca: Ca = None,
    server_name: ServerName = "",
    wallet: Wallet = DEFAULT_WALLET,
    as_json: Json = False,
) -> None:
    """Ask what a reward costs in your points. A quote binds nobody; `redeem` takes it."""
    async with open_wallet(wallet) as opened:
        offer = await _quoted(opened, reward, at, points_of, quantity, ca, server_name)

    def show() -> None:
        show_offer(offer)
        output.remark(f"To take it: comity member redeem {offer.redemption_id}")

    output.emit(offer_facts(offer), as_json, show)


async def _quoted(
    opened: OpenWallet,
    reward: str,
    at: str,
    points_of: str | None,
    quantity: int,
    ca: Path | None,
    server_name: str,
) -> Offer:
    acceptor = await brand_at(opened, at, ca=ca, server_name=server_name)
    issuer = await paying(opened, points_of, acceptor)
    return await opened.quote(issuer=issuer, acceptor=acceptor, reward_id=reward, quantity=quantity)


@command(
    app,
    "redeem",
    example="comity member redeem car-wash --at fuel --with grocery --max-points 500\n"
    "comity member redeem rdm_00112233445566778899aabbccddeeff --yes",
)
async def redeem(
    what: Annotated[str, typer.Argument(help="A reward's id, or the id of a quote.")],
    at: Annotated[
        str, typer.Option("--at", help="The brand that gives the reward; not for a quote.")
    ] = "",
    points_of: With = None,
    quantity: Annotated[int, typer.Option(min=1, max=1000)] = 1,
    max_points: MaxPoints = None,
    wait_s: Wait = 30.0,
    yes: Yes = False,
    ca: Ca = None,
    server_name: ServerName = "",
    wallet: Wallet = DEFAULT_WALLET,
    as_json: Json = False,
) -> None:
    """Take a reward for your points. If it stays undecided, repeat with its id: it is paid once."""
    async with open_wallet(wallet) as opened:
        if what.startswith("rdm_"):
            if opened.store.pending(what) is not None:
                _report(await _resumed(opened, what, wait_s), as_json)
                return
            offer = opened.store.offer(what)
        elif at:
            offer = await _quoted(opened, what, at, points_of, quantity, ca, server_name)
        else:
            raise output.bad_usage("Say which brand gives the reward: --at BRAND.")
        outcome = await _taken(opened, offer, max_points, wait_s, yes, as_json)
    _report(outcome, as_json)


@command(
    app,
    "exchange",
    example="comity member exchange 100 --at fuel --with grocery\n"
    "comity member exchange 100 --at fuel --with grocery --max-points 250 --yes",
)
async def exchange(
    points: Annotated[int, typer.Argument(help="How many points of the other brand.", min=1)],
    at: At,
    points_of: With = None,
    max_points: MaxPoints = None,
    wait_s: Wait = 30.0,
    yes: Yes = False,
    wallet: Wallet = DEFAULT_WALLET,
    as_json: Json = False,
) -> None:
    """Turn points of one brand into points of another where you are a member too."""
    async with open_wallet(wallet) as opened:
        acceptor = await brand_at(opened, at)
        opened.member(acceptor)
        issuer = await paying(opened, points_of, acceptor)
        offer = await opened.quote_exchange(
            issuer=issuer, acceptor=acceptor, acceptor_points=points
        )
        outcome = await _taken(opened, offer, max_points, wait_s, yes, as_json)
    _report(outcome, as_json)


async def _taken(
    opened: OpenWallet,
    offer: Offer,
    max_points: int | None,
    wait_s: float,
    yes: bool,
    as_json: bool,
) -> Outcome:
    if not as_json:
        show_offer(offer)
    if not yes:
        typer.confirm("Take it?", abort=True, err=True)
    with output.working(f"{offer.redemption_id}: waiting for the outcome"):
        return await opened.redeem(offer, max_points=max_points, timeout_s=wait_s)


async def _resumed(opened: OpenWallet, redemption_id: str, wait_s: float) -> Outcome:
    with output.working(f"{redemption_id}: waiting for the outcome"):
        return await opened.resume(redemption_id, timeout_s=wait_s)


@command(app, "redemptions", example="comity member redemptions\ncomity member redemptions --json")
def redemptions(wallet: Wallet = DEFAULT_WALLET, as_json: Json = False) -> None:
    """List your redemptions: those on their way first, then the receipts."""
    store = open_wallet(wallet).store
    waiting = [
        {**offer_facts(one.offer), "state": "pending", "recorded_at": ""}
        for one in store.all_pending()
    ]
    found = [*waiting, *(dict(one.summary) for one in store.receipts())]
    rows = [
        (
            one["redemption_id"],
            one["state"].replace("_", " "),
            f"{output.number(one['points'])} {_name(one['issuer'])}",
            one["reward_id"] or f"{output.number(one['acceptor_points'])} points",
            _name(one["acceptor"]),
            one["recorded_at"][:19],
        )
        for one in found
    ]
    columns = ("redemption", "state", "paid", "for", "at", "recorded")
    output.emit(found, as_json, lambda: output.table(columns, rows))


@command(
    app,
    "redemption",
    example="comity member redemption rdm_00112233445566778899aabbccddeeff",
)
async def redemption(
    redemption_id: RedemptionId,
    wait_s: Wait = 30.0,
    wallet: Wallet = DEFAULT_WALLET,
    as_json: Json = False,
) -> None:
    """Go on with a redemption that is undecided, or ask what became of it since."""
    async with open_wallet(wallet) as opened:
        outcome = await _resumed(opened, redemption_id, wait_s)
    _report(outcome, as_json)


@command(app, "receipts", example="comity member receipts\ncomity member receipts --json")
def receipts(wallet: Wallet = DEFAULT_WALLET, as_json: Json = False) -> None:
    """List your receipts and where their files are."""
    found = open_wallet(wallet).store.receipts()
    rows = [
        (one.redemption_id, one.state.replace("_", " "), ", ".join(one.vouchers), one.folder)
        for one in found
    ]
    columns = ("redemption", "state", "vouchers", "folder")
    output.emit([receipt_facts(one) for one in found], as_json, lambda: output.table(columns, rows))


@command(
    app,
    "vouchers",
    example="comity member vouchers rdm_00112233445566778899aabbccddeeff",
)
def vouchers(
    redemption_id: RedemptionId,
    wallet: Wallet = DEFAULT_WALLET,
    as_json: Json = False,
) -> None:
    """Print the codes which a redemption's receipt holds, one a line: what the till asks for."""
    codes = open_wallet(wallet).store.receipt(redemption_id).vouchers
    if not codes:
        raise NotFound(f"{redemption_id} gave no voucher; `comity member receipts` lists yours.")
    output.emit(list(codes), as_json, lambda: output.say("\n".join(codes)))


def _report(outcome: Outcome, as_json: bool) -> None:
    """Prints the outcome; an undecided or failed one has an exit code of its own."""
    receipt = outcome.receipt
    found = outcome.redemption
    if receipt is None:
        state = STATES[found.state]
        output.emit({"redemption_id": found.redemption_id, "state": state}, as_json, lambda: None)
        output.fail(
            "The redemption is not decided yet; nothing is lost, and nothing is paid twice.",
            what_to_do=f"Ask again: comity member redemption {found.redemption_id}",
        )
        raise typer.Exit(UNDECIDED)
    output.emit(receipt_facts(receipt), as_json, lambda: show_receipt(receipt))
    if receipt.state == "failed":
        output.fail(found.failure.message or "The redemption failed; no points were spent.")
        raise typer.Exit(1)


def show_offer(offer: Offer) -> None:
    """Both money values, and what the member loses, before anything is signed."""
    worth = offer.worth
    loss, share = worth.loss, worth.loss_basis_points
    subject = (
        f"{output.number(offer.acceptor_points)} points of {_name(offer.acceptor)}"
        if offer.exchange
        else f"{offer.quantity} × {offer.reward_id} at {_name(offer.acceptor)}"
    )
    facts: list[tuple[str, object]] = [
        ("for", subject),
        ("you pay", f"{output.number(offer.points)} points of {_name(offer.issuer)}"),
        ("which are worth", output.money(worth.amount)),
        ("what it costs in the store", output.money(worth.retail) or "not stated"),
    ]
    if loss is not None and loss.minor > 0:
        part = f" ({output.percent(share)})" if share is not None else ""
        facts.append(("you lose", f"{output.money(loss)}{part}"))
    elif loss is not None:
        facts.append(("you lose", "nothing"))
        if loss.minor < 0:
            facts.append(("you gain", output.money(_negative(loss.currency, loss.minor))))
    facts.append(("until", output.when(offer.expires_at_us)))
    output.facts(facts)


def _negative(currency: str, minor: int) -> MoneyMessage:
    return MoneyMessage(currency=currency, minor=-minor)


def offer_facts(offer: Offer) -> dict[str, Any]:
    """An offer for a script; its secrets stay in the wallet."""
    return {
        "redemption_id": offer.redemption_id,
        "issuer": offer.issuer,
        "acceptor": offer.acceptor,
        "points": offer.points,
        "acceptor_points": offer.acceptor_points,
        "reward_id": offer.reward_id,
        "quantity": offer.quantity,
        "amount": money_json(offer.worth.amount),
        "retail": money_json(offer.worth.retail),
        "loss": money_json(offer.worth.loss),
        "loss_basis_points": offer.worth.loss_basis_points,
        "expires_at_us": offer.expires_at_us,
    }


def receipt_facts(receipt: Receipt) -> dict[str, Any]:
    """A receipt for a script, with its voucher codes."""
    return {
        **receipt.summary,
        "vouchers": list(receipt.vouchers),
        "folder": str(receipt.folder),
    }


def show_receipt(receipt: Receipt) -> None:
    """What happened, and what to do with it."""
    summary = receipt.summary
    back = summary["reversed_points"]
    bought = summary["reward_id"] or f"{output.number(summary['acceptor_points'])} points"
    output.facts(
        (
            ("redemption", receipt.redemption_id),
            ("state", receipt.state.replace("_", " ")),
            (
                "price" if receipt.state == "failed" else "paid",
                f"{output.number(summary['points'])} points of {_name(summary['issuer'])}",
            ),
            ("returned", output.number(back) if back else ""),
            ("for", f"{bought} at {_name(summary['acceptor'])}"),
            ("show at the till", "\n".join(receipt.vouchers)),
            ("receipt", str(receipt.folder)),
        )
    )


def _name(origin: str) -> str:
    return origin.rpartition("/")[2]
