"""Putting the parts of an export together."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from comity.v1.member_pb2 import ExportPage


async def collected(read: Callable[[str], Awaitable[ExportPage]]) -> Mapping[str, list[Any]]:
    """All sections with what they hold; `read` answers the part at a cursor."""
    found: dict[str, list[Any]] = {}
    cursor = ""
    while True:
        page = await read(cursor)
        found.setdefault(page.section, []).extend(json.loads(page.json))
        cursor = page.next_cursor
        if not cursor:
            return found
