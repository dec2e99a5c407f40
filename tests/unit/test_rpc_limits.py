"""A caller's rate and its calls in flight, on a clock that moves when told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.clock import SECOND
from comity.errors import Overloaded
from comity.rpc.bounded import BoundedCache
from comity.rpc.caller import Caller, CallerKind
from comity.rpc.limits import DEFAULT_LIMITS, FAILURES, CallLimit, CallLimiter, Rates


class Time:
    def __init__(self) -> None:
        self.now_us = 0

    def __call__(self) -> int:
        return self.now_us


def member(name: str) -> Caller:
    return Caller(kind=CallerKind.MEMBER, id=name)


def limiter(clock: Time, limit: CallLimit, *, remembered: int = 100) -> CallLimiter:
    return CallLimiter(clock, dict.fromkeys(CallerKind, limit), remembered=remembered)


def allowed(calls: CallLimiter, caller: Caller) -> bool:
    try:
        with calls.admit(caller):
            return True
    except Overloaded:
        return False


def test_a_burst_is_served_and_then_the_rate() -> None:
    clock = Time()
    calls = limiter(clock, CallLimit(per_second=2, burst=3, in_flight=9))
    assert [allowed(calls, member("a")) for _ in range(4)] == [True, True, True, False]
    clock.now_us += SECOND // 2
    assert [allowed(calls, member("a")) for _ in range(2)] == [True, False]


def test_one_caller_does_not_use_up_what_another_may_do() -> None:
    calls = limiter(Time(), CallLimit(per_second=1, burst=1, in_flight=1))
    assert allowed(calls, member("a"))
    assert not allowed(calls, member("a"))
    assert allowed(calls, member("b"))
    assert allowed(calls, Caller(kind=CallerKind.TILL, id="a"))


def test_calls_in_flight_are_counted_until_they_end_however_they_end() -> None:
    calls = limiter(Time(), CallLimit(per_second=100, burst=100, in_flight=1))
    with calls.admit(member("a")):
        assert not allowed(calls, member("a"))
    with pytest.raises(RuntimeError), calls.admit(member("a")):
        raise RuntimeError
    assert allowed(calls, member("a"))


def test_a_refusal_says_how_long_to_wait() -> None:
    clock = Time()
    calls = limiter(clock, CallLimit(per_second=4, burst=1, in_flight=1))
    assert allowed(calls, member("a"))
    with pytest.raises(Overloaded) as caught, calls.admit(member("a")):
        pass
    wait_ms = int(caught.value.metadata["retry_after_ms"])
    assert wait_ms == 250
    clock.now_us += wait_ms * 1_000
    assert allowed(calls, member("a"))


def test_memory_is_bounded_and_a_caller_with_a_call_in_flight_is_not_forgotten() -> None:
    calls = limiter(Time(), CallLimit(per_second=1, burst=1, in_flight=1), remembered=2)
    with calls.admit(member("a")):
        assert allowed(calls, member("b"))
        assert allowed(calls, member("c"))
        assert not allowed(calls, member("a"))
        with calls.admit(member("d")), pytest.raises(Overloaded, match="Too many callers"):
            calls.admit(member("e")).__enter__()


def test_a_clock_which_steps_back_gives_nothing_and_breaks_nothing() -> None:
    clock = Time()
    clock.now_us = 10 * SECOND
    calls = limiter(clock, CallLimit(per_second=1, burst=1, in_flight=1))
    assert allowed(calls, member("a"))
    clock.now_us = 0
    assert not allowed(calls, member("a"))


@given(
    st.lists(st.integers(0, 3 * SECOND), min_size=1, max_size=60),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_no_pattern_of_calls_gets_more_than_burst_and_rate(
    pauses: list[int], per_second: int, burst: int
) -> None:
    clock = Time()
    calls = limiter(clock, CallLimit(per_second=per_second, burst=burst, in_flight=1))
    served = 0
    for pause_us in pauses:
        clock.now_us += pause_us
        served += allowed(calls, member("a"))
    assert served * SECOND <= burst * SECOND + clock.now_us * per_second


def test_a_limit_of_zero_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="refuse everything"):
        CallLimit(per_second=0, burst=1, in_flight=1)


def test_a_bounded_cache_forgets_what_was_longest_unused() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c"), len(cache)) == (1, None, 3, 2)


def test_what_is_set_of_the_limits_holds_and_the_rest_stays_as_it_is() -> None:
    rates = Rates(calls_per_second={CallerKind.MEMBER: 7}, failures_at_once=3)
    limits = rates.calls()
    assert limits[CallerKind.MEMBER] == CallLimit(per_second=7, burst=14, in_flight=32)
    for kind in set(CallerKind) - {CallerKind.MEMBER}:
        assert limits[kind] == DEFAULT_LIMITS[kind]
    assert (rates.failures().burst, rates.failures().per_second) == (3, FAILURES.per_second)
    assert Rates().calls() == DEFAULT_LIMITS
    assert Rates().failures() == FAILURES
