"""Which sessions still count: those of keys that stand in this brand's tables.

A token outlives the key it was bought with by minutes. So the key of every call's token is looked
up, once, and remembered until any key is revoked, removed or erased; that is rare, and then all
are looked up again.
"""

from __future__ import annotations

from typing import Final

from comity.errors import Unauthenticated
from comity.rpc.bounded import BoundedCache
from comity.rpc.caller import Caller, CallerKind
from node.store import NodeStore

REMEMBERED: Final = 65_536


class Sessions:
    """The last word on callers with a token; made for `TokenAuthenticator`."""

    def __init__(self, store: NodeStore, *, remembered: int = REMEMBERED) -> None:
        self._store = store
        self._remembered = remembered
        self._good: BoundedCache[bytes, tuple[CallerKind, str]] = BoundedCache(remembered)

    def admit(self, caller: Caller) -> None:
        """Raises Unauthenticated unless the caller's key is still registered as what it was."""
        assert caller.key_hash is not None, "a token names its key"
        who = (caller.kind, caller.id)
        if self._good.get(caller.key_hash) == who:
            return
        found = self._store.registered_key(f"key_{caller.key_hash[:8].hex()}")
        if found is None or (found.kind, found.subject) != who:
            raise Unauthenticated(
                "The key of this session was revoked or removed; use another key of yours."
            )
        self._good.put(caller.key_hash, who)

    def changed(self) -> None:
        """A key was revoked, removed or erased: every key is looked up again."""
        self._good = BoundedCache(self._remembered)
