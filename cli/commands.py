"""How a command is declared: with an example, which `--help` and the reference both show.

A command only parses and prints. Those which talk to servers are written as coroutines, because
the clients are.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

import typer

Body = Callable[..., Any]


def group(help_text: str) -> typer.Typer:
    """A group of commands; without a command it shows its help."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def command(app: typer.Typer, name: str, *, example: str) -> Callable[[Body], Body]:
    """Declares a command of `app`. Each line of `example` is a command which a person may type."""
    lines = "\n\n".join(line.strip() for line in example.strip().splitlines())
    epilog = f"[bold]{'Examples' if chr(10) in lines else 'Example'}[/bold]\n\n{_quoted(lines)}"

    def declare(body: Body) -> Body:
        runs = _waiting(body) if inspect.iscoroutinefunction(body) else body
        app.command(name, epilog=epilog)(runs)
        return body

    return declare


def _quoted(text: str) -> str:
    return text.replace("[", "\\[")


def _waiting(body: Callable[..., Coroutine[Any, Any, Any]]) -> Body:
    @functools.wraps(body)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(body(*args, **kwargs))

    return run


class WriteId:
    """The id of the write a command makes. A failure names it, so that a repeat can use it."""

    chosen: str = ""

    @classmethod
    def of(cls, given: str | None) -> str:
        """The given id, or a new one."""
        cls.chosen = given or f"cli_{secrets.token_hex(12)}"
        return cls.chosen
