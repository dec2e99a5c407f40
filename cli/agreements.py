"""`comity merchant agreement`: what two brands agree, proposed by one and accepted by the other."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Annotated, Final

import typer

from cli import output
from cli.access import Key, Staff, merchant
from cli.commands import WriteId, command, group
from cli.merchant import app
from cli.options import HERE, Id, Json, Node
from comity.clock import DAY, HOUR, MINUTE, SECOND, system_clock
from comity.v1.common_pb2 import AgreementTerms, FeePayer, Ratio, RedemptionKind, Rounding

agreement = group("Agreements: at which rate and price another brand's points are accepted.")
app.add_typer(agreement, name="agreement")

UNITS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
AgreementId = Annotated[str, typer.Argument(metavar="AGREEMENT", help="The id, agr_….")]
Version = Annotated[int, typer.Option("--version", help="The version of the agreement.", min=1)]


@command(
    agreement,
    "propose",
    example="comity merchant agreement propose --issuer grocery --acceptor fuel --conversion 2/1 "
    "--price 1/2 --currency USD\n"
    "comity merchant agreement propose --issuer grocery --acceptor fuel --conversion 2/1 "
    "--price 1/2 --currency USD --fee-bp 60 --kind reward --kind exchange --valid-for 365d",
)
async def propose(
    issuer: Annotated[str, typer.Option(help="The brand whose points are spent; it pays.")],
    acceptor: Annotated[str, typer.Option(help="The brand that gives rewards for them.")],
    conversion: Annotated[str, typer.Option(help="Issuer points per acceptor point: 2/1.")],
    price: Annotated[str, typer.Option(help="Minor units the issuer pays per point: 1/2.")],
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")],
    kind: Annotated[
        list[str] | None, typer.Option(help="reward, exchange or accrual; may be repeated.")
    ] = None,
    fee_bp: Annotated[int, typer.Option(help="Operator's fee in basis points.", min=0)] = 0,
    fee_fixed: Annotated[int, typer.Option(help="Fixed fee in minor units.", min=0)] = 0,
    fee_payer: Annotated[str, typer.Option(help="issuer or acceptor.")] = "acceptor",
    minimum: Annotated[int, typer.Option(help="Fewest points of a redemption.", min=0)] = 0,
    maximum: Annotated[int, typer.Option(help="Most points of a redemption.", min=1)] = 1_000_000,
    multiple: Annotated[int, typer.Option(help="Points come in multiples of.", min=0)] = 0,
    rounding: Annotated[str, typer.Option(help="down, up, half_up or half_even.")] = "half_up",
    points_rounding: Annotated[str, typer.Option(help="The same, for points.")] = "up",
    quote_life: Annotated[str, typer.Option(help="How long a quote holds.")] = "5m",
    claim_grace: Annotated[str, typer.Option(help="How long a hold outlives it.")] = "10m",
    deliver_within: Annotated[str, typer.Option(help="By when to deliver.")] = "1d",
    valid_for: Annotated[str, typer.Option(help="How long it is in force, from now.")] = "365d",
    partner_bears: Annotated[
        bool, typer.Option(help="Accrual: the partner pays for points that cannot be taken back.")
    ] = False,
    agreement_id: Annotated[str, typer.Option("--agreement", help="Amends this agreement.")] = "",
    version: Version = 1,
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Write a proposal into this brand's log and show it to the other brand."""
    now_us = system_clock()
    terms = AgreementTerms(
        agreement_id=agreement_id or f"agr_{secrets.token_hex(8)}",
        version=version,
        issuer=issuer,
        acceptor=acceptor,
        conversion=ratio(conversion),
        points_rounding=_rounding(points_rounding),
        price=ratio(price),
        currency=currency.upper(),
        amount_rounding=_rounding(rounding),
        fee_basis_points=fee_bp,
        fee_fixed_minor=fee_fixed,
        fee_payer=FeePayer.Value(_named(FeePayer.keys(), "FEE_PAYER", fee_payer)),
        minimum_points=minimum,
        maximum_points=maximum,
        multiple_points=multiple,
        quote_life_us=duration(quote_life),
        claim_grace_us=duration(claim_grace),
        deliver_within_us=duration(deliver_within),
        valid_from_us=now_us,
        valid_until_us=now_us + duration(valid_for),
        kinds=[
            RedemptionKind.Value(_named(RedemptionKind.keys(), "REDEMPTION_KIND", one))
            for one in kind or ["reward"]
        ],
        partner_bears_unrecoverable=partner_bears,
        salt=secrets.token_bytes(16),
    )
    async with merchant(Staff(node=node, key=key)) as client:
        found = await client.propose_agreement(id=WriteId.of(write_id), terms=terms)

    def show() -> None:
        show_terms(found, state="proposed")
        output.remark(
            f"The other brand accepts it with: comity merchant agreement accept "
            f"{found.agreement_id} --version {found.version}"
        )

    output.emit(found, as_json, show)


@command(
    agreement, "accept", example="comity merchant agreement accept agr_0011223344556677 --version 1"
)
async def accept(
    agreement_id: AgreementId,
    version: Version = 1,
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
) -> None:
    """Accept what the other brand proposed; clearing then puts it in force."""
    async with merchant(Staff(node=node, key=key)) as client:
        await client.accept_agreement(
            id=WriteId.of(write_id), agreement_id=agreement_id, version=version
        )
    output.say(f"{agreement_id} version {version} is accepted.")


@command(
    agreement,
    "terminate",
    example="comity merchant agreement terminate agr_0011223344556677 --version 1",
)
async def terminate(
    agreement_id: AgreementId,
    version: Version = 1,
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
) -> None:
    """End an agreement. What was committed under it stays committed."""
    async with merchant(Staff(node=node, key=key)) as client:
        await client.terminate_agreement(
            id=WriteId.of(write_id), agreement_id=agreement_id, version=version
        )
    output.say(f"{agreement_id} version {version} is being ended.")


@command(
    agreement,
    "list",
    example="comity merchant agreement list\ncomity merchant agreement list --json",
)
async def list_agreements(node: Node = HERE, key: Key = None, as_json: Json = False) -> None:
    """List this brand's agreements, proposals and offers."""
    async with merchant(Staff(node=node, key=key)) as client:
        found = await client.list_agreements()
    rows = [(*terms_row(one.terms), one.state.lower()) for one in found]
    output.emit(list(found), as_json, lambda: output.table((*TERMS_COLUMNS, "state"), rows))


TERMS_COLUMNS: Final = ("agreement", "issuer → acceptor", "rate", "price", "fee", "until")


def terms_row(terms: AgreementTerms) -> tuple[str, ...]:
    """An agreement in one line."""
    return (
        f"{terms.agreement_id} v{terms.version}",
        f"{terms.issuer} → {terms.acceptor}",
        f"{terms.conversion.numerator}:{terms.conversion.denominator}",
        f"{terms.price.numerator}/{terms.price.denominator} minor {terms.currency}",
        f"{output.percent(terms.fee_basis_points)} + {terms.fee_fixed_minor}",
        output.when(terms.valid_until_us)[:10],
    )


def show_terms(terms: AgreementTerms, *, state: str) -> None:
    output.facts((*zip(TERMS_COLUMNS, terms_row(terms), strict=True), ("state", state)))


def ratio(text: str) -> Ratio:
    """The ratio in `2/1`, `2:1` or `2`."""
    found = re.fullmatch(r"([0-9]+)(?:[/:]([0-9]+))?", text)
    if found is None or int(found[1]) < 1 or int(found[2] or 1) < 1:
        raise typer.BadParameter(f"{text!r} is no ratio; write it like 3/2.")
    return Ratio(numerator=int(found[1]), denominator=int(found[2] or 1))


def duration(text: str) -> int:
    """The microseconds in `30s`, `5m`, `12h` or `7d`."""
    found = re.fullmatch(r"([0-9]+)([smhd])", text)
    if found is None or int(found[1]) < 1:
        raise typer.BadParameter(f"{text!r} is no time; write it like 30s, 5m, 12h or 7d.")
    return int(found[1]) * UNITS[found[2]]


def _rounding(text: str) -> Rounding.ValueType:
    return Rounding.Value(_named(Rounding.keys(), "ROUNDING", text))


def _named(names: Iterable[str], prefix: str, text: str) -> str:
    wanted = f"{prefix}_{text.upper().replace('-', '_')}"
    words = [name.removeprefix(f"{prefix}_").lower() for name in list(names)[1:]]
    if wanted not in names or text.lower() == "unspecified":
        raise typer.BadParameter(f"{text!r} is none of {', '.join(words)}.")
    return wanted
