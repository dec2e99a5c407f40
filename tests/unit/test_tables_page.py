"""Every stored table is accounted for: it follows from a log and is checked, or nobody can."""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

import node
from clearing.tables import metadata as clearing_tables
from comity.ledger.schema import metadata as kernel_tables
from node.tables import metadata as node_tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "tables.md"
SOURCES = {
    "log", "openings", "mirror", "private", "itself",
    "its own key", "other logs' keys", "clearing's key",
}  # fmt: skip
KERNEL = set(kernel_tables.tables)

for module in pkgutil.iter_modules(node.__path__):
    if module.name.endswith("tables"):
        import_module(f"node.{module.name}")


def listed(section: str) -> dict[str, set[str]]:
    """The tables of a section with what they are said to follow from."""
    text = PAGE.read_text(encoding="utf-8").partition(f"## {section}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)
    assert len({name for name, _ in rows}) == len(rows)
    return {name: set(sources.strip().split(", ")) for name, sources in rows}


@pytest.mark.parametrize(
    ("section", "tables"),
    [
        ("Every ledger", KERNEL),
        ("A node", set(node_tables.tables) - KERNEL),
        ("Clearing", set(clearing_tables.tables) - KERNEL),
    ],
)
def test_every_table_is_said_to_follow_from_a_log_or_to_be_private(
    section: str, tables: set[str]
) -> None:
    found = listed(section)
    assert found.keys() == tables
    for name, sources in found.items():
        assert sources <= SOURCES, name
        assert sources == {"private"} or "private" not in sources, name
