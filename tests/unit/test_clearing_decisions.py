"""Every verdict clearing can give, from plain data: one rule broken at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearing.decisions import (
    Aborted,
    Agreement,
    Committed,
    Facts,
    Party,
    check_hold,
    check_pledge,
    decide_abort,
    decide_hold,
    decide_pledge,
    decide_reversal,
    refuse_reversal_of,
)
from comity.clock import DAY, HOUR, MINUTE
from comity.errors import Forbidden, Malformed, NotReversible, NotYet
from comity.ledger.entries import canonical
from comity.terms import agreements, positions, quotes
from comity.v1 import common_pb2, entry_pb2

NETWORK = "comity.example"
NOW = 1_700_000_000_000_000
SKEW = 5_000_000
REWARD = common_pb2.REDEMPTION_KIND_REWARD
ACCRUAL = common_pb2.REDEMPTION_KIND_ACCRUAL
ACTIVE = entry_pb2.PARTICIPANT_STATUS_ACTIVE
SUSPENDED = entry_pb2.PARTICIPANT_STATUS_SUSPENDED
FROZEN = entry_pb2.PARTICIPANT_STATUS_FROZEN
RDM = "rdm_" + "0" * 32


def terms(**changed: Any) -> common_pb2.AgreementTerms:
    plain: dict[str, Any] = {
        "agreement_id": "agr_1",
        "version": 1,
        "issuer": "grocery",
        "acceptor": "fuel",
        "conversion": common_pb2.Ratio(numerator=2, denominator=1),
        "points_rounding": common_pb2.ROUNDING_UP,
        "price": common_pb2.Ratio(numerator=1, denominator=2),
        "currency": "EUR",
        "amount_rounding": common_pb2.ROUNDING_HALF_UP,
        "fee_basis_points": 100,
        "fee_payer": common_pb2.FEE_PAYER_ISSUER,
        "minimum_points": 10,
        "maximum_points": 10_000,
        "multiple_points": 2,
        "quote_life_us": 5 * MINUTE,
        "claim_grace_us": 10 * MINUTE,
        "deliver_within_us": HOUR,
        "valid_from_us": NOW - DAY,
        "valid_until_us": NOW + DAY,
        "kinds": [REWARD, ACCRUAL],
        "salt": bytes(16),
    }
    return common_pb2.AgreementTerms(**(plain | changed))


def party(name: str, **changed: Any) -> Party:
    plain: dict[str, Any] = {
        "participant": name,
        "status": ACTIVE,
        "existed": False,
        "position": 0,
        "cap": 1_000,
    }
    return Party(**(plain | changed))


@dataclass(slots=True)
class Case:
    """An honest claim and its surroundings; a test breaks one thing."""

    agreed: common_pb2.AgreementTerms = field(default_factory=terms)
    now_us: int = NOW
    ends_us: int = NOW + DAY
    known: bool = True
    issuer: Party = field(default_factory=lambda: party("grocery"))
    acceptor: Party = field(default_factory=lambda: party("fuel"))
    quote_spent: bool = False
    mandate_spent: bool = False
    quote: entry_pb2.Quote = field(init=False)
    hold: entry_pb2.Hold = field(init=False)

    def __post_init__(self) -> None:
        amount = common_pb2.Money(currency="EUR", minor=100)
        self.quote = entry_pb2.Quote(
            network=NETWORK,
            issuer="grocery",
            acceptor="fuel",
            redemption_id=RDM,
            kind=REWARD,
            agreement_id="agr_1",
            agreement_version=1,
            acceptor_points=100,
            points=200,
            amount=amount,
            reward=bytes(32),
            issued_at_us=NOW,
            expires_at_us=NOW + 5 * MINUTE,
        )
        self.hold = entry_pb2.Hold(
            network=NETWORK,
            acceptor="fuel",
            redemption_id=RDM,
            kind=REWARD,
            agreement_id="agr_1",
            agreement_version=1,
            mandate_digest=hashlib.sha256(b"mandate").digest(),
            points=200,
            amount=amount,
            expires_at_us=NOW + 15 * MINUTE,
        )

    def facts(self) -> Facts:
        agreement = Agreement(terms=self.agreed, ends_us=self.ends_us) if self.known else None
        return Facts(
            network=NETWORK,
            now_us=self.now_us,
            skew_us=SKEW,
            agreement=agreement,
            issuer=self.issuer,
            acceptor=self.acceptor,
            quote_spent=self.quote_spent,
            mandate_spent=self.mandate_spent,
        )

    def decide(self) -> Committed | Aborted:
        self.hold.quote_digest = quotes.digest(canonical(self.quote))
        return decide_hold(self.hold, canonical(self.quote), self.facts())


def test_an_honest_claim_commits_the_agreements_figures() -> None:
    # 200 points at half a cent: 100; 1 % of it: 1, which the issuer pays.
    verdict = Case().decide()
    assert isinstance(verdict, Committed)
    assert verdict.points == 200
    assert verdict.amounts.amount.minor == 100
    assert verdict.amounts.fee.minor == 1
    assert verdict.deliver_by_us == NOW + HOUR


def quoted(name: str, value: Any) -> Callable[[Case], None]:
    return lambda case: setattr(case.quote, name, value)


def held(name: str, value: Any) -> Callable[[Case], None]:
    return lambda case: setattr(case.hold, name, value)


def both(name: str, value: Any) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        setattr(case.quote, name, value)
        setattr(case.hold, name, value)

    return change


def case(name: str, value: Any) -> Callable[[Case], None]:
    return lambda case: setattr(case, name, value)


def issuer(**changed: Any) -> Callable[[Case], None]:
    return lambda case: setattr(case, "issuer", replace(case.issuer, **changed))


def acceptor(**changed: Any) -> Callable[[Case], None]:
    return lambda case: setattr(case, "acceptor", replace(case.acceptor, **changed))


def money(minor: int, currency: str = "EUR") -> Callable[[Case], None]:
    def change(case: Case) -> None:
        for message in (case.quote, case.hold):
            message.amount.minor = minor
            message.amount.currency = currency

    return change


def points(acceptor_points: int, amount: int) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        case.quote.acceptor_points = acceptor_points
        case.quote.points = case.hold.points = 2 * acceptor_points
        money(amount)(case)

    return change


ABORTS: list[tuple[str, Callable[[Case], None], str]] = [
    ("the quote of another issuer", quoted("issuer", "hotel"), "MALFORMED"),
    ("the quote of another acceptor", quoted("acceptor", "hotel"), "MALFORMED"),
    ("the quote of another network", quoted("network", "other.example"), "MALFORMED"),
    ("another redemption", quoted("redemption_id", "rdm_" + "1" * 32), "MALFORMED"),
    ("another kind", held("kind", ACCRUAL), "MALFORMED"),
    ("other points", held("points", 201), "MALFORMED"),
    ("false points on both", both("points", 198), "MALFORMED"),
    ("a false amount on both", money(101), "MALFORMED"),
    ("another currency on both", money(100, "USD"), "MALFORMED"),
    ("an unknown agreement", case("known", False), "AGREEMENT_INACTIVE"),
    ("an agreement of others", case("agreed", terms(issuer="hotel")), "AGREEMENT_INACTIVE"),
    ("an agreement not begun", quoted("issued_at_us", NOW - 2 * DAY), "AGREEMENT_INACTIVE"),
    ("an ended agreement", case("ends_us", NOW), "AGREEMENT_INACTIVE"),
    ("a kind not covered", case("agreed", terms(kinds=[ACCRUAL])), "AGREEMENT_INACTIVE"),
    ("too few points", points(4, 4), "LIMIT_EXCEEDED"),
    ("too many points", points(5_001, 5_001), "LIMIT_EXCEEDED"),
    ("not a multiple", case("agreed", terms(multiple_points=300)), "LIMIT_EXCEEDED"),
    ("a quote from the future", quoted("issued_at_us", NOW + SKEW + 1), "MALFORMED"),
    ("a quote that lives too long", quoted("expires_at_us", NOW + 5 * MINUTE + 1), "MALFORMED"),
    ("an expired quote", case("now_us", NOW + 5 * MINUTE), "QUOTE_EXPIRED"),
    ("a hold too short", held("expires_at_us", NOW + 15 * MINUTE - 1), "HOLD_EXPIRED"),
    ("a frozen issuer", issuer(status=FROZEN, existed=True), "SUSPENDED"),
    ("a frozen acceptor", acceptor(status=FROZEN, existed=True), "SUSPENDED"),
    ("a suspended issuer", issuer(status=SUSPENDED), "SUSPENDED"),
    ("a suspended acceptor", acceptor(status=SUSPENDED), "SUSPENDED"),
    ("a spent quote", case("quote_spent", True), "ALREADY_USED"),
    ("a spent mandate", case("mandate_spent", True), "ALREADY_USED"),
    ("the cap, by one for the fee", issuer(cap=100), "CAP_EXCEEDED"),
    ("the cap, from an old debt", issuer(position=-900), "CAP_EXCEEDED"),
]


@pytest.mark.parametrize(
    ("break_it", "reason"), [row[1:] for row in ABORTS], ids=[row[0] for row in ABORTS]
)
def test_one_broken_rule_aborts_with_its_reason(
    break_it: Callable[[Case], None], reason: str
) -> None:
    found = Case()
    break_it(found)
    assert found.decide() == Aborted(reason=reason)


STILL_GOOD: list[tuple[str, Callable[[Case], None]]] = [
    ("a quote as far ahead as clocks may differ", quoted("issued_at_us", NOW + SKEW)),
    ("the last moment of a quote", case("now_us", NOW + 5 * MINUTE - 1)),
    ("the last moment of an agreement", case("ends_us", NOW + 1)),
    ("a hold older than the suspension", issuer(status=SUSPENDED, existed=True)),
    ("exactly the cap", issuer(cap=101)),
    ("an acceptor far above zero", acceptor(position=10**15)),
    ("an acceptor already beyond its own cap", acceptor(position=-5_000)),
]


@pytest.mark.parametrize(
    "leave_it", [row[1] for row in STILL_GOOD], ids=[row[0] for row in STILL_GOOD]
)
def test_what_just_keeps_the_rules_is_committed(leave_it: Callable[[Case], None]) -> None:
    found = Case()
    leave_it(found)
    assert isinstance(found.decide(), Committed)


def test_a_fee_the_acceptor_pays_counts_against_the_acceptors_cap() -> None:
    found = Case(
        agreed=terms(fee_payer=common_pb2.FEE_PAYER_ACCEPTOR, fee_fixed_minor=150),
        acceptor=party("fuel", cap=50),
    )
    # It gets 100 and pays 1 % and 150: 51 below zero.
    assert found.decide() == Aborted(reason="CAP_EXCEEDED")


# --- INVALID --------------------------------------------------------------------------------


def check(found: Case, *, caller: str = "fuel", of: str = "grocery") -> None:
    check_hold(found.hold, canonical(found.quote), network=NETWORK, issuer=of, caller=caller)


def test_a_claim_by_another_than_the_holds_acceptor_is_invalid() -> None:
    found = Case()
    found.decide()
    check(found)
    with pytest.raises(Forbidden):
        check(found, caller="hotel")


@pytest.mark.parametrize(
    "break_it",
    [
        held("network", "other.example"),
        held("kind", ACCRUAL),
        held("quote_digest", bytes(32)),
        held("acceptor", "grocery"),
    ],
)
def test_a_hold_which_is_none_for_this_claim_is_invalid(
    break_it: Callable[[Case], None],
) -> None:
    found = Case()
    found.decide()
    break_it(found)
    with pytest.raises((Malformed, Forbidden)):
        check(found, caller=found.hold.acceptor)


# --- pledges --------------------------------------------------------------------------------


def pledge(**changed: Any) -> entry_pb2.Pledge:
    plain: dict[str, Any] = {
        "network": NETWORK,
        "issuer": "grocery",
        "redemption_id": RDM,
        "agreement_id": "agr_1",
        "agreement_version": 1,
        "points": 200,
        "amount": common_pb2.Money(currency="EUR", minor=100),
        "destination": bytes(32),
        "event": bytes(32),
        "expires_at_us": NOW + HOUR,
    }
    return entry_pb2.Pledge(**(plain | changed))


def test_a_pledge_makes_the_partner_owe() -> None:
    facts = Case(agreed=terms(fee_payer=common_pb2.FEE_PAYER_ACCEPTOR)).facts()
    verdict = decide_pledge(pledge(), at_us=NOW, facts=facts)
    assert isinstance(verdict, Committed)
    change = positions.effects(issuer="grocery", acceptor="fuel", amounts=verdict.amounts)
    assert change == {"grocery": 100, "fuel": -101, "operator": 1, "drift": 0}


@pytest.mark.parametrize(
    ("changed", "at_us", "found", "reason"),
    [
        ({"amount": common_pb2.Money(currency="EUR", minor=99)}, NOW, Case(), "MALFORMED"),
        ({"amount": common_pb2.Money(currency="EUR", minor=-100)}, NOW, Case(), "MALFORMED"),
        ({"points": 201}, NOW, Case(), "LIMIT_EXCEEDED"),
        ({"expires_at_us": NOW}, NOW, Case(), "QUOTE_EXPIRED"),
        ({"expires_at_us": NOW + HOUR + 1}, NOW, Case(), "MALFORMED"),
        ({}, NOW - DAY - 1, Case(), "AGREEMENT_INACTIVE"),
        ({"expires_at_us": NOW + 1}, NOW - 2 * HOUR, Case(), "MALFORMED"),
        ({}, NOW + SKEW + 1, Case(), "MALFORMED"),
        ({}, NOW, Case(known=False), "AGREEMENT_INACTIVE"),
        ({}, NOW, Case(agreed=terms(kinds=[REWARD])), "AGREEMENT_INACTIVE"),
        ({}, NOW, Case(acceptor=party("fuel", cap=99)), "CAP_EXCEEDED"),
        ({}, NOW, Case(acceptor=party("fuel", status=SUSPENDED)), "SUSPENDED"),
        ({}, NOW, Case(issuer=party("grocery", status=FROZEN)), "SUSPENDED"),
    ],
)
def test_a_pledge_that_breaks_a_rule_is_aborted(
    changed: dict[str, Any], at_us: int, found: Case, reason: str
) -> None:
    verdict = decide_pledge(pledge(**changed), at_us=at_us, facts=found.facts())
    assert verdict == Aborted(reason=reason)


def test_a_pledge_of_another_network_or_to_oneself_is_invalid() -> None:
    check_pledge(pledge(), network=NETWORK, caller="fuel")
    with pytest.raises(Malformed):
        check_pledge(pledge(network="other.example"), network=NETWORK, caller="fuel")
    with pytest.raises(Malformed):
        check_pledge(pledge(), network=NETWORK, caller="grocery")


# --- aborts ---------------------------------------------------------------------------------


def abort(caller: str, *, hold: entry_pb2.Hold | None = None, now_us: int = NOW) -> Aborted:
    return decide_abort(
        caller=caller,
        issuer="grocery",
        acceptor="fuel",
        redemption_id=RDM,
        hold=hold,
        now_us=now_us,
    )


def test_who_may_abort_and_when() -> None:
    hold = Case().hold
    assert abort("fuel") == abort("fuel", hold=hold) == Aborted(reason="REFUSED")
    assert abort("grocery", hold=hold, now_us=hold.expires_at_us) == Aborted(reason="HOLD_EXPIRED")
    with pytest.raises(NotYet):
        abort("grocery", hold=hold, now_us=hold.expires_at_us - 1)
    with pytest.raises(Forbidden):
        abort("grocery", now_us=NOW + DAY)
    with pytest.raises(Forbidden):
        abort("hotel", hold=hold, now_us=NOW + DAY)
    hold.redemption_id = "rdm_" + "1" * 32
    with pytest.raises(Malformed):
        abort("grocery", hold=hold, now_us=NOW + DAY)


# --- reversals ------------------------------------------------------------------------------


@given(
    total=st.integers(1, 10_000),
    cuts=st.lists(st.integers(1, 9_999), max_size=6),
    price=st.tuples(st.integers(1, 999), st.integers(1, 999)),
    basis=st.integers(0, 10_000),
    fixed=st.integers(0, 500),
    rounding=st.sampled_from([1, 2, 3, 4]),
    kind=st.sampled_from([REWARD, ACCRUAL]),
)
def test_reversed_in_any_parts_is_as_if_never_redeemed(
    total: int,
    cuts: list[int],
    price: tuple[int, int],
    basis: int,
    fixed: int,
    rounding: int,
    kind: common_pb2.RedemptionKind.ValueType,
) -> None:
    agreed = terms(
        price=common_pb2.Ratio(numerator=price[0], denominator=price[1]),
        fee_basis_points=basis,
        fee_fixed_minor=fixed,
        amount_rounding=rounding,
    )
    if 2 * total * price[0] < 2 * price[1]:
        return
    running: dict[str, int] = {}
    moved = agreements.amounts(agreed, total, kind)
    running = positions.fold(
        running, positions.effects(issuer="grocery", acceptor="fuel", amounts=moved)
    )
    before = 0
    for cumulative in sorted({cut for cut in cuts if cut < total} | {total}):
        reversed_ = decide_reversal(
            agreed,
            kind=kind,
            committed=total,
            before=before,
            cumulative=cumulative,
            reason="RETURNED",
        )
        assert reversed_.points == cumulative - before
        running = positions.fold(
            running,
            positions.effects(issuer="grocery", acceptor="fuel", amounts=reversed_.amounts),
        )
        assert sum(running.values()) == 0
        before = cumulative
    assert set(running.values()) == {0}


def test_more_than_was_committed_cannot_be_reversed() -> None:
    for before, cumulative in ((0, 201), (100, 100), (100, 50)):
        with pytest.raises(NotReversible):
            decide_reversal(
                terms(),
                kind=REWARD,
                committed=200,
                before=before,
                cumulative=cumulative,
                reason="RETURNED",
            )
    with pytest.raises(NotReversible):
        refuse_reversal_of(entry_pb2.OUTCOME_ABORTED)
    refuse_reversal_of(entry_pb2.OUTCOME_COMMITTED)
