"""A programme that only tries things out runs where everybody can see that."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

import node.init
from comity.clock import system_clock
from comity.errors import Refused
from node.sandbox import check_sandbox
from tests.brand import programme

FILE = b"""\
version: "1"
name: Trial
zone: UTC
currency: EUR
units: {points: {}}
earn: {purchase: {on: purchase, rate: {points: 1, per_minor: 100}}}
sandbox: true
"""


def create(folder: Path, network: str) -> None:
    node.init.init(
        folder,
        network=network,
        participant="grocery",
        programme=FILE,
        clock=system_clock,
        random=secrets.token_bytes,
    )


def test_a_node_in_sandbox_mode_joins_no_network_that_counts(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="sandbox"):
        create(tmp_path / "real", "town.example")
    create(tmp_path / "trial", "sandbox.town.example")


def test_any_programme_may_run_in_a_sandbox() -> None:
    for sandbox in (True, False):
        check_sandbox(programme(sandbox=sandbox), "sandbox.town.example")
    check_sandbox(programme(), "town.example")
