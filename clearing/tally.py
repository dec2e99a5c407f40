"""How many decisions were committed since the process started, for its metrics page.

Counted in the table when the page is read: each decision once, whichever way it was asked for,
and nothing is counted that was rolled back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from threading import Lock

from clearing.store import ClearingStore
from comity.v1.common_pb2 import RedemptionKind
from comity.v1.entry_pb2 import Outcome


class Tally:
    """Decisions by outcome and kind, from the entry at `start` on. Safe for several threads."""

    def __init__(self, store: ClearingStore, *, start: int) -> None:
        self._store = store
        self._next = start
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()

    def __call__(self) -> Mapping[tuple[str, str], int]:
        """The counts so far by outcome and kind, as words: `("committed", "reward")`."""
        with self._lock:
            found, self._next = self._store.decided_since(self._next)
            for outcome, kind, count in found:
                self._counts[_outcome(outcome), _kind(kind)] += count
            return dict(self._counts)


def _outcome(number: int) -> str:
    name = Outcome.Name(number)  # type: ignore[arg-type]
    return name.removeprefix("OUTCOME_").lower()


def _kind(number: int) -> str:
    name = RedemptionKind.Name(number)  # type: ignore[arg-type]
    return name.removeprefix("REDEMPTION_KIND_").lower()
