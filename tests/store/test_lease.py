"""Telling whether the process that holds a lease is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from comity.ledger.lease import is_dead_here, this_process

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def test_this_process_is_alive() -> None:
    assert not is_dead_here(this_process("nonce"))


def test_a_process_that_ended_is_dead() -> None:
    code = "from comity.ledger.lease import this_process; print(this_process('x'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert is_dead_here(done.stdout.strip())


def test_a_killed_process_that_nobody_has_reaped_is_dead() -> None:
    code = "from comity.ledger.lease import this_process; print(this_process('x'), flush=True)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    holder = child.stdout.readline().strip()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead_here(holder)
    child.stdout.close()
    child.wait()


def test_a_process_number_used_again_is_another_process() -> None:
    host, boot, pid, started, nonce = this_process("x").split("/")
    assert is_dead_here("/".join((host, boot, pid, str(int(started) - 1), nonce)))


def test_a_host_that_restarted_has_no_processes_of_before() -> None:
    host, _, pid, started, nonce = this_process("x").split("/")
    assert is_dead_here("/".join((host, "another-boot", pid, started, nonce)))


@pytest.mark.parametrize("holder", ["elsewhere/b/1/1/n", "", "test", "a/b/c/d/e"])
def test_what_cannot_be_told_is_taken_as_alive(holder: str) -> None:
    assert not is_dead_here(holder)
