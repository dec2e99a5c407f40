"""The four programmes of the year, by brand, and the version one of them is tried under instead.

    brand     archetype                      units
    grocery   points and levels (Tmall)      points (hard, 6 months), growth
    drug      points only (Gewara)           points (gold, 120 days), for coupons too
    fuel      levels only (Starbucks)        visits (growth, 6 months)
    fresh     a hard unit and a soft one     points (hard, 9 months), leaves (soft, 60 idle days)

What a point is worth, what it buys and what the brands agree is as in the main story.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from cli.demo.coalition import CAP_MINOR, COALITION, CURRENCY
from cli.demo.network import Brand
from comity.v1.common_pb2 import Money
from node.programme import Programme, read_programme
from node.programme.model import Value

ARCHETYPES: Final[Mapping[str, str]] = {
    "grocery": "points and levels",
    "drug": "points only",
    "fuel": "levels only",
    "fresh": "hard and soft units",
}
DEVALUED: Final = "grocery"
"""Whose year is lived again under the programme of another version."""


def text(name: str) -> str:
    """A programme file of this story: a brand's, or `grocery-devalued`."""
    return (files(__package__) / f"{name}.yaml").read_text("utf-8")


def programme(name: str) -> Programme:
    """The same, read."""
    return read_programme(text(name).encode()).programme


def brands() -> list[Brand]:
    """What the network is told of them."""
    return [
        Brand(
            id=member.id,
            name=member.name,
            programme=text(member.id),
            caps=(Money(currency=CURRENCY, minor=CAP_MINOR),),
        )
        for member in COALITION.values()
    ]


def worth(brand: str) -> Value:
    """What a brand's points buy in its own catalogue."""
    one = COALITION[brand].worth
    return Value(minor=one.numerator, points=one.denominator)


def minor(brand: str, points: int) -> int:
    """So many points of a brand in whole minor units."""
    return points * COALITION[brand].worth.numerator // COALITION[brand].worth.denominator
