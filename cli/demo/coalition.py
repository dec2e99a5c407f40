"""The four brands of the demonstration: programmes, catalogues, and what they agree pairwise.

    brand     earns              a point is worth   a member of another brand gets
    grocery   1 point / $0.10    0.2 cents          money off the next basket
    drug      2 points / $0.25   0.5 cents          things from the shelf
    fuel      3 points / $1.00   1 cent             washes and gallons
    fresh     1 point / $0.50    2 cents            fruit, bread, a box

Worth is what a point buys in its own brand's catalogue. Members of another brand pay a little
more than par, and the issuer pays the acceptor a little less than worth: both differ by pair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations
from typing import Final

from cli.demo.network import Brand
from comity.clock import DAY, MINUTE
from comity.v1.common_pb2 import (
    FEE_PAYER_ACCEPTOR,
    FEE_PAYER_ISSUER,
    REDEMPTION_KIND_ACCRUAL,
    REDEMPTION_KIND_EXCHANGE,
    REDEMPTION_KIND_REWARD,
    ROUNDING_HALF_UP,
    ROUNDING_UP,
    AgreementTerms,
    Money,
    Ratio,
)
from comity.v1.member_pb2 import REWARD_KIND_VOUCHER, Reward

NETWORK: Final = "journey.example"
CURRENCY: Final = "USD"
UNIT: Final = "points"
"""What each brand calls the unit that the others take."""
FEE_BASIS_POINTS: Final = 60
CAP_MINOR: Final = 500_000
PROBATION: Final = "fresh"
PROBATION_CAP_MINOR: Final = 25
"""One brand joins with a cap of 25 cents, which the operator raises once it was in the way."""

PARTNER: Final = "fuel"
PARTNER_ISSUER: Final = "grocery"
"""Some who buy at the partner earn points of the issuer, and the partner pays for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One brand of the coalition. `worth` is minor units per point, `ladder` its rewards by
    price in minor units."""

    id: str
    name: str
    earn: tuple[int, int]
    worth: Fraction
    return_window_days: int
    expiry: str
    ladder: tuple[tuple[str, str, int], ...]

    def programme(self) -> str:
        """The programme file."""
        points, per_minor = self.earn
        return (
            f"version: '1'\n"
            f"name: {self.name} Points\n"
            f"zone: America/New_York\n"
            f"currency: {CURRENCY}\n"
            f"units: {{points: {{kind: hard, expiry: {{{self.expiry}}}}}}}\n"
            f"earn:\n"
            f"  purchase: {{on: purchase, rate: {{points: {points}, per_minor: {per_minor}}}}}\n"
            f"return_window_days: {self.return_window_days}\n"
            f"# The history of a whole year is imported.\n"
            f"backdate_days: 400\n"
        )

    def price(self, minor: int) -> int:
        """What costs so much in the store, in points of this brand."""
        return -(-minor * self.worth.denominator // self.worth.numerator)

    def rewards(self) -> tuple[Reward, ...]:
        """The catalogue, cheapest first."""
        return tuple(
            Reward(
                reward_id=reward_id,
                title=title,
                kind=REWARD_KIND_VOUCHER,
                price_points=self.price(minor),
                retail=Money(currency=CURRENCY, minor=minor),
                stock=-1,
                active=True,
            )
            for reward_id, title, minor in self.ladder
        )

    def brand(self) -> Brand:
        """What the network is told of it."""
        cap = PROBATION_CAP_MINOR if self.id == PROBATION else CAP_MINOR
        return Brand(
            id=self.id,
            name=self.name,
            programme=self.programme(),
            caps=(Money(currency=CURRENCY, minor=cap),),
        )


COALITION: Final[Mapping[str, Member]] = {
    one.id: one
    for one in (
        Member(
            id="grocery",
            name="Harvest Grocery",
            earn=(1, 10),
            worth=Fraction(1, 5),
            return_window_days=2,
            expiry="months: 18",
            ladder=(
                ("half-dollar-off", "50¢ off the next basket", 50),
                ("dollar-off", "$1 off the next basket", 100),
                ("coffee", "A pack of coffee", 250),
                ("five-off", "$5 off the next basket", 500),
            ),
        ),
        Member(
            id="drug",
            name="Corner Drug",
            earn=(2, 25),
            worth=Fraction(1, 2),
            return_window_days=8,
            expiry="days: 540",
            ladder=(
                ("tissues", "Pocket tissues", 60),
                ("toothpaste", "Toothpaste", 180),
                ("sunscreen", "Sunscreen", 450),
            ),
        ),
        Member(
            id="fuel",
            name="Milestone Fuel",
            earn=(3, 100),
            worth=Fraction(1),
            return_window_days=0,
            expiry="calendar_years: 1",
            ladder=(
                ("air", "Air and water", 75),
                ("gallon", "A gallon of regular", 250),
                ("car-wash", "A car wash", 700),
            ),
        ),
        Member(
            id="fresh",
            name="Greenmarket Fresh",
            earn=(1, 50),
            worth=Fraction(2),
            return_window_days=1,
            expiry="months: 24",
            ladder=(
                ("apple", "An apple", 60),
                ("bread", "A loaf of bread", 240),
                ("vegetable-box", "A box of vegetables", 900),
            ),
        ),
    )
}

TERMS: Final[Mapping[tuple[str, str], tuple[int, int]]] = {
    ("grocery", "drug"): (102, 94),
    ("grocery", "fuel"): (104, 92),
    ("grocery", "fresh"): (100, 96),
    ("drug", "grocery"): (101, 95),
    ("drug", "fuel"): (106, 91),
    ("drug", "fresh"): (103, 93),
    ("fuel", "grocery"): (105, 90),
    ("fuel", "drug"): (107, 89),
    ("fuel", "fresh"): (104, 92),
    ("fresh", "grocery"): (102, 97),
    ("fresh", "drug"): (103, 95),
    ("fresh", "fuel"): (105, 93),
}
"""By issuer and acceptor: what a member pays in percent of par, and what the issuer pays the
acceptor in percent of what the points are worth."""


def agreements(now_us: int) -> tuple[AgreementTerms, ...]:
    """What each ordered pair of brands agrees, in force from `now_us` for a year."""
    return tuple(
        _terms(issuer, acceptor, now_us) for issuer, acceptor in permutations(COALITION, 2)
    )


def _terms(issuer: str, acceptor: str, now_us: int) -> AgreementTerms:
    member_pays, issuer_pays = TERMS[issuer, acceptor]
    worth = COALITION[issuer].worth
    conversion = COALITION[acceptor].worth / worth * Fraction(member_pays, 100)
    price = worth * Fraction(issuer_pays, 100)
    kinds = [REDEMPTION_KIND_REWARD, REDEMPTION_KIND_EXCHANGE]
    if (issuer, acceptor) == (PARTNER_ISSUER, PARTNER):
        kinds.append(REDEMPTION_KIND_ACCRUAL)
    agreement_id = f"agr_{issuer}_{acceptor}"
    return AgreementTerms(
        agreement_id=agreement_id,
        version=1,
        issuer=issuer,
        acceptor=acceptor,
        conversion=_ratio(conversion),
        points_rounding=ROUNDING_UP,
        price=_ratio(price),
        currency=CURRENCY,
        amount_rounding=ROUNDING_HALF_UP,
        fee_basis_points=FEE_BASIS_POINTS,
        fee_payer=FEE_PAYER_ISSUER if issuer == "grocery" else FEE_PAYER_ACCEPTOR,
        minimum_points=1,
        maximum_points=COALITION[issuer].price(5_000),
        quote_life_us=5 * MINUTE,
        claim_grace_us=10 * MINUTE,
        deliver_within_us=DAY,
        valid_from_us=now_us,
        valid_until_us=now_us + 365 * DAY,
        kinds=kinds,
        salt=hashlib.sha256(f"{agreement_id} {now_us}".encode()).digest()[:16],
    )


def _ratio(value: Fraction) -> Ratio:
    return Ratio(numerator=value.numerator, denominator=value.denominator)
