"""States of a redemption, quotes without storage, and what is shown of both."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import BadStatement, Forbidden, MandateRejected, NotHeard, ShorterLedger
from comity.keys import SigningKey
from comity.terms import mandates, quotes
from comity.v1 import common_pb2, entry_pb2, member_pb2
from node.decided import Decided
from node.gate import Gate
from node.holds import _between, _taken
from node.quoting import Quoting, Wish
from node.redemptions import TRANSITIONS, State, end_of, failure_of, following
from node.returns import _share
from tests.store.clearing_world import START_US, terms

OUTCOMES = (
    entry_pb2.OUTCOME_COMMITTED,
    entry_pb2.OUTCOME_ABORTED,
    entry_pb2.OUTCOME_REVERSED,
)


def decided(outcome: entry_pb2.Outcome.ValueType, *, points: int = 100) -> Decided:
    return Decided(
        citation=common_pb2.Citation(
            origin="comity.example/clearing", index=1, leaf_hash=b"1" * 32
        ),
        decision=entry_pb2.Decision(
            outcome=outcome, redemption_id="rdm_1", issuer="a", acceptor="b"
        ),
        opening=entry_pb2.DecisionOpening(points=points),
        at_us=1,
    )


# --- the table of states --------------------------------------------------------------------


@pytest.mark.parametrize(("state", "outcome"), list(itertools.product(State, OUTCOMES)))
def test_a_redemption_changes_only_as_the_table_says(
    state: State, outcome: entry_pb2.Outcome.ValueType
) -> None:
    if (state, outcome) in TRANSITIONS:
        assert following(state, decided(outcome)) is TRANSITIONS[state, outcome]
    else:
        with pytest.raises(BadStatement):
            following(state, decided(outcome))


def test_only_a_reserved_redemption_has_more_than_one_future() -> None:
    for state in State:
        after = {TRANSITIONS[at] for at in TRANSITIONS if at[0] is state}
        assert len(after) == (3 if state is State.RESERVED else 1)


def test_nothing_is_handed_out_without_a_commit() -> None:
    for (state, outcome), after in TRANSITIONS.items():
        if after is State.DELIVERED and state is State.RESERVED:
            assert outcome == entry_pb2.OUTCOME_COMMITTED


def test_nobody_is_told_failed_without_an_abort() -> None:
    for (_, outcome), after in TRANSITIONS.items():
        if after is State.FAILED:
            assert outcome == entry_pb2.OUTCOME_ABORTED


def test_a_commit_taken_back_whole_is_not_delivered() -> None:
    first = (decided(entry_pb2.OUTCOME_COMMITTED), object())
    part = (decided(entry_pb2.OUTCOME_REVERSED, points=40), object())
    whole = (decided(entry_pb2.OUTCOME_REVERSED), object())
    assert end_of([first]) is first  # type: ignore[list-item]
    assert end_of([first, part]) is first  # type: ignore[list-item]
    assert end_of([first, whole]) is whole  # type: ignore[list-item]


def test_a_failure_names_the_issuers_refusal_before_clearings() -> None:
    aborted = decided(entry_pb2.OUTCOME_ABORTED)
    aborted.decision.reason = "ABORTED"
    assert failure_of(aborted, None).code == "ABORTED"
    assert failure_of(aborted, MandateRejected("no", field="key_id")).code == "MANDATE_REJECTED"


# --- lots of a hold -------------------------------------------------------------------------


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.data())
def test_restoring_in_parts_restores_each_lot_once(parts: list[int], data: st.DataObject) -> None:
    row = {"taken": " ".join(f"{at}.0:{points}" for at, points in enumerate(parts))}
    whole = sum(parts)
    cuts = [*sorted(data.draw(st.sets(st.integers(0, whole)))), whole]
    back: dict[str, int] = {}
    before = 0
    for cut in cuts:
        for name, points in _between(reversed(_taken(row)), before, cut):
            back[name] = back.get(name, 0) + points
        before = cut
    assert back == dict(_taken(row))


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.data())
def test_an_exchange_reversed_in_parts_takes_back_what_it_gave(
    acceptor_points: int, points: int, data: st.DataObject
) -> None:
    row = {"acceptor_points": acceptor_points, "points": points}
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, points)))), points]
    taken = [_share(row, after) - _share(row, before) for before, after in itertools.pairwise(cuts)]
    assert min(taken) >= 0
    assert sum(taken) == acceptor_points


# --- quotes ---------------------------------------------------------------------------------


def quoting(secret: bytes = b"s" * 32) -> Quoting:
    return Quoting(
        network="comity.example",
        participant="fuel",
        secret=secret,
        random=lambda count: b"r" * count,
    )


def asked(quoted: member_pb2.GetQuoteResponse, **changed: object) -> member_pb2.RedeemRequest:
    quote = quotes.read(quoted.quote)
    key = SigningKey(b"k" * 32)
    mandate = entry_pb2.Mandate(
        network=quote.network,
        issuer=quote.issuer,
        acceptor=quote.acceptor,
        kind=quote.kind,
        redemption_id=quote.redemption_id,
        quote_digest=quotes.digest(quoted.quote),
        max_points=quote.points,
        not_after_us=quote.expires_at_us,
        key_id=f"key_{key.key_id}",
    )
    request = member_pb2.RedeemRequest(
        quote=quoted.quote,
        seal=quoted.seal,
        pickup_key=quoted.pickup_key,
        mandate=mandates.sign(mandate, key),
        reward_id="coffee",
        quantity=2,
        reward_salt=quoted.reward_salt,
    )
    for name, value in changed.items():
        setattr(request, name, value)
    return request


WISH = Wish(
    issuer="grocery",
    kind=common_pb2.REDEMPTION_KIND_REWARD,
    reward_id="coffee",
    quantity=2,
    acceptor_points=200,
)


def test_a_quote_comes_back_as_what_was_quoted() -> None:
    one = quoting()
    quoted = one.quote(WISH, terms(), now_us=START_US)
    checked = one.check(asked(quoted))
    assert (checked.reward_id, checked.quantity, checked.destination) == ("coffee", 2, "")
    assert checked.quote.points == 200
    quotes.check_figures(checked.quote, terms(), network="comity.example")


def test_a_quote_of_another_node_is_refused() -> None:
    quoted = quoting(b"other" * 8).quote(WISH, terms(), now_us=START_US)
    with pytest.raises(Forbidden):
        quoting().check(asked(quoted))


def test_a_changed_quote_is_refused() -> None:
    one = quoting()
    quoted = one.quote(WISH, terms(), now_us=START_US)
    request = asked(quoted)
    cheaper = quotes.read(quoted.quote)
    cheaper.points = 1
    request.quote = cheaper.SerializeToString(deterministic=True)
    with pytest.raises(Forbidden):
        one.check(request)


@pytest.mark.parametrize(
    "changed", [{"reward_id": "car-wash"}, {"quantity": 3}, {"reward_salt": bytes(16)}]
)
def test_another_reward_than_quoted_is_refused(changed: dict[str, object]) -> None:
    one = quoting()
    quoted = one.quote(WISH, terms(), now_us=START_US)
    with pytest.raises(MandateRejected):
        one.check(asked(quoted, **changed))


def test_a_pickup_key_opens_its_own_redemption_alone() -> None:
    one = quoting()
    key = one.pickup_key("rdm_1")
    one.check_pickup_key("rdm_1", key)
    with pytest.raises(Forbidden):
        one.check_pickup_key("rdm_2", key)


def test_a_partner_purchase_always_has_the_same_redemption_id() -> None:
    one = quoting()
    assert one.pledge_id("sale-1") == one.pledge_id("sale-1")
    assert one.pledge_id("sale-1") != one.pledge_id("sale-2")


# --- the gate -------------------------------------------------------------------------------


def test_the_gate_opens_once_clearing_was_heard() -> None:
    gate = Gate()
    with pytest.raises(NotHeard):
        gate.require()
    gate.open()
    gate.require()
    assert gate.is_open


async def test_a_fault_of_the_ledger_shuts_the_gate_for_good() -> None:
    gate = Gate()
    gate.open()
    gate.shut(ShorterLedger("shorter"))
    gate.open()
    with pytest.raises(ShorterLedger):
        gate.require()
    with pytest.raises(ShorterLedger):
        await gate.watch()
