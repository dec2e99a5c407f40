"""Every command explains itself, and the reference says what the code says."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from cli.main import application, run
from cli.parts import PARTS
from tools import reference


def leaves(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in getattr(found, "commands", {}).items():
        if getattr(inner, "commands", None):
            yield from leaves(inner, (*path, name))
        else:
            yield (*path, name), inner


ROOT = typer.main.get_command(application())
COMMANDS = dict(leaves(ROOT))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(path: tuple[str, ...]) -> None:
    found = COMMANDS[path]
    assert found.help
    assert found.help[0].isupper()
    examples = reference.examples(found)
    assert examples
    for example in examples:
        assert tuple(example.split()[1 : len(path) + 1]) == path


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_example_parses(path: tuple[str, ...]) -> None:
    for example in reference.examples(COMMANDS[path]):
        words = shlex.split(example)[len(path) + 1 :]
        COMMANDS[path].make_context(path[-1], words)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_has_help(path: tuple[str, ...]) -> None:
    silent = [
        one.name
        for one in COMMANDS[path].params
        if not one.help and one.name not in ("help", "quantity")
    ]
    assert silent == []


@pytest.mark.parametrize("part", PARTS)
def test_a_part_says_of_itself_what_the_list_says_of_it(part: str) -> None:
    found = ROOT.commands[part]  # type: ignore[attr-defined]
    assert (found.help or "").splitlines()[0] == PARTS[part].help


@pytest.mark.parametrize("page", reference.PAGES)
def test_the_reference_is_current(page: str) -> None:
    written = reference.path(page).read_text("utf-8")
    assert written == reference.PAGES[page](), "run: python -m tools.reference"


def test_help_shows_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["member", "quote", "--help"]) == 0
    assert "comity member quote car-wash --at fuel --with grocery" in capsys.readouterr().out


def test_the_list_of_commands_needs_no_command_to_be_loaded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in PARTS)


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["membr"]) == 2
    assert "member" in capsys.readouterr().err
