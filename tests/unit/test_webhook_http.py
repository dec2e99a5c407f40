"""Posting over real sockets: what an endpoint may answer, and what it may not do to the node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from comity.clock import MINUTE, SECOND
from node.webhooks.http import HttpPost
from tests.brand import START_US

SENT = {"webhook-id": "grocery/1"}
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


Listening = tuple[str, list[str]]


@asynccontextmanager
async def answering(
    answer: bytes, *, endless: bool = False
) -> AsyncIterator[tuple[str, list[str]]]:
    """A server which gives one answer to everything; what it was asked is noted."""
    asked: list[str] = []
    open_ones: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                asked.append(head.decode())
                lines = dict(one.lower().split(": ", 1) for one in asked[-1].split("\r\n")[1:-2])
                await reader.readexactly(int(lines["content-length"]))
                writer.write(answer)
                while endless:
                    writer.write(b"x" * 65_536)
                    await writer.drain()
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for one in open_ones:
            one.transport.abort()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def posting(timeout_s: float = 5.0) -> AsyncIterator[HttpPost]:
    post = HttpPost(lambda: START_US, timeout_s=timeout_s)
    try:
        yield post
    finally:
        await post.close()


async def test_a_message_arrives_as_json_with_its_headers_and_the_connection_stays() -> None:
    async with answering(OK) as (url, asked), posting() as post:
        for _ in range(3):
            reply = await post(f"{url}/loyalty", SENT, b"{}")
            assert reply.taken
        assert len(asked) == 3
        assert asked[0].startswith("POST /loyalty HTTP/1.1")
        assert "webhook-id: grocery/1" in asked[0].lower()
        assert "content-type: application/json" in asked[0].lower()


@pytest.mark.parametrize(
    ("head", "status", "asked_us"),
    [
        (b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\ncontent-length: 0\r\n\r\n", 503, 2 * MINUTE),
        (
            b"HTTP/1.1 429 Slow\r\nRetry-After: Thu, 01 Jan 2026 00:00:30 GMT\r\n"
            b"content-length: 0\r\n\r\n",
            429,
            30 * SECOND,
        ),
        (b"HTTP/1.1 500 No\r\nRetry-After: soon\r\ncontent-length: 0\r\n\r\n", 500, 0),
        (b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", 410, 0),
    ],
)
async def test_a_refusal_is_told_with_the_time_it_asks_for(
    head: bytes, status: int, asked_us: int
) -> None:
    async with answering(head) as (url, _), posting() as post:
        reply = await post(url, SENT, b"{}")
    assert (reply.status, reply.taken, reply.retry_after_us) == (status, False, asked_us)


async def test_a_redirect_is_a_refusal_and_nobody_is_called_there() -> None:
    async with answering(OK) as (other, elsewhere):
        moved = f"HTTP/1.1 302 Found\r\nLocation: {other}\r\ncontent-length: 0\r\n\r\n"
        async with answering(moved.encode()) as (url, _), posting() as post:
            reply = await post(url, SENT, b"{}")
    assert (reply.status, reply.taken, elsewhere) == (302, False, [])


async def test_an_answer_without_end_is_not_read_to_it() -> None:
    async with (
        answering(b"HTTP/1.1 200 OK\r\n\r\n", endless=True) as (url, _),
        posting() as post,
    ):
        began = time.monotonic()
        assert (await post(url, SENT, b"{}")).taken
        assert time.monotonic() - began < 4


async def test_whoever_does_not_answer_is_waited_for_only_so_long() -> None:
    async with answering(b"") as (url, _), posting(timeout_s=0.2) as post:
        reply = await post(url, SENT, b"{}")
    assert reply.status == 0
    assert reply.error


async def test_nobody_there_and_no_http_are_told_in_words() -> None:
    async with answering(b"220 smtp ready\r\n") as (url, _), posting(timeout_s=1.0) as post:
        for where in (url, "http://127.0.0.1:9/", "https://127.0.0.1:9/"):
            reply = await post(where, SENT, b"{}")
            assert (reply.status, bool(reply.problem)) == (0, True)
