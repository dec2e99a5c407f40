"""Every kind of durable step, and the hook that lets a test kill a process around its commit.

Each command names its step. The crash tests walk this enum: for every member they stop a
process right before and right after the commit which carries it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Literal

Moment = Literal["before", "after"]

Fault = Callable[["Step", Moment], None]
"""Called for each distinct step of a batch right before and right after its commit.

What it raises is not caught: the batch ends there, as if the process had died.
"""

KILL_AT = "COMITY_KILL_AT"


class Step(StrEnum):
    """One member for each kind of durable step."""

    # a brand's node
    ENROL = "enrol"
    DEVICE = "device"
    PURCHASE = "purchase"
    EVENT = "event"
    MARK = "mark"
    CONVERT = "convert"
    REFUND = "refund"
    SPEND = "spend"
    REINSTATE = "reinstate"
    ADJUST = "adjust"
    EXPIRE = "expire"
    RESERVE = "reserve"
    HOLD = "hold"
    DELIVER = "deliver"
    FAIL = "fail"
    POST = "post"
    RELEASE = "release"
    RESTORE = "restore"
    RETURN = "return"
    VOUCHER = "voucher"
    STOCK = "stock"
    PLEDGE = "pledge"
    ACCRUE = "accrue"
    EXCHANGE = "exchange"
    PROPOSE = "propose"
    OFFER = "offer"
    ACCEPT = "accept"
    TERMINATE = "terminate"
    MIRROR = "mirror"
    ACK = "ack"
    ERASE = "erase"
    PROGRAMME = "programme"
    LOCK = "lock"
    INVITE = "invite"
    FREEZE = "freeze"
    CLAIM = "claim"
    WEBHOOK = "webhook"

    # clearing
    ADMIT = "admit"
    AGREE = "agree"
    DECIDE = "decide"
    REPORT = "report"
    HEADS = "heads"
    CLOSE = "close"
    SETTLE = "settle"
    ACKNOWLEDGE = "acknowledge"
    ROTATE = "rotate"
    REVOKE = "revoke"
    STATUS = "status"
    CAP = "cap"
    HEARD = "heard"


def no_fault(step: Step, moment: Moment) -> None:
    """The hook of a process that nobody is testing."""


def kill_at_from_environment(environment: Mapping[str, str] = os.environ) -> Fault:
    """The hook that `COMITY_KILL_AT` asks for, e.g. `hold:before`: SIGKILL to this process.

    Without the variable nothing happens at any step. Raises ValueError on a malformed one, so
    that a crash test with a typing error does not pass by never crashing.
    """
    wanted = environment.get(KILL_AT, "")
    if not wanted:
        return no_fault
    name, _, moment = wanted.partition(":")
    if moment not in ("before", "after"):
        raise ValueError(f"{KILL_AT} must read <step>:before or <step>:after, not {wanted!r}")
    step = Step(name)

    def kill(at: Step, when: Moment) -> None:
        if at is step and when == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill
