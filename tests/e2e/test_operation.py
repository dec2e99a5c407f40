"""A process as its operator meets it: how soon it ends, and what its metrics page says."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Final

from cli.demo.network import CLEARING, Network, free_ports
from cli.demo.patience import patiently
from comity.v1.common_pb2 import Money
from comity.v1.merchant_pb2 import Purchase
from comity.wallet.wallet import Outcome, Wallet
from tests.e2e.conftest import CURRENCY, PRICE, REWARD, Networks

ISSUER: Final = "grocery"
ACCEPTOR: Final = "fuel"
SOON_S: Final = 1.5


async def page(port: int) -> list[str]:
    """The lines of a metrics page."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return text.splitlines()


async def joined(network: Network, wallet: Wallet) -> None:
    """A member of the issuer with points, who knows the acceptor."""
    roots = network.ca_file.read_text("utf-8")
    brands = {
        name: await wallet.learn(network.server(name).address, roots_pem=roots)
        for name in (ISSUER, ACCEPTOR)
    }
    issuer = await wallet.enrol(brands[ISSUER])
    sale = Purchase(
        purchase_id="sale", account=issuer.account, amount=Money(currency=CURRENCY, minor=100_000)
    )
    record = partial(network.manager(ISSUER).record_purchases, [sale])
    (result,) = await patiently(record)
    assert result.points >= PRICE, result


async def redeemed(wallet: Wallet) -> Outcome:
    """The member's points for the acceptor's reward, or for its promise."""
    brands = {brand.participant: brand for brand in wallet.store.brands()}
    ask = partial(wallet.quote, issuer=brands[ISSUER], acceptor=brands[ACCEPTOR], reward_id=REWARD)
    return await wallet.redeem(await patiently(ask), timeout_s=15.0)


async def stopped(network: Network, name: str) -> float:
    """How many seconds a process takes to end in order."""
    began = time.monotonic()
    assert await network.process(name).stop() == 0, network.process(name).last_lines()
    return time.monotonic() - began


async def test_a_process_ends_at_once_whoever_waits_for_it(
    networks: Networks, tmp_path: Path
) -> None:
    network = await networks(ISSUER, ACCEPTOR)
    async with Wallet.create(tmp_path / "wallet") as wallet:
        await joined(network, wallet)
        # 1. Clearing, while both brands wait for its news.
        assert await stopped(network, CLEARING) < SOON_S
        # 2. An acceptor, while a member waits for a decision which nobody makes.
        waiting = asyncio.create_task(redeemed(wallet))
        await asyncio.sleep(1.0)
        assert not waiting.done()
        assert await stopped(network, ACCEPTOR) < SOON_S
        undecided = await waiting
        assert undecided.pending
        # 3. An issuer with a hold that is not decided; then the member gets what was promised.
        assert await stopped(network, ISSUER) < SOON_S
        for name in (CLEARING, ISSUER, ACCEPTOR):
            await network.start(name)
        resume = partial(wallet.resume, undecided.redemption.redemption_id, timeout_s=15.0)
        outcome = await patiently(resume)
        while outcome.pending:
            outcome = await patiently(resume)
        assert len(outcome.redemption.vouchers) == 1


async def test_the_metrics_page_tells_batches_queues_redemptions_and_positions(
    networks: Networks, tmp_path: Path
) -> None:
    network = await networks(ISSUER, ACCEPTOR)
    at_acceptor, at_clearing = free_ports(2)
    for name, variable, port in (
        (CLEARING, "COMITY_CLEARING_METRICS_PORT", at_clearing),
        (ACCEPTOR, "COMITY_NODE_METRICS_PORT", at_acceptor),
    ):
        await network.process(name).stop()
        await network.start(name, {variable: str(port)})
    async with Wallet.create(tmp_path / "wallet") as wallet:
        await joined(network, wallet)
        assert not (await redeemed(wallet)).pending
    node = await page(at_acceptor)
    assert 'comity_redemptions_total{outcome="DELIVERED"} 1.0' in node
    assert 'comity_queue_depth{queue="ledger"} 0.0' in node
    assert number(node, 'comity_batch_items_count{queue="ledger"}') >= 2
    assert number(node, 'comity_batch_items_sum{queue="ledger"}') >= 2
    assert any(line.startswith("# TYPE comity_alarms_total counter") for line in node)
    clearing = await page(at_clearing)
    assert number(clearing, f'comity_position_minor{{currency="{CURRENCY}",{of(ISSUER)}}}') < 0
    assert number(clearing, f'comity_position_minor{{currency="{CURRENCY}",{of(ACCEPTOR)}}}') > 0
    assert number(clearing, 'comity_batch_items_count{queue="ledger"}') >= 1
    assert number(clearing, 'comity_decisions_total{kind="reward",outcome="committed"}') == 1


def of(participant: str) -> str:
    return f'participant="{participant}"'


def number(lines: list[str], name: str) -> float:
    """The value of one metric."""
    (found,) = [line for line in lines if line.startswith(name)]
    return float(found.rpartition(" ")[2])
