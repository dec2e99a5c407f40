"""A network that loses, delays, repeats and reorders, by one seed.

Messages are bytes between production endpoints; only the sockets are simulated. A repeated
request is really handled twice, a lost answer leaves its effect behind.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from comity.errors import ComityError, Unavailable, rebuild
from comity.rpc.caller import Credentials
from comity.rpc.channel import AUTHORIZATION_KEY, Metadata
from comity.rpc.endpoint import Endpoint
from tests.simulation.loop import Process


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad the network is: probabilities, and delays in seconds.

    `dropped`: a server learns that its caller gave up, and its handler is cancelled.
    """

    lost: float = 0.0
    repeated: float = 0.0
    delay_s: float = 0.001
    slow: float = 0.0
    slow_s: float = 2.0
    dropped: float = 0.0


CALM = Weather()
STORM = Weather(lost=0.06, repeated=0.08, delay_s=0.02, slow=0.06, slow_s=4.0, dropped=0.5)

Destination = Callable[[], "tuple[Process, Endpoint] | None"]
"""Who answers at an address just now; None while nobody does."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer on the wire."""

    sender: str
    receiver: str
    path: str
    data: bytes
    is_answer: bool


class Network:
    """All messages of the world; `weather` may change at any time."""

    def __init__(self, seed: object, weather: Weather = CALM) -> None:
        self.random = random.Random(f"network {seed}")
        self.weather = weather
        self.counts = {"lost": 0, "repeated": 0, "slow": 0, "dropped": 0, "cut": 0, "sent": 0}
        self.cut: set[frozenset[str]] = set()
        """The pairs between which nothing passes."""
        self.listeners: list[Callable[[Message], None]] = []

    def delay(self) -> float:
        """How long one message takes; independent delays reorder."""
        weather = self.weather
        if weather.slow and self.random.random() < weather.slow:
            self.counts["slow"] += 1
            return self.random.uniform(0, weather.slow_s)
        return self.random.uniform(0, 2 * weather.delay_s)

    def happens(self, what: str, probability: float) -> bool:
        """Decide one misfortune, and count it."""
        if not probability or self.random.random() >= probability:
            return False
        self.counts[what] += 1
        return True

    def passes(self, message: Message) -> bool:
        """Whether a message arrives; whoever listens hears it even if it does not."""
        self.counts["sent"] += 1
        for listener in self.listeners:
            listener(message)
        if self.cut and frozenset((message.sender, message.receiver)) in self.cut:
            self.counts["cut"] += 1
            return False
        return not self.happens("lost", self.weather.lost)


class SimulatedChannel:
    """What the production stubs call through: `comity.rpc.channel.Channel` over a `Network`."""

    def __init__(
        self,
        network: Network,
        destination: Destination,
        credentials: Credentials,
        *,
        sender: str,
        receiver: str,
        default_timeout_s: float = 10.0,
    ) -> None:
        self._network = network
        self._destination = destination
        self._credentials = credentials
        self._sender = sender
        self._receiver = receiver
        self._default_timeout_s = default_timeout_s

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool | None = False,
    ) -> Any:
        async def call(
            request: Any, *, timeout: float | None = None, metadata: Metadata | None = None
        ) -> Any:
            limit = self._default_timeout_s if timeout is None else timeout
            credentials = self._showing(metadata or ())
            return response_deserializer(
                await self._carry(path, request_serializer(request), credentials, limit)
            )

        return call

    async def close(self) -> None:
        """Nothing is open."""

    def _showing(self, metadata: Sequence[tuple[str, str | bytes]]) -> Credentials:
        for name, value in metadata:
            if name == AUTHORIZATION_KEY and isinstance(value, str):
                return replace(self._credentials, bearer_token=value.removeprefix("Bearer "))
        return self._credentials

    async def _carry(self, path: str, data: bytes, who: Credentials, limit: float) -> bytes:
        handlers: list[asyncio.Task[bytes]] = []
        try:
            async with asyncio.timeout(limit):
                return await self._exchange(path, data, who, limit, handlers)
        except TimeoutError:
            raise Unavailable("The call's deadline passed; repeat it.") from None
        finally:
            for handler in handlers:
                if not handler.done() and self._network.happens(
                    "dropped", self._network.weather.dropped
                ):
                    handler.cancel()

    async def _exchange(
        self,
        path: str,
        data: bytes,
        who: Credentials,
        limit: float,
        handlers: list[asyncio.Task[bytes]],
    ) -> bytes:
        network = self._network
        request = Message(self._sender, self._receiver, path, data, is_answer=False)
        await asyncio.sleep(network.delay())
        if not network.passes(request):
            await asyncio.get_running_loop().create_future()
        if network.happens("repeated", network.weather.repeated):
            self._handle(path, data, who, limit, handlers, after=network.delay())
        result = await asyncio.shield(self._handle(path, data, who, limit, handlers))
        await asyncio.sleep(network.delay())
        text = result if isinstance(result, bytes) else result.message.encode()
        answer = Message(self._receiver, self._sender, path, text, is_answer=True)
        if not network.passes(answer):
            await asyncio.get_running_loop().create_future()
        if isinstance(result, ComityError):
            # What crosses a wire is a code and a text, never the object itself.
            raise rebuild(result.code, result.message, field=result.field, metadata=result.metadata)
        return result

    def _handle(
        self,
        path: str,
        data: bytes,
        who: Credentials,
        limit: float,
        handlers: list[asyncio.Task[bytes]],
        *,
        after: float = 0.0,
    ) -> asyncio.Future[bytes | ComityError]:
        """Let the destination's process answer; its death is a broken connection to the caller."""
        answer: asyncio.Future[bytes | ComityError] = asyncio.get_running_loop().create_future()
        found = self._destination()
        if found is None:
            answer.set_result(Unavailable("Nobody listens there; repeat later."))
            return answer
        process, endpoint = found

        async def handle() -> bytes:
            if after:
                await asyncio.sleep(after)
            return await endpoint.handle(path, data, who, deadline=limit)

        def done(task: asyncio.Task[bytes]) -> None:
            error = None if task.cancelled() else task.exception()
            if answer.done():
                return
            if task.cancelled() or (error is not None and not isinstance(error, ComityError)):
                answer.set_result(Unavailable("The connection broke; repeat the request."))
            elif isinstance(error, ComityError):
                answer.set_result(error)
            else:
                answer.set_result(task.result())

        task = process.spawn(handle())
        handlers.append(task)
        task.add_done_callback(done)
        return answer
