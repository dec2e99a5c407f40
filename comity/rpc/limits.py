"""How much of a server one caller may take: a rate, and a number of calls in flight.

Kept per caller, so one that floods is refused while the others are served. Anonymous callers
are told apart by address.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from comity.clock import SECOND, Clock
from comity.errors import Overloaded
from comity.rpc.bounded import BoundedCache
from comity.rpc.caller import Caller, CallerKind


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimit:
    """At most `burst` calls at once out of nothing, `per_second` in the long run, and never
    more than `in_flight` unanswered."""

    per_second: int
    burst: int
    in_flight: int

    def __post_init__(self) -> None:
        if min(self.per_second, self.burst, self.in_flight) < 1:
            raise ValueError("a call limit of zero would refuse everything")


DEFAULT_LIMITS: Mapping[CallerKind, CallLimit] = {
    CallerKind.ANONYMOUS: CallLimit(per_second=5_000, burst=10_000, in_flight=1_024),
    CallerKind.MEMBER: CallLimit(per_second=50, burst=100, in_flight=32),
    CallerKind.TILL: CallLimit(per_second=2_000, burst=4_000, in_flight=512),
    CallerKind.MANAGER: CallLimit(per_second=200, burst=400, in_flight=64),
    CallerKind.AUDITOR: CallLimit(per_second=200, burst=400, in_flight=16),
    CallerKind.BRAND: CallLimit(per_second=2_000, burst=4_000, in_flight=512),
    CallerKind.OPERATOR: CallLimit(per_second=200, burst=400, in_flight=64),
    CallerKind.CLEARING: CallLimit(per_second=2_000, burst=4_000, in_flight=512),
}
"""An address may be a whole shop, and an organisation's calls are batches; a person needs few."""


FAILURES: Final = CallLimit(per_second=100, burst=1_000, in_flight=1)
"""Failed authentications from one address, unless set; `in_flight` does not matter here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What may be set of these limits: calls a second of some kinds of caller, in a burst twice as
    many, and failed authentications from one address."""

    calls_per_second: Mapping[CallerKind, int] = field(default_factory=dict)
    failures_per_second: int = FAILURES.per_second
    failures_at_once: int = FAILURES.burst

    def calls(self) -> Mapping[CallerKind, CallLimit]:
        """The limit of every kind of caller."""
        limits = dict(DEFAULT_LIMITS)
        for kind, rate in self.calls_per_second.items():
            limits[kind] = replace(limits[kind], per_second=rate, burst=2 * rate)
        return limits

    def failures(self) -> CallLimit:
        """The limit of every address."""
        return replace(FAILURES, per_second=self.failures_per_second, burst=self.failures_at_once)


class _Bucket:
    """Tokens in millionths, so that refilling by elapsed microseconds is exact in integers."""

    __slots__ = ("at_us", "in_flight", "tokens")

    def __init__(self, tokens: int, at_us: int) -> None:
        self.tokens = tokens
        self.at_us = at_us
        self.in_flight = 0


class FailureLimiter:
    """A token bucket for each address from which authentication failed.

    An address that has used it up is refused before its credentials are looked at. One that
    never failed is not even remembered, so honest callers cost one look into an empty cache.
    """

    def __init__(
        self, clock: Clock, limit: CallLimit = FAILURES, *, remembered: int = 10_000
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._buckets: BoundedCache[str, _Bucket] = BoundedCache(remembered)

    def require(self, address: str) -> None:
        """Raises Overloaded for an address with too many failures."""
        bucket = self._buckets.get(address)
        if bucket is None:
            return
        self._refill(bucket)
        if bucket.tokens < SECOND:
            raise Overloaded(
                "Too many calls from your address showed credentials that do not hold; open a "
                "session with a registered key, a little later."
            )

    def failed(self, address: str) -> None:
        """Count one failure."""
        bucket = self._buckets.get(address)
        if bucket is None:
            bucket = _Bucket(self._limit.burst * SECOND, self._clock())
            self._buckets.put(address, bucket)
        self._refill(bucket)
        bucket.tokens = max(0, bucket.tokens - SECOND)

    def _refill(self, bucket: _Bucket) -> None:
        now_us = self._clock()
        gained = max(0, now_us - bucket.at_us) * self._limit.per_second
        bucket.at_us = now_us
        bucket.tokens = min(self._limit.burst * SECOND, bucket.tokens + gained)


class CallLimiter:
    """A token bucket and a count in flight for each of at most `remembered` callers.

    A caller not heard for longest is forgotten first, and never one with a call in flight. Where
    all of them have one, a new caller is refused: memory is bounded whoever calls.
    """

    def __init__(
        self,
        clock: Clock,
        limits: Mapping[CallerKind, CallLimit] = DEFAULT_LIMITS,
        *,
        remembered: int = 10_000,
    ) -> None:
        missing = set(CallerKind) - set(limits)
        if missing:
            raise ValueError(f"no call limit for {sorted(kind.value for kind in missing)}")
        self._clock = clock
        self._limits = dict(limits)
        self._remembered = remembered
        self._buckets: OrderedDict[tuple[CallerKind, str], _Bucket] = OrderedDict()

    @contextmanager
    def admit(self, caller: Caller) -> Iterator[None]:
        """Count one call while the block runs; raises Overloaded where it would be too many."""
        limit = self._limits[caller.kind]
        bucket = self._bucket(caller, limit)
        self._take(bucket, limit)
        bucket.in_flight += 1
        try:
            yield
        finally:
            bucket.in_flight -= 1

    def _take(self, bucket: _Bucket, limit: CallLimit) -> None:
        now_us = self._clock()
        elapsed_us = max(0, now_us - bucket.at_us)
        bucket.at_us = now_us
        bucket.tokens = min(limit.burst * SECOND, bucket.tokens + elapsed_us * limit.per_second)
        if bucket.in_flight >= limit.in_flight:
            raise Overloaded(
                f"{limit.in_flight} calls of yours are unanswered, which is the most allowed; "
                "wait for one of them."
            )
        if bucket.tokens < SECOND:
            wait_ms = -((bucket.tokens - SECOND) // (limit.per_second * 1_000))
            raise Overloaded(
                f"You may call {limit.per_second} times a second; repeat the same call a little "
                "later.",
                metadata={"retry_after_ms": str(wait_ms)},
            )
        bucket.tokens -= SECOND

    def _bucket(self, caller: Caller, limit: CallLimit) -> _Bucket:
        key = (caller.kind, caller.id)
        bucket = self._buckets.get(key)
        if bucket is None:
            self._make_room()
            bucket = self._buckets[key] = _Bucket(limit.burst * SECOND, self._clock())
        self._buckets.move_to_end(key)
        return bucket

    def _make_room(self) -> None:
        if len(self._buckets) < self._remembered:
            return
        idle = next((key for key, bucket in self._buckets.items() if not bucket.in_flight), None)
        if idle is None:
            raise Overloaded("Too many callers at once; repeat the same call a little later.")
        del self._buckets[idle]
