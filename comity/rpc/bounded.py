"""A dictionary which forgets what was longest unused, so that callers cannot fill the memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """At most `capacity` pairs; putting one more drops the least recently used."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("a cache holds at least one pair")
        self._capacity = capacity
        self._pairs: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        value = self._pairs.get(key)
        if value is not None:
            self._pairs.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        self._pairs[key] = value
        self._pairs.move_to_end(key)
        if len(self._pairs) > self._capacity:
            self._pairs.popitem(last=False)

    def __len__(self) -> int:
        return len(self._pairs)
