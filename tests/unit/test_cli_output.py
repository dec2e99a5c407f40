"""What commands print: money, times and messages, for people and for scripts."""

from __future__ import annotations

import json

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from cli import output
from cli.agreements import duration, ratio
from comity.clock import DAY, MINUTE
from comity.v1.common_pb2 import Money
from comity.v1.member_pb2 import (
    REDEMPTION_STATE_PARTLY_REVERSED,
    Balance,
    GetBalanceResponse,
    Redemption,
)


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (1234, "USD", "12.34 USD"),
        (-5, "USD", "-0.05 USD"),
        (123456789, "EUR", "1,234,567.89 EUR"),
        (500, "JPY", "500 JPY"),
        (1500, "KWD", "1.500 KWD"),
    ],
)
def test_money_has_the_digits_of_its_currency(minor: int, currency: str, text: str) -> None:
    assert output.money(Money(currency=currency, minor=minor)) == text
    assert output.parse_money(text) == Money(currency=currency, minor=minor)


@given(st.integers(-(10**15), 10**15), st.sampled_from(["USD", "JPY", "BHD", "EUR"]))
def test_money_is_read_as_it_was_written(minor: int, currency: str) -> None:
    amount = Money(currency=currency, minor=minor)
    assert output.parse_money(output.money(amount)) == amount


@pytest.mark.parametrize("text", ["12.34USD", "USD 12.34", "12.34 usd"])
def test_money_may_be_written_in_other_ways(text: str) -> None:
    assert output.parse_money(text) == Money(currency="USD", minor=1234)


@pytest.mark.parametrize(
    "text", ["", "12.34", "USD", "12.345 USD", "1.5 JPY", "a USD", "1 US", "٣ USD"]
)
def test_what_is_no_money_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"12\.34 USD"):
        output.parse_money(text)


def test_json_has_numbers_words_and_lists(capsys: pytest.CaptureFixture[str]) -> None:
    found = Redemption(redemption_id="rdm_1", state=REDEMPTION_STATE_PARTLY_REVERSED, points=2**60)
    output.print_json(found)
    shown = json.loads(capsys.readouterr().out)
    assert shown["points"] == 2**60
    assert shown["state"] == "partly_reversed"
    assert shown["vouchers"] == []
    assert "failure" not in shown


def test_json_shows_what_is_zero() -> None:
    answer = GetBalanceResponse(account="acc_1", balances=[Balance(unit="grocery/points")])
    assert output.plain(answer)["balances"][0]["available"] == 0


def test_a_duration_and_a_ratio_are_read() -> None:
    assert duration("5m") == 5 * MINUTE
    assert duration("7d") == 7 * DAY
    assert (ratio("3/2").numerator, ratio("3/2").denominator) == (3, 2)
    assert ratio("2").denominator == 1


@pytest.mark.parametrize("text", ["", "5", "0m", "1/0", "-1"])
def test_what_is_no_duration_or_ratio_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        duration(text)
    if text != "5":
        with pytest.raises(typer.BadParameter):
            ratio(text)
