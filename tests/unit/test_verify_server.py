"""A running server's log, checked by a stranger and by an auditor over any channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from comity.ledger.runner import inline
from comity.ledger.signer import LogSigner
from comity.ledger.store import LedgerStore
from comity.log.history import KeyHistory
from comity.log.merkle import leaf_hash
from comity.rpc.caller import Caller, CallerKind
from comity.rpc.endpoint import snake_case
from comity.serve.log_service import LogService
from comity.v1 import log_pb2
from comity.verify.server import server
from tests.brand import LEDGER, NETWORK, ORIGIN, Brand, programme, signing_key
from tests.unit.replay_log import failed


class Direct:
    """A channel straight into a LogService, which `bend` may change on the way."""

    def __init__(self, service: LogService) -> None:
        self._service = service
        self.bend: dict[str, Callable[[Any], None]] = {}
        self.called: set[str] = set()

    def unary_unary(self, path: str, *_: Any, **__: Any) -> Any:
        name = path.rpartition("/")[2]

        async def call(request: Any, **_: Any) -> Any:
            self.called.add(name)
            caller = Caller(kind=CallerKind.ANONYMOUS, id="")
            answer = await getattr(self._service, snake_case(name))(caller, request)
            self.bend.get(name, lambda _: None)(answer)
            return answer

        return call

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module")
def brand() -> Brand:
    made = Brand(programme())
    account = made.enrol()
    for number in range(300):
        made.buy(account, 100 + number)
    return made


@pytest.fixture
def channel(brand: Brand) -> Direct:
    store = LedgerStore(brand.engine, LEDGER)
    keys = KeyHistory.parse(vkey_of(brand))
    return Direct(LogService(store, network=NETWORK, origin=ORIGIN, keys=lambda: keys, read=inline))


def vkey_of(brand: Brand) -> str:
    return str(brand.rows("ledgers")[0]["vkey"])


async def test_a_stranger_checks_head_and_hashes(brand: Brand, channel: Direct) -> None:
    report = await server(channel, vkey=vkey_of(brand))
    assert report.passed, report.rows()
    assert report.figures == {"entries": 300}
    assert "ReadEntries" not in channel.called
    assert report.note


async def test_the_log_extends_a_checkpoint_kept_from_before(brand: Brand, channel: Direct) -> None:
    earlier = LedgerStore(brand.engine, LEDGER).checkpoint_at_or_after(77).note
    report = await server(channel, earlier=earlier)
    assert report.passed
    assert "I8" in {check.name for check in report.checks}


async def test_a_log_that_was_cut_or_rewritten_does_not_extend(
    brand: Brand, channel: Direct
) -> None:
    signer = LogSigner(ORIGIN, signing_key("log"))
    longer, other = signer.sign(301, leaf_hash(b"x")), signer.sign(77, leaf_hash(b"x"))
    for earlier in (longer, other):
        assert "I8" in failed((await server(channel, earlier=earlier)).checks)


async def test_an_auditor_replays_every_entry(brand: Brand, channel: Direct) -> None:
    seen: list[tuple[int, int]] = []
    report = await server(channel, auditor=True, progress=lambda *at: seen.append(at))
    assert report.passed, report.rows()
    assert {"I1", "I2", "I3", "I18"} <= {check.name for check in report.checks}
    assert seen[-1] == (300, 300)
    assert report.replay is not None


async def test_another_key_is_refused(channel: Direct) -> None:
    other = LogSigner(ORIGIN, signing_key("other")).vkey
    assert failed((await server(channel, vkey=other)).checks).keys() == {"signature"}


def _other_hash(answer: log_pb2.GetTileResponse) -> None:
    answer.hashes = answer.hashes[:-1] + bytes([answer.hashes[-1] ^ 1])


def _short_tile(answer: log_pb2.GetTileResponse) -> None:
    answer.hashes = answer.hashes[:-32]


def _other_entry(answer: log_pb2.ReadEntriesResponse) -> None:
    answer.entries[7].entry = answer.entries[8].entry


def _no_entries(answer: log_pb2.ReadEntriesResponse) -> None:
    del answer.entries[:]


@pytest.mark.parametrize(
    ("method", "lie", "check"),
    [
        ("GetTile", _other_hash, "root"),
        ("GetTile", _short_tile, "tiles"),
        ("ReadEntries", _other_entry, "entries"),
        ("ReadEntries", _no_entries, "entries"),
    ],
)
async def test_a_server_that_lies_is_found_out(
    channel: Direct, method: str, lie: Callable[[Any], None], check: str
) -> None:
    channel.bend[method] = lie
    assert check in failed((await server(channel, auditor=True)).checks)
