"""One writer for each ledger: a lease in the database, fenced by a number that only grows.

Whoever acquires the lease raises the fence, and every commit checks that the fence is still its
own, so a writer that slept through its lease cannot write once another has taken over. The time
limit only decides how long a silent holder is waited for.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select, update

from comity.clock import SECOND, rfc3339
from comity.errors import LeaseHeld, MissingLedger
from comity.ledger.schema import ledgers

LEASE_US = 10 * SECOND


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one ledger, as long as its fence is the highest."""

    ledger: str
    holder: str
    fence: int


def acquire(
    connection: Connection,
    *,
    ledger: str,
    holder: str,
    now_us: int,
    is_dead: Callable[[str], bool],
) -> Lease:
    """Take the lease in a write transaction, raising its fence.

    Raises LeaseHeld while another holder's lease runs and `is_dead` cannot tell that this
    holder is gone.
    """
    columns = (ledgers.c.lease_holder, ledgers.c.lease_fence, ledgers.c.lease_until_us)
    query = select(*columns).where(ledgers.c.ledger == ledger).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise MissingLedger(f"There is no ledger {ledger} in this database; create it with init.")
    current, fence, until_us = row
    if current and until_us > now_us and not is_dead(current):
        raise LeaseHeld(
            f"Ledger {ledger} is written by {current} until {rfc3339(until_us)}. "
            "Stop that process, or start this one later.",
            metadata={"holder": current, "until": rfc3339(until_us)},
        )
    lease = Lease(ledger=ledger, holder=holder, fence=fence + 1)
    connection.execute(
        update(ledgers)
        .where(ledgers.c.ledger == ledger)
        .values(lease_holder=holder, lease_fence=lease.fence, lease_until_us=now_us + LEASE_US)
    )
    return lease


def renew(connection: Connection, lease: Lease, *, now_us: int) -> None:
    """Extend the lease, in a write transaction. Raises LeaseHeld if another has taken over."""
    _update_own(connection, lease, holder=lease.holder, until_us=now_us + LEASE_US)


def release(connection: Connection, lease: Lease) -> None:
    """Give the lease back, in a write transaction, so the next holder need not wait."""
    _update_own(connection, lease, holder="", until_us=0)


def taken_over(lease: Lease) -> LeaseHeld:
    """The error of a writer whose fence is no longer the highest."""
    return LeaseHeld(
        f"Another process has taken over ledger {lease.ledger}. "
        "This one must stop; what it had not committed was not done."
    )


def _update_own(connection: Connection, lease: Lease, *, holder: str, until_us: int) -> None:
    found = connection.execute(
        update(ledgers)
        .where(ledgers.c.ledger == lease.ledger, ledgers.c.lease_fence == lease.fence)
        .values(lease_holder=holder, lease_until_us=until_us)
    )
    if found.rowcount != 1:
        raise taken_over(lease)


# --- who holds it ---------------------------------------------------------------------


def this_process(nonce: str) -> str:
    """A holder's name for this process: host, boot, process, its start, and a nonce."""
    pid = os.getpid()
    return "/".join((socket.gethostname(), _boot_id(), str(pid), _started(pid), nonce))


def is_dead_here(holder: str) -> bool:
    """Whether `holder` was a process of this host that no longer runs.

    False whenever that cannot be told: for another host, and where there is no /proc.
    """
    parts = holder.split("/")
    if len(parts) != 5 or not parts[2].isdigit():
        return False
    host, boot, pid, started, _ = parts
    if host != socket.gethostname() or not boot or not started:
        return False
    return boot != _boot_id() or started != _started(int(pid))


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in ticks since boot; empty if it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The second field, the command in parentheses, may itself hold spaces.
    fields = stat[stat.rindex(")") + 2 :].split()
    return "" if fields[0] in "ZX" else fields[19]
