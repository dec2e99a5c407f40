"""The year of four programmes: its charts, its plan, and what a returned basket may not break."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from xml.etree import ElementTree

import pytest

from cli.demo import plan
from cli.demo.coalition import COALITION
from cli.demo.journey import ZONE, CouponUse, Journey, Purchase
from cli.demo.year.charts import Chart, svg
from cli.demo.year.programmes import ARCHETYPES, DEVALUED, brands, programme
from cli.demo.year.story import without_partners
from node.programme.diff import diff
from node.programme.model import UnitKind

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("shape", ["bars", "lines"])
@pytest.mark.parametrize(
    "series",
    [
        {"up": [1, 2, 3], "down": [-1, -2, 0]},
        {"nothing": [0, 0, 0]},
        {"large": [10**9, 5, 0], "small": [0.01, 0.5, 0]},
        {"below": [-3, -2, -1]},
    ],
)
def test_a_chart_parses_and_stays_within_its_frame(
    shape: str, series: dict[str, list[float]]
) -> None:
    chart = Chart(
        title="Points <by> month & more",
        unit="points",
        places=["a", "b", "<c>"],
        series=series,
        shape="lines" if shape == "lines" else "bars",
    )
    drawn = ElementTree.fromstring(svg(chart))
    words = [one.text for one in drawn.iter(f"{SVG}text")]
    assert chart.title in words
    assert "points" in words
    assert set(series) <= set(words)
    for one in drawn.iter(f"{SVG}rect"):
        top, height = float(one.get("y", "0")), float(one.get("height", "0"))
        assert top >= 0
        assert height >= 0
        assert top + height <= 420


def test_a_bar_is_drawn_for_every_value_but_zero() -> None:
    chart = Chart(title="t", unit="u", places=["a", "b"], series={"x": [1, 0], "y": [-2, 3]})
    drawn = ElementTree.fromstring(svg(chart))
    told = [one.text for one in drawn.iter(f"{SVG}title")]
    assert told == ["t", "a, x: 1", "a, y: -2", "b, y: 3"]


def test_a_chart_of_nothing_is_still_a_chart() -> None:
    ElementTree.fromstring(svg(Chart(title="t", unit="u", places=[], series={"x": []})))


def test_the_four_programmes_are_of_four_kinds() -> None:
    kinds = {
        brand: {str(unit.kind) for unit in programme(brand).units.values()} for brand in COALITION
    }
    assert kinds == {
        "grocery": {"hard", "growth"},
        "drug": {"gold"},
        "fuel": {"growth"},
        "fresh": {"hard", "soft"},
    }
    assert set(ARCHETYPES) == set(COALITION) == {one.id for one in brands()}
    assert [name for name in COALITION if programme(name).tiers is not None] == ["grocery", "fuel"]
    assert programme("fuel").main_unit == ""
    assert all(
        programme(name).units["points"].kind is not UnitKind.SOFT
        for name in ("grocery", "drug", "fresh")
    )


def test_the_other_version_takes_something_away_and_gives_something() -> None:
    changes = diff(programme(DEVALUED), programme(f"{DEVALUED}-devalued"))
    assert {"worse", "better"} <= {one.kind for one in changes}


def test_every_basket_is_earned_at_its_own_brand() -> None:
    start = datetime(2026, 9, 1, 9, 0, tzinfo=ZONE)
    purchases = tuple(
        Purchase(
            list(COALITION)[number % 4], number % 3, number, start + timedelta(hours=number), 9
        )
        for number in range(400)
    )
    uses = tuple(CouponUse("drug", 1, date(2026, 9, 1)) for _ in range(40))
    made = plan.make(Journey(households=(0, 1, 2), purchases=purchases, coupon_uses=uses))
    assert any(day.partner_purchases for day in made.days)
    year = without_partners(made)
    assert not any(day.partner_purchases for day in year.days)
    found = [one for day in year.days for some in day.purchases.values() for one in some]
    assert sorted(found, key=lambda one: one.basket) == list(purchases)
    assert all(
        one.brand == brand
        for day in year.days
        for brand in day.purchases
        for one in day.purchases[brand]
    )
    assert not any(
        one.exchange for day in year.days for some in day.wishes.values() for one in some
    )
