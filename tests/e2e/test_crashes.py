"""Every durable step of every role is killed right before and right after its commit.

Real processes, real TLS, SIGKILL. Each scene goes on with the same ids after the restart and
checks that its effect stands exactly once; in the end the network settles and every database
verifies against its log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from comity.ledger.steps import Step
from comity.verify.database import database
from tests.e2e import crash_programme as programme_scenes
from tests.e2e import crash_scenes as scenes
from tests.e2e.crash_stage import (
    ACCEPTOR,
    CLEARING,
    ISSUER,
    MOMENTS,
    Scene,
    Stage,
    programme,
    stage_at,
)

Row = tuple[str, Step, Scene]

MATRIX: Final[tuple[Row, ...]] = (
    # The programme of a brand.
    (ISSUER, Step.ENROL, scenes.enrol),
    (ISSUER, Step.DEVICE, scenes.add_device),
    (ISSUER, Step.PURCHASE, scenes.purchase),
    (ISSUER, Step.EVENT, programme_scenes.happen),
    (ISSUER, Step.MARK, programme_scenes.mark),
    (ISSUER, Step.CONVERT, programme_scenes.convert),
    (ISSUER, Step.REFUND, scenes.refund),
    (ISSUER, Step.SPEND, programme_scenes.pay),
    (ISSUER, Step.REINSTATE, programme_scenes.pay),
    (ISSUER, Step.ADJUST, scenes.adjust),
    (ISSUER, Step.EXPIRE, scenes.expire),
    (ISSUER, Step.LOCK, scenes.lock),
    (ISSUER, Step.ERASE, scenes.erase),
    (ISSUER, Step.PROGRAMME, scenes.declare),
    (ISSUER, Step.INVITE, scenes.invite),
    (ISSUER, Step.FREEZE, scenes.freeze),
    (ISSUER, Step.CLAIM, scenes.claim),
    (ISSUER, Step.WEBHOOK, scenes.tell),
    (ACCEPTOR, Step.STOCK, scenes.stock),
    # The two roles of a redemption.
    (ACCEPTOR, Step.RESERVE, scenes.reward),
    (ISSUER, Step.HOLD, scenes.reward),
    (ACCEPTOR, Step.DELIVER, scenes.reward),
    (ISSUER, Step.POST, scenes.reward),
    (ISSUER, Step.MIRROR, scenes.reward),
    (ACCEPTOR, Step.MIRROR, scenes.reward),
    (ISSUER, Step.RELEASE, scenes.refused),
    (ACCEPTOR, Step.FAIL, scenes.refused),
    (ACCEPTOR, Step.VOUCHER, scenes.use_voucher),
    (ACCEPTOR, Step.RETURN, scenes.reverse),
    (ISSUER, Step.RESTORE, scenes.reverse),
    (ACCEPTOR, Step.EXCHANGE, scenes.exchange),
    (ACCEPTOR, Step.PLEDGE, scenes.partner),
    (ISSUER, Step.ACCRUE, scenes.partner),
    (ACCEPTOR, Step.RETURN, scenes.partner_refund),
    (ISSUER, Step.ACCRUE, scenes.partner_refund),
    # The two roles of an agreement.
    (ACCEPTOR, Step.PROPOSE, scenes.agree),
    (ISSUER, Step.OFFER, scenes.agree),
    (ISSUER, Step.ACCEPT, scenes.agree),
    (ACCEPTOR, Step.TERMINATE, scenes.agree),
    (ISSUER, Step.ACK, scenes.settle),
    (ACCEPTOR, Step.ACK, scenes.settle),
    # Clearing.
    (CLEARING, Step.ADMIT, scenes.admit),
    (CLEARING, Step.AGREE, scenes.agree),
    (CLEARING, Step.DECIDE, scenes.reward),
    (CLEARING, Step.REPORT, scenes.reward),
    (CLEARING, Step.HEADS, scenes.reward),
    (CLEARING, Step.HEARD, scenes.reward),
    (CLEARING, Step.CLOSE, scenes.settle),
    (CLEARING, Step.SETTLE, scenes.settle),
    (CLEARING, Step.ACKNOWLEDGE, scenes.settle),
    (CLEARING, Step.ROTATE, scenes.rotate),
    (ISSUER, Step.MIRROR, scenes.rotate),
    (CLEARING, Step.REVOKE, scenes.revoke),
    (CLEARING, Step.STATUS, scenes.suspend),
    (CLEARING, Step.CAP, scenes.cap),
)


def test_the_matrix_names_every_step() -> None:
    assert {step for _, step, _ in MATRIX} == set(Step)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crashes")


@pytest.mark.row("O5")
def test_every_step_survives_a_kill_right_before_and_right_after_its_commit(world: Path) -> None:
    asyncio.run(_play_all(world))


async def _play_all(folder: Path) -> None:
    """Two networks at once, each with half of the matrix; a process that starts fills one core."""
    half = len(MATRIX) // 2
    async with AsyncExitStack() as stack:
        stages = [
            await stack.enter_async_context(stage_at(folder / f"network-{number}"))
            for number in (1, 2)
        ]
        await asyncio.gather(_play(stages[0], MATRIX[:half]), _play(stages[1], MATRIX[half:]))
    killed = stages[0].killed | stages[1].killed
    assert {step for _, step, _ in killed} == set(Step)
    assert killed == {(name, step, moment) for name, step, _ in MATRIX for moment in MOMENTS}
    for stage in stages:
        for name in (ISSUER, ACCEPTOR, CLEARING):
            home = stage.network.home(name)
            report = database(home / ("clearing.db" if name == CLEARING else "node.db"))
            assert report.passed, [row for row in report.checks if not row.passed]


async def _play(stage: Stage, rows: Sequence[Row]) -> None:
    """Every row's scene; then the network settles."""
    for name, step, scene in rows:
        began = time.monotonic()
        await _prepare(stage, name, step, scene)
        await stage.die_around(name, step, scene)
        print(f"{name} around {step.value}: {time.monotonic() - began:.1f} s", flush=True)
    await scenes.settle(stage)
    window = await stage.open_window() - 1
    answer = await stage.network.operator.reconcile_window(window)
    assert not answer.breaks
    assert not answer.unreachable


async def _prepare(stage: Stage, name: str, step: Step, scene: Scene) -> None:
    """What must lie ready before the process is started in order to die."""
    if step is Step.PROGRAMME:
        version = stage.versions[name] = stage.versions.get(name, 1) + 1
        text = programme(name, version)
        (stage.network.home(name) / "programme.yaml").write_text(text, "utf-8")
    if step is Step.EXPIRE:
        await scenes.ripening(stage)
    if scene is scenes.partner_refund and not stage.partner_sales:
        await scenes.partner(stage)
    if step is Step.VOUCHER and not stage.vouchers:
        await scenes.reward(stage)
