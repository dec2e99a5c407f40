"""What is seen while the demonstration runs: a line for each stage, its progress, its result.

Where nobody watches (a pipe, a test) only the finished lines are printed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

Advance = Callable[[int, str], None]
"""Told how much more was done, and in words how things stand."""


class Screen:
    """Stages on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text)

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Stage]:
        """A piece of work; its line stays when it is done."""
        begun = time.monotonic()
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            *(() if total is None else (BarColumn(bar_width=24), MofNCompleteColumn())),
            TextColumn("[dim]{task.fields[standing]}"),
        )
        with Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        ) as shown:
            task = shown.add_task(title, total=total, standing="")
            stage = Stage(lambda done, text: shown.update(task, advance=done, standing=text))
            yield stage
        seconds = time.monotonic() - begun
        self._console.print(
            f"[green]✓[/green] {title} [dim]{stage.standing}{' · ' if stage.standing else ''}"
            f"{seconds:.1f} s[/dim]"
        )


class Stage:
    """One piece of work on the screen."""

    def __init__(self, show: Advance) -> None:
        self._show = show
        self.standing = ""

    def advance(self, done: int = 1, standing: str = "") -> None:
        """So much more is done; `standing` says how things stand, in a few words."""
        self.standing = standing or self.standing
        self._show(done, self.standing)
