"""PostgreSQL's own benchmark, run against the server which the ledger also uses."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from bench.measure import NotMeasured

SCALE = 32
CLIENTS = 32
THREADS = 2

NAME = f"pgbench -s {SCALE} -c {CLIENTS} -j {THREADS}"


class Pgbench:
    """pgbench's tables in a database, and its transactions per second."""

    def __init__(self, binaries: Path | None, url: str) -> None:
        if binaries is None or not (binaries / "pgbench").exists():
            raise NotMeasured("pgbench was not found beside the server's binaries.")
        self._program = binaries / "pgbench"
        self._url = url
        self._call("-i", "-q", "-s", str(SCALE))

    def run(self, seconds: float) -> float:
        """Transactions per second of the built-in TPC-B-like script."""
        arguments = ("-n", "-c", str(CLIENTS), "-j", str(THREADS), "-T", str(max(1, int(seconds))))
        said = self._call(*arguments)
        found = re.search(r"tps = ([0-9.]+)", said)
        if found is None:
            raise ValueError(f"pgbench said no rate:\n{said}")
        return float(found[1])

    def _call(self, *arguments: str) -> str:
        done = subprocess.run(
            [self._program, *arguments, self._url], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ChildProcessError(f"pgbench failed:\n{done.stderr}")
        return done.stdout
