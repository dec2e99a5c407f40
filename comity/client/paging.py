"""Walking through a list which a server answers page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

PAGE: Final = 200

ItemT = TypeVar("ItemT")


async def walk(
    read: Callable[[str], Awaitable[tuple[Sequence[ItemT], str]]], *, at_most: int | None = None
) -> AsyncIterator[ItemT]:
    """Every item, or the first `at_most`; `read` answers the page at a cursor and the next one."""
    cursor, left = "", at_most
    while left is None or left > 0:
        items, cursor = await read(cursor)
        for item in items:
            if left is not None:
                if left == 0:
                    return
                left -= 1
            yield item
        if not cursor:
            return
