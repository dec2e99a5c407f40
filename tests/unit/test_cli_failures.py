"""A failure is a sentence and an exit code, never a traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli import failures
from cli.failures import advice, exit_code
from cli.main import run
from comity.errors import BY_CODE, ComityError, InsufficientPoints, NotFound, Overloaded


@pytest.mark.parametrize("code", BY_CODE)
def test_every_error_has_an_exit_code_which_the_table_explains(code: str) -> None:
    found = exit_code(BY_CODE[code]("something"))
    assert re.search(rf"^    {found} ", failures.__doc__ or "", flags=re.MULTILINE)


def test_an_error_takes_the_exit_code_of_the_nearest_class_above() -> None:
    assert exit_code(InsufficientPoints("")) == 1
    assert exit_code(Overloaded("")) == 5
    assert exit_code(ComityError("")) == failures.UNEXPECTED


def test_advice_names_what_to_do_next() -> None:
    assert "comity member balance" in advice(InsufficientPoints(""))
    assert advice(NotFound("")) == ""


def test_a_missing_wallet_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["member", "balance", "--wallet", str(tmp_path / "none")]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "There is no wallet" in shown.err
    assert "Traceback" not in shown.err


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "missing.csv")
    assert run(["verify", "settlement", missing]) != 0
    assert "missing.csv" in capsys.readouterr().err


def test_a_folder_that_is_no_node_is_said_to_be_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["merchant", "totals", "--node", str(tmp_path)]) == 3
    assert capsys.readouterr().err


def test_a_bad_amount_is_wrong_usage_and_says_how_to_write_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["purchase", "acc_00", "twelve", "--purchase", "p1", "--node", str(tmp_path)]
    assert run(["merchant", *words]) == 2
    assert "12.34 USD" in capsys.readouterr().err
