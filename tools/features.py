"""Which feature of a membership programme is shown by which test.

`features.txt` names the features; tests carry their ids as `@pytest.mark.row("P6")`. The marks
are read from the sources, so that the page needs no test run.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def features() -> Iterator[tuple[str, str]]:
    """Ids with a sentence each, in order; a chapter is a letter alone with its title."""
    for line in (Path(__file__).parent / "features.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, text = line.partition(" ")
            yield name, text


def shown_by(tests: Path = ROOT / "tests") -> Mapping[str, list[str]]:
    """For each id the tests which carry it, `file: what it says`.

    Raises ValueError for an id which `features.txt` does not have.
    """
    known = {name for name, _ in features()}
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(tests.rglob("test_*.py")):
        place = path.relative_to(ROOT).as_posix()
        for test, row in _marks(ast.parse(path.read_text("utf-8"))):
            if row not in known:
                raise ValueError(f"{place}: there is no row {row} in features.txt")
            said = test.removeprefix("test_").replace("_", " ")
            found[row].append(f"{said} (`{place}`)")
    return found


def _marks(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.row":
                    for argument in mark.args:
                        yield node.name, str(ast.literal_eval(argument))


def page(notice: str) -> str:
    """The table of all features."""
    shown = shown_by()
    rows = [(name, text) for name, text in features() if len(name) > 1]
    lines = [
        "# What a programme can do",
        "",
        notice,
        "",
        f"{sum(name in shown for name, _ in rows)} of {len(rows)} features are shown by a test, "
        "which the last column names; the others come later and have their place in the same "
        "events, conditions and effects.",
    ]
    for name, text in features():
        if len(name) == 1:
            lines += ["", f"## {text}", "", "| # | feature | shown by |", "|---|---|---|"]
        else:
            lines.append(f"| {name} | {text} | {'<br>'.join(shown.get(name, ['later']))} |")
    return "\n".join(lines) + "\n"
