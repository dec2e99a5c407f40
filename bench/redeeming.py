"""The figures of the whole network: how many redemptions a second, and how long one takes."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import closing
from pathlib import Path

from bench.commits import Commits
from bench.echo import Echo
from bench.measure import Extent, Figure, percentiles_ms
from bench.shop import Shop
from comity.serve.process import spare_collector

IN_FLIGHT = 64
MEMBERS = 500
"""Enough that nobody reaches a programme's default of 100 redemptions a day."""

COMMITS = 4
ECHOES = 3


def network(folder: Path, extent: Extent) -> list[Figure]:
    """Both figures, on one network of three processes."""
    return asyncio.run(_network(folder, extent))


async def _network(folder: Path, extent: Extent) -> list[Figure]:
    place = folder / "network"
    place.mkdir()
    async with (
        Shop(place / "shop", members=extent.count(MEMBERS)) as shop,
        Echo(place / "echo") as echo,
    ):
        spare_collector()
        await shop.run(extent.seconds(2.0), in_flight=IN_FLIGHT)
        throughput = await _redemptions(shop, echo, extent)
        with closing(Commits(place / "commits.db")) as commits:
            latency = await _latency(shop, echo, commits, extent)
    return [throughput, latency]


async def _redemptions(shop: Shop, echo: Echo, extent: Extent) -> Figure:
    rates: list[float] = []
    echoes: list[float] = []
    took: list[float] = []
    for _ in range(extent.rounds):
        rate, each = await shop.run(extent.seconds(8.0), in_flight=IN_FLIGHT)
        rates.append(rate)
        took += each
        await shop.quiet()
        echoes.append(await echo.run(extent.seconds(3.0), in_flight=IN_FLIGHT))
    return Figure(
        name="redemptions",
        value=statistics.median(rates),
        unit=f"redemptions/s, {IN_FLIGHT} in flight",
        baseline=f"grpc.aio unary echoes/s over mTLS, {IN_FLIGHT} in flight",
        baseline_value=statistics.median(echoes),
        floor=0.2,
        wish=0.5,
        percentiles_ms=percentiles_ms(took),
        notes={"processes": "clearing, two brands, the load", "p50_and_p99": "quote and redeem"},
    )


async def _latency(shop: Shop, echo: Echo, commits: Commits, extent: Extent) -> Figure:
    medians: list[float] = []
    baselines: list[float] = []
    all_: list[float] = []
    count = 12 if extent.short else 40
    for _ in range(extent.rounds):
        took: list[float] = []
        plain: list[float] = []
        await shop.quiet()
        for _ in range(count):
            took.append(await shop.redeem())
            began = time.perf_counter()
            for _ in range(COMMITS):
                commits.commit()
            for _ in range(ECHOES):
                await echo.call()
            plain.append(time.perf_counter() - began)
            # Idle again: what follows in the background is over.
            await asyncio.sleep(0.05)
        medians.append(statistics.median(took))
        baselines.append(statistics.median(plain))
        all_ += took
    return Figure(
        name="redemption_latency",
        value=statistics.median(medians) * 1_000,
        unit="ms, redeem call to receipt, one at a time",
        baseline=f"ms for {COMMITS} fsynced commits and {ECHOES} unary mTLS echoes",
        baseline_value=statistics.median(baselines) * 1_000,
        floor=4,
        wish=2,
        at_most=True,
        percentiles_ms=percentiles_ms(all_),
    )
