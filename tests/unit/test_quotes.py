"""Quotes: a false figure or a late time is named by whoever recomputes it."""

from __future__ import annotations

from typing import Any

import pytest

from comity.errors import AgreementInactive, BadStatement, LimitExceeded, Malformed, QuoteExpired
from comity.ledger.entries import canonical
from comity.terms import quotes
from comity.v1 import common_pb2, entry_pb2
from comity.v1.common_pb2 import Money
from tests.unit.replay_log import NETWORK, REWARD, digest, rdm, terms

NOW = 1_000_000


def quote(**changed: Any) -> entry_pb2.Quote:
    plain: dict[str, Any] = {
        "network": NETWORK,
        "issuer": "grocery",
        "acceptor": "fuel",
        "redemption_id": rdm("first"),
        "kind": REWARD,
        "agreement_id": "agr_grocery-fuel",
        "agreement_version": 1,
        "acceptor_points": 50,
        "points": 100,
        "amount": Money(currency="EUR", minor=50),
        "reward": digest("reward"),
        "issued_at_us": NOW,
        "expires_at_us": NOW + 300_000_000,
    }
    return entry_pb2.Quote(**(plain | changed))


def test_an_honest_quote_recomputes() -> None:
    quotes.check_figures(quote(), terms(), network=NETWORK)
    data = canonical(quote())
    assert quotes.read(data) == quote()
    assert quotes.digest(data) != quotes.digest(canonical(quote(points=101)))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"network": "other.example"}, "network"),
        ({"issuer": "cinema"}, "issuer"),
        ({"acceptor": "cinema"}, "acceptor"),
        ({"agreement_id": "agr_x"}, "agreement_id"),
        ({"agreement_version": 2}, "agreement_version"),
        ({"points": 99}, "points"),
        ({"amount": Money(currency="EUR", minor=51)}, "amount"),
        ({"amount": Money(currency="USD", minor=50)}, "amount"),
    ],
)
def test_a_false_figure_is_named(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(Malformed) as caught:
        quotes.check_figures(quote(**changed), terms(), network=NETWORK)
    assert caught.value.field == field


def test_an_agreement_that_does_not_cover_it_refuses() -> None:
    for changed in (
        {"kind": common_pb2.REDEMPTION_KIND_ACCRUAL},
        {"issued_at_us": 999},
        {"issued_at_us": 10**15},
    ):
        with pytest.raises(AgreementInactive):
            quotes.check_figures(quote(**changed), terms(), network=NETWORK)
    small = quote(acceptor_points=4, points=8, amount=Money(currency="EUR", minor=4))
    with pytest.raises(LimitExceeded):
        quotes.check_figures(small, terms(), network=NETWORK)
    with pytest.raises(AgreementInactive):
        quotes.terms_of(quote(), None)
    assert quotes.terms_of(quote(), terms()) == terms()


def test_time_is_judged_to_the_microsecond() -> None:
    last = NOW + 300_000_000 - 1
    for now_us in (NOW - 5, NOW, last):
        quotes.check_time(quote(), terms(), now_us=now_us, skew_us=5)
    with pytest.raises(QuoteExpired):
        quotes.check_time(quote(), terms(), now_us=last + 1, skew_us=5)
    with pytest.raises(Malformed) as future:
        quotes.check_time(quote(), terms(), now_us=NOW - 6, skew_us=5)
    assert future.value.field == "issued_at_us"
    long = quote(expires_at_us=NOW + 300_000_001)
    with pytest.raises(Malformed) as far:
        quotes.check_time(long, terms(), now_us=NOW, skew_us=5)
    assert far.value.field == "expires_at_us"


@pytest.mark.parametrize("added", [b"\x08\x01", b"\xf8\x07\x01", b"\xff"])
def test_a_quote_has_one_encoding(added: bytes) -> None:
    with pytest.raises(BadStatement):
        quotes.read(canonical(quote()) + added)
