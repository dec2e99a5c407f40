"""`comity programme`: what it prints, for people and for scripts, and when it fails."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from cli.main import run
from node.programme import presets, read_programme
from node.programme.design import MODES
from node.programme.schema import schema_text

ANSWERS = ("--goal", "loyalty", "--resources", "Bread", "--need", "Belonging", "--name", "Corner")
ROOT = Path(__file__).resolve().parents[2]
NAMES = re.compile(r"`([a-z-]+)`").findall
Output = pytest.CaptureFixture[str]


class Person(io.StringIO):
    """Someone at a terminal, who has made up their mind."""

    def isatty(self) -> bool:
        return True


@pytest.mark.row("O1")
@pytest.mark.parametrize("mode", MODES)
def test_the_answers_become_a_programme(mode: str, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "corner.yaml"
    command = ["programme", "init", *ANSWERS, "--mode", mode, "--out", str(out)]
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mode"] == mode
    assert read_programme(out.read_bytes()).programme.aim is not None
    before = out.read_bytes()
    assert run(command) != 0
    assert "exists already" in capsys.readouterr().err
    assert out.read_bytes() == before


@pytest.mark.row("O1")
def test_the_three_questions_are_asked_of_a_person(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Person("profit\nspend\nCorner\nBread\nBelonging\n"))
    out = tmp_path / "corner.yaml"
    assert run(["programme", "init", "--out", str(out)]) == 0
    asked = capsys.readouterr().err
    assert asked.index("1. What is it for?") < asked.index("2. With what") < asked.index("3. Which")
    found = read_programme(out.read_bytes()).programme
    assert found.aim is not None
    assert (found.name, found.aim.goal, found.aim.need) == ("Corner", "spend", "Belonging")


def test_a_script_is_told_what_it_left_out(tmp_path: Path, capsys: Output) -> None:
    out = str(tmp_path / "x.yaml")
    assert run(["programme", "init", "--goal", "spend", "--out", out]) == 2
    assert "--name" in capsys.readouterr().err
    assert run(["programme", "init", *ANSWERS[2:], "--goal", "profit", "--out", out]) == 2
    assert run(["programme", "init", *ANSWERS, "--mode", "fun", "--out", out]) == 2
    assert run(["programme", "init", *ANSWERS, "--from", "nothing", "--out", out]) != 0
    assert run(["programme", "init", *ANSWERS, "--zone", "Mars/Olympus", "--out", out]) != 0
    assert "Line 4 of the programme file, zone" in capsys.readouterr().err
    assert not Path(out).exists()


@pytest.mark.row("T14", "T13")
def test_pitfalls_are_told_with_their_line(capsys: Output) -> None:
    assert run(["programme", "lint", "tmall"]) == 0
    assert "dual-reward: purchase earns points and growth at once" in capsys.readouterr().out
    assert run(["programme", "lint", "tmall", "--strict", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    lines = presets.programme("tmall").decode().splitlines()
    (dual,) = [one for one in found if one["pitfall"] == "dual-reward"]
    assert lines[dual["line"] - 1].strip().startswith("growth: {on: purchase")
    assert "sameness" not in {one["pitfall"] for one in found}
    accepted = [word for one in found for word in ("--accept", one["pitfall"])]
    assert run(["programme", "lint", "tmall", "--strict", *accepted]) == 0
    assert "Nothing to say against Tmall." in capsys.readouterr().out


def test_mistakes_are_told_before_pitfalls(tmp_path: Path, capsys: Output) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_bytes(presets.programme("tmall").replace(b"on: purchase", b"on: parchase", 1))
    for name in ("lint", "show", "try"):
        more = [str(file)] if name == "try" else []
        assert run(["programme", name, str(file), *more]) != 0
        assert "earn.points: only a purchase has an amount" in capsys.readouterr().err
    assert run(["programme", "lint", str(tmp_path / "none.yaml")]) != 0
    assert "There is no file" in capsys.readouterr().err


@pytest.mark.row("P19", "P25")
def test_members_are_told_in_plain_words_what_changes(capsys: Output) -> None:
    assert run(["programme", "diff", "starbucks-2015", "starbucks-2016"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("− New stars live 6 months, not 12 months.\n")
    assert "members are owed notice" in shown.err
    assert run(["programme", "diff", "tmall", "tmall"]) == 0
    assert capsys.readouterr().out == "Nothing changes for members.\n"
    assert run(["programme", "diff", "tmall", "tmall", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_can_be_shown_and_tried(name: str, capsys: Output) -> None:
    assert run(["programme", "show", name]) == 0
    assert run(["programme", "presets", "show", name]) == 0
    assert run(["programme", "presets", "show", name, "--events"]) == 0
    assert run(["programme", "try", name]) == 0
    capsys.readouterr()
    assert run(["programme", "try", name, "--json"]) == 0
    tried = json.loads(capsys.readouterr().out)
    assert tried["wrong"] == []
    assert run(["programme", "show", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["units"]


def test_a_trial_says_why_and_fails_if_it_goes_otherwise(tmp_path: Path, capsys: Output) -> None:
    events = tmp_path / "events.yaml"
    events.write_text(
        "enrolled: 2012-01-01\n"
        "steps:\n"
        "  - {at: 2012-03-01 20:00, purchase: 1280}\n"
        "  - {at: 2012-03-01 21:00, event: review, attributes: {words: 3}}\n"
        "  - {at: 2012-03-01 22:00, spend: 500, expect: {balance: {coins: 13}, refused: true}}\n"
    )
    assert run(["programme", "try", "gewara", str(events), "--why"]) == 1
    shown = capsys.readouterr()
    assert "ticket: +12, earned (1280 at 1/100, rounded down)" in shown.out
    assert "review: +0, condition (event.number.words >= 20)" in shown.out
    assert "refused: " in shown.out
    assert "Line 5: 12 coins available, expected 13." in shown.err
    assert run(["programme", "try", str(events), str(events)]) != 0
    assert run(["programme", "try", "gewara", str(tmp_path / "none.yaml")]) != 0


def test_the_page_on_designing_is_true(tmp_path: Path, capsys: Output) -> None:
    page = (ROOT / "docs" / "how-to" / "programme.md").read_text("utf-8")
    named = {
        name for row in re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE) for name in NAMES(row)
    }
    source = (ROOT / "node" / "programme" / "lint.py").read_text("utf-8")
    assert named == set(re.findall(r'Finding\(\s*"([a-z-]+)"', source))
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    file, events = tmp_path / "corner.yaml", tmp_path / "events.yaml"
    assert run(["programme", "init", *ANSWERS, "--mode", "both", "--out", str(file)]) == 0
    events.write_text(example)
    assert run(["programme", "try", str(file), str(events)]) == 0, capsys.readouterr().err


def test_the_schema_is_the_published_one(tmp_path: Path, capsys: Output) -> None:
    assert run(["programme", "schema"]) == 0
    assert capsys.readouterr().out == schema_text()
    out = tmp_path / "schema.json"
    assert run(["programme", "schema", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["title"] == "A programme of a Comity brand"


HISTORY = """member,at,what,id,amount_minor,points
ann,2026-01-05T10:00,purchase,a1,40000,0
ann,2026-02-05T10:00,purchase,a2,40000,0
bob,2026-02-05T10:00,purchase,b1,500,0
"""


def test_a_history_under_another_version_says_who_gains_and_who_loses(
    tmp_path: Path, capsys: Output
) -> None:
    history = tmp_path / "history.csv"
    history.write_text(HISTORY)
    command = ["programme", "what-if", "starbucks-2015", "starbucks-2016", str(history)]
    assert run([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gains"] + found["loses"] + found["same"] == 2
    assert {one["member"]: one["verdict"] for one in found["members"]}["ann"] == "gains"
    assert run([*command, "--members", "--worth", "100/25"]) == 0
    assert "members who gain" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "options", "sentence"),
    [
        ("ann,2026-01-05T10:00,dance,a1,1,0", [], "dance is no event"),
        ("ann,2026-01-05T10:00,refund,a1,0,0", [], "There is no event a1"),
        ("ann,2026-01-05T10:00,purchase,a1,1,0", ["--worth", "1"], "MINOR/POINTS"),
        ("ann,2026-01-05T10:00,purchase,a1,1,0", ["--worth", "0/1"], "MINOR/POINTS"),
    ],
)
def test_a_history_that_cannot_be_lived_is_refused(
    line: str, options: list[str], sentence: str, tmp_path: Path, capsys: Output
) -> None:
    history = tmp_path / "history.csv"
    history.write_text(f"{HISTORY.partition(chr(10))[0]}\n{line}\n")
    assert run(["programme", "what-if", "tmall", "tmall", str(history), *options]) != 0
    assert sentence in capsys.readouterr().err
    assert run(["programme", "what-if", "tmall", "tmall", str(tmp_path / "none.csv")]) != 0


@pytest.mark.row("T4")
def test_a_history_suggests_after_how_many_purchases_customers_stay(
    tmp_path: Path, capsys: Output
) -> None:
    # Customers by purchases, in the proportions of the CDNOW data.
    bought = {1: 511, 2: 172, 3: 94, 4: 61, 5: 42, 6: 120}
    lines = [HISTORY.partition("\n")[0]]
    for count, customers in bought.items():
        for customer in range(customers):
            member = f"m{count}-{customer}"
            lines += [
                f"{member},2026-01-{1 + each:02d}T10:00,purchase,{member}-{each},3000,0"
                for each in range(count)
            ]
    history = tmp_path / "history.csv"
    history.write_text("\n".join(lines) + "\n")
    assert run(["programme", "suggest", "tmall", str(history), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["customers"], found["node"]) == (1_000, 3)
    assert [one["again_per_mille"] for one in found["repeats"][:3]] == [489, 648, 703]
    (node,) = [one for one in found["levels"] if "retention node" in one["why"]]
    # Three purchases of 30.00 in a number people remember: all who came three times have it.
    assert (node["growth"], node["customers"]) == (80, 317)
    assert run(["programme", "suggest", "tmall", str(history)]) == 0
    assert "they stay after" in capsys.readouterr().out
    history.write_text(HISTORY)
    assert run(["programme", "suggest", "tmall", str(history)]) != 0
    assert "longer time" in capsys.readouterr().err
