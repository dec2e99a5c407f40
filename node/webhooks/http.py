"""Posting over HTTP: the only module that opens connections to endpoints."""

from __future__ import annotations

import asyncio
import email.utils
from collections.abc import Mapping
from typing import Final

import httpx2

from comity.clock import SECOND, Clock
from node.webhooks.sender import Reply

TIMEOUT_S: Final = 15.0
"""How long an endpoint may take; the specification advises 15 to 30 seconds."""
ENOUGH_BYTES: Final = 65_536
"""A longer answer is not read to its end, which costs its sender the connection."""


class HttpPost:
    """Posts JSON. Redirects are not followed, and what an answer says is thrown away."""

    def __init__(self, clock: Clock, *, timeout_s: float = TIMEOUT_S) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._client = httpx2.AsyncClient(
            timeout=timeout_s,
            follow_redirects=False,
            headers={"content-type": "application/json", "user-agent": "comity"},
        )

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream("POST", url, headers=headers, content=body) as answer,
            ):
                await _read_some(answer)
                asked = answer.headers.get("retry-after", "")
                return Reply(status=answer.status_code, retry_after_us=self._asked_us(asked))
        except TimeoutError:
            return Reply(status=0, problem=f"took longer than {self._timeout_s:g} seconds")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            return Reply(status=0, problem=f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        await self._client.aclose()

    def _asked_us(self, text: str) -> int:
        """A Retry-After header (RFC 9110 §10.2.3), as a duration; 0 if there is none."""
        if text.isascii() and text.isdigit():
            return min(int(text[:9]), 10**8) * SECOND
        try:
            at = email.utils.parsedate_to_datetime(text)
        except ValueError:
            return 0
        return max(0, int(at.timestamp()) * SECOND - self._clock())


async def _read_some(answer: httpx2.Response) -> None:
    count = 0
    async for piece in answer.aiter_raw():
        count += len(piece)
        if count > ENOUGH_BYTES:
            return
