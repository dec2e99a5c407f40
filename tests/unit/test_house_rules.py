"""Rules of the house which no linter knows."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 600
VAGUE = {"util", "utils", "helper", "helpers", "manager", "managers", "base", "common", "misc"}

# Written in pieces, so that this file keeps the rule as well.
ONE_MACHINE = re.compile(
    "|".join(
        (
            r"(?<![\w.-])/" + r"work/",
            r"(?<![\w.-])/" + r"root/",
            r"(?<![\w.-])/" + r"home/\w",
            r"(?<![\w.-])/" + r"opt/\w",
        )
    )
)
PACKAGE_INDEX = re.compile(
    "|".join(
        ("pypi" + r"\.org", "python" + r"hosted\.", r"registry\.\w+\.\w+", r"://\S*/" + "simple")
    )
)


@cache
def files() -> tuple[Path, ...]:
    """Every file which is committed or about to be."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("the rules are read from a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = sorted(set(listed.stdout.split("\0")) - {""})
    return tuple(ROOT / name for name in names if (ROOT / name).is_file())


def lines() -> Iterator[tuple[str, str]]:
    """Each line of text with the place where it stands."""
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def hand_written() -> list[Path]:
    return [path for path in files() if path.suffix == ".py" and "_pb2" not in path.name]


def test_no_file_names_a_path_of_one_machine() -> None:
    assert [place for place, line in lines() if ONE_MACHINE.search(line)] == []


def test_no_file_names_a_package_index() -> None:
    assert [place for place, line in lines() if PACKAGE_INDEX.search(line)] == []


def test_hand_written_modules_are_short() -> None:
    counted = {path: len(path.read_text().splitlines()) for path in hand_written()}
    long = {str(path.relative_to(ROOT)): n for path, n in counted.items() if n > LONGEST}
    assert long == {}


def test_modules_are_named_for_what_they_hold() -> None:
    assert [
        str(p.relative_to(ROOT)) for p in hand_written() if {p.stem, p.parent.name} & VAGUE
    ] == []


def test_modules_say_why_they_exist() -> None:
    opening = ('"""', "#!", 'r"""')
    silent = [
        str(path.relative_to(ROOT))
        for path in hand_written()
        if not path.read_text().startswith(opening)
    ]
    assert silent == []


@pytest.mark.parametrize("text", ["see /" + "work/main", "(/" + "root/.cache)", "cd /" + "opt/x"])
def test_a_path_of_one_machine_is_recognised(text: str) -> None:
    assert ONE_MACHINE.search(text)


@pytest.mark.parametrize("text", ["a/" + "work/b", "tests/" + "home/x", "net" + "work/"])
def test_a_relative_path_is_not_one_of_a_machine(text: str) -> None:
    assert not ONE_MACHINE.search(text)
