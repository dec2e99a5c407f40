"""Settlement tables: nets that sum to zero are paid exactly, and no other table passes."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearing.netting import Net, settle
from comity.errors import Malformed
from comity.terms.settlement import check_settlement, digest, net_of
from comity.v1.common_pb2 import Citation, Money
from comity.v1.entry_pb2 import SettlementTable

CLOSED = Citation(origin="comity.example/clearing", index=3, leaf_hash=bytes(32))


def table(*nets: Net) -> SettlementTable:
    return settle(network="comity.example", window=1, closed=CLOSED, nets=nets)


def net(participant: str, minor: int, *, currency: str = "EUR") -> Net:
    return Net(participant=participant, currency=currency, minor=minor, first_seq=1, last_seq=2)


def example() -> SettlementTable:
    operator = Net(participant="operator", currency="EUR", minor=3)
    return table(net("grocery", -50), net("fuel", 77), net("hotel", -30), operator)


transfers = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from("abcdef"),
        st.sampled_from(["EUR", "USD"]),
        st.integers(1, 10**12),
    ),
    max_size=30,
)


@given(transfers)
def test_every_net_is_paid_with_at_most_one_payment_each(
    made: list[tuple[str, str, str, int]],
) -> None:
    sums: dict[tuple[str, str], int] = {}
    for payer, payee, currency, minor in made:
        sums[payer, currency] = sums.get((payer, currency), 0) - minor
        sums[payee, currency] = sums.get((payee, currency), 0) + minor
    found = table(*(net(name, minor, currency=code) for (name, code), minor in sums.items()))
    check_settlement(found)
    for (name, currency), minor in sums.items():
        assert net_of(found, name)[currency] == minor
        mine = [
            payment
            for payment in found.payments
            if payment.amount.currency == currency and name in (payment.payer, payment.payee)
        ]
        assert len(mine) == (1 if minor else 0)


@given(transfers, st.randoms())
def test_the_order_of_the_nets_does_not_matter(
    made: list[tuple[str, str, str, int]], shuffler: Random
) -> None:
    nets = list(
        {
            (name, currency): net(name, 0, currency=currency)
            for payer, payee, currency, _ in made
            for name in (payer, payee)
        }.values()
    )
    first = digest(table(*nets))
    shuffler.shuffle(nets)
    assert digest(table(*nets)) == first


def test_nets_that_do_not_sum_to_zero_are_no_settlement() -> None:
    with pytest.raises(Malformed):
        table(net("grocery", -50), net("fuel", 49))
    with pytest.raises(Malformed):
        table(net("grocery", -50), net("fuel", 50, currency="USD"))


def tampered() -> list[SettlementTable]:
    found = []
    for place in range(6):
        one = example()
        match place:
            case 0:
                one.payments[0].amount.minor += 1
            case 1:
                del one.payments[0]
            case 2:
                one.payments.add(payer="fuel", payee="fuel", amount=Money(currency="EUR", minor=1))
            case 3:
                one.positions[0].net.minor += 1
                one.positions[1].net.minor -= 1
            case 4:
                one.positions.add().CopyFrom(one.positions[0])
            case 5:
                one.positions[0].last_seq += 1
        found.append(one)
    return found


@pytest.mark.parametrize("place", range(6))
def test_a_tampered_table_does_not_pass(place: int) -> None:
    check_settlement(example())
    with pytest.raises(Malformed):
        check_settlement(tampered()[place])


def test_a_stranger_needs_no_more_than_the_table() -> None:
    assert [(one.payer, one.payee, one.amount.minor) for one in example().payments] == [
        ("operator", "fuel", 77),
        ("grocery", "operator", 50),
        ("hotel", "operator", 30),
    ]
