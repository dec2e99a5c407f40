"""The hook that kills a process around a commit."""

from __future__ import annotations

import subprocess
import sys

import pytest

from comity.ledger.steps import KILL_AT, Step, kill_at_from_environment


def test_without_the_variable_nothing_dies() -> None:
    fault = kill_at_from_environment({})
    for step in Step:
        fault(step, "before")
        fault(step, "after")


@pytest.mark.parametrize("wanted", ["hold", "hold:during", "hodl:before", ":before"])
def test_a_typing_error_is_reported_and_not_ignored(wanted: str) -> None:
    with pytest.raises(ValueError, match=r"hold|hodl|''"):
        kill_at_from_environment({KILL_AT: wanted})


def test_the_process_dies_at_the_named_moment_only() -> None:
    code = (
        "from comity.ledger.steps import Step, kill_at_from_environment\n"
        "fault = kill_at_from_environment({'COMITY_KILL_AT': 'hold:after'})\n"
        "fault(Step.POST, 'after'); fault(Step.HOLD, 'before'); print('alive', flush=True)\n"
        "fault(Step.HOLD, 'after'); print('still alive', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "alive\n"
    assert done.returncode == -9
