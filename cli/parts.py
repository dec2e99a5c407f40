"""The groups and commands under `comity`, and the modules which hold them.

A command needs only its own group's modules, so only those are imported: `comity member balance`
does not wait for a server's libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One group, or one command, under `comity`. The first module declares it as `app`, or
    declares the command in its `add_to`; the others add commands to the group."""

    help: str
    modules: tuple[str, ...]
    is_group: bool = True

    def load(self) -> ModuleType:
        """The first module, once all have been imported."""
        first, *_ = [import_module(name) for name in self.modules]
        return first


PARTS: Final[Mapping[str, Part]] = {
    "member": Part(
        help="A member's wallet: several brands, one view of balances, rewards at all of them.",
        modules=("cli.member", "cli.redeem", "cli.rights", "cli.standing"),
    ),
    "merchant": Part(
        help="Tills and managers at a brand's node.",
        modules=(
            "cli.merchant",
            "cli.people",
            "cli.catalogue",
            "cli.agreements",
            "cli.joining",
            "cli.desk",
            "cli.imports",
            "cli.webhooks",
            "cli.events",
        ),
    ),
    "node": Part(
        help="A brand's node: create it, join a network, run it, back it up.",
        modules=("cli.node",),
    ),
    "programme": Part(
        help="A brand's programme file: write one, try it on events, publish it.",
        modules=("cli.programme", "cli.programme_node", "cli.what_if", "cli.suggest"),
    ),
    "clearing": Part(
        help="The network's operator: admits brands, sets caps, closes and settles windows.",
        modules=("cli.clearing", "cli.key_changes", "cli.windows", "cli.operate"),
    ),
    "verify": Part(
        help="Check what others say: a log, a receipt, a settlement. Nobody has to be trusted.",
        modules=("cli.verify",),
    ),
    "doctor": Part(
        help="Say in words why a connection fails: name, port, certificates, clock, health, log.",
        modules=("cli.doctor",),
        is_group=False,
    ),
    "demo": Part(
        help="Run a network of four brands through real purchases, settle it and verify it.",
        modules=("cli.demo.command",),
        is_group=False,
    ),
}
