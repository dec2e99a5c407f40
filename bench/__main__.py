"""`python -m bench [--short | --million] [NAME…]`: measure, print a table, write the results."""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import events, ledger, redeeming, sweeping, verifying, windows
from bench.machine import durability, machine, sizes, versions
from bench.measure import Extent, Figure, NotDurable, NotMeasured, filesystem, require_durable

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results.json"

Bench = Callable[[Path, Extent], list[Figure]]

BENCHES: Mapping[tuple[str, ...], Bench] = {
    ("ledger_sqlite",): ledger.sqlite,
    ("ledger_postgresql",): ledger.postgresql,
    ("ledger_hot",): ledger.hot,
    ("programme_events",): events.programme_events,
    ("retier",): sweeping.retier,
    ("expiry",): sweeping.expiry,
    ("redemptions", "redemption_latency"): redeeming.network,
    ("window_close",): windows.window_close,
    ("verify_log",): verifying.verify_log,
}
"""What is measured together, by the names of its figures."""

NAMES = tuple(name for names in BENCHES for name in names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benches named, or all; 2 if nothing durable can be measured here."""
    asked = _arguments(arguments)
    unknown = [name for name in asked.names if name not in NAMES]
    if unknown:
        print(f"There is no figure {unknown[0]}; there are {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    console = Console()
    extent = Extent(short=asked.short, million=asked.million)
    place = Path(asked.folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        require_durable(place)
        # PostgreSQL's data lies where temporary files do.
        require_durable(Path(tempfile.gettempdir()))
    except NotDurable as error:
        print(error, file=sys.stderr)
        return 2
    began = time.monotonic()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="run-", dir=place) as scratch:
        folder = Path(scratch)
        for names, bench in BENCHES.items():
            if asked.names and not set(names) & set(asked.names):
                continue
            try:
                with console.status(f"measuring {' and '.join(names)} …"):
                    figures += bench(folder, extent)
            except NotMeasured as missing:
                console.print(f"{' and '.join(names)}: not measured. {missing}")
        results = {
            "short": extent.short,
            "million": extent.million,
            "rounds": extent.rounds,
            "seconds": round(time.monotonic() - began, 1),
            "folder": {"path": str(place.resolve()), "filesystem": filesystem(place)},
            "machine": machine(),
            "versions": versions(),
            "sizes": sizes(),
            "durability": durability(folder),
            "figures": [figure.plain() for figure in figures],
        }
    RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", "utf-8")
    _show(console, figures)
    seconds = time.monotonic() - began
    console.print(
        f"{extent.rounds} rounds, {seconds:.0f} s. Written to {RESULTS.relative_to(ROOT)}."
    )
    return 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure how fast Comity is, each figure beside a baseline.",
        epilog="Example: python -m bench --short ledger_sqlite ledger_hot",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures; all of them by default")
    parser.add_argument("--short", action="store_true", help="fewer and shorter measurements")
    parser.add_argument(
        "--million", action="store_true", help="retier and expiry with a million, half an hour"
    )
    parser.add_argument(
        "--folder",
        default=str(ROOT / ".bench"),
        help="where data is written, on a disk (default: .bench in the repository)",
    )
    return parser.parse_args(arguments)


def _show(console: Console, figures: Sequence[Figure]) -> None:
    table = Table(title="How fast", title_justify="left", show_lines=True)
    for heading in ("figure", "measured", "baseline"):
        table.add_column(heading, overflow="fold")
    for heading in ("ratio", "floor"):
        table.add_column(heading, justify="right", no_wrap=True)
    for figure in figures:
        plain = figure.plain()
        measured = f"{plain['value']:,} {figure.unit}"
        if figure.percentiles_ms:
            parts = [
                f"{name.removesuffix('_ms')} {value:.1f} ms"
                for name, value in figure.percentiles_ms.items()
            ]
            measured += f"\n[dim]{', '.join(parts)}[/dim]"
        colour = "green" if figure.reached else "red"
        floor = str(plain["floor"])
        if figure.wish is not None:
            floor += f"\n[dim]wish {plain['wish']}[/dim]"
        table.add_row(
            figure.name,
            measured,
            f"{plain['baseline_value']:,}\n[dim]{figure.baseline}[/dim]",
            f"[{colour}]{figure.ratio:.2f}[/{colour}]",
            floor,
        )
    console.print(table)


if __name__ == "__main__":
    status = main()
    # What benches set apart would look leaked to DuckDB when the process ends.
    gc.unfreeze()
    sys.exit(status)
