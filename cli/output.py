"""What commands print: tables for people, JSON for scripts, and nothing but that on stdout.

A number in JSON is a number, also a 64-bit one; an enum value is its last words in lower case;
bytes are base64. Times are microseconds since the epoch in JSON and UTC for people.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import typer
from google.protobuf.message import Message
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from cli.failures import USAGE
from comity.clock import SECOND
from comity.v1.common_pb2 import Money as MoneyMessage
from comity.wallet.offers import Money

EXPONENTS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF"), 0),
    **dict.fromkeys(("UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
"""Digits of the minor unit where they are not two (ISO 4217)."""


PIPE_WIDTH: Final = 240
_NUMBER: Final = re.compile(r"(?P<sign>-?)(?P<whole>[0-9]+)(\.(?P<fraction>[0-9]+))?")


def stdout() -> Console:
    """Where results go. Made anew each time, because tests and pipes exchange the stream."""
    return Console(highlight=False, soft_wrap=True)


def stderr() -> Console:
    """Where progress, remarks and failures go."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def page() -> Console:
    """Where tables go: as wide as the terminal, and in a pipe wide enough to break no id."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def say(text: str) -> None:
    """A result in words."""
    stdout().print(text, markup=False)


def remark(text: str) -> None:
    """Something a person may want to know and a script does not."""
    stderr().print(text, style="dim", markup=False)


def fail(sentence: str, *, what_to_do: str = "") -> None:
    """The one red sentence."""
    console = stderr()
    console.print(sentence, style="bold red", markup=False)
    if what_to_do:
        console.print(what_to_do, markup=False)


def print_json(content: Any) -> None:
    """`content` as JSON, messages included, on stdout."""
    typer.echo(json.dumps(plain(content), indent=2, ensure_ascii=False))


def emit(content: Any, as_json: bool, show: Callable[[], None]) -> None:
    """`content` for a script, or `show` for a person."""
    if as_json:
        print_json(content)
    else:
        show()


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    right: Sequence[str] = (),
    empty: str = "Nothing to show.",
) -> None:
    """A table; columns named in `right` are numbers."""
    drawn = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        drawn.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(str(cell)) for cell in row))
    if drawn.row_count:
        page().print(drawn)
    else:
        say(empty)


def facts(pairs: Iterable[tuple[str, object]], *, title: str = "") -> None:
    """Names and values, one a line; empty values are left out."""
    drawn = Table(title=title or None, title_justify="left", box=None, show_header=False)
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in pairs:
        if value not in ("", None):
            drawn.add_row(name, escape(str(value)))
    page().print(drawn)


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Shows long work on stderr; call the result with how much was done."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn() if total is not None else TextColumn("{task.completed}"),
    )
    console = stderr()
    silent = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=silent) as shown:
        task = shown.add_task(what, total=total)

        def advance(done: int) -> None:
            shown.advance(task, done)

        yield advance


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on stderr while something takes its time."""
    console = stderr()
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


# Values for people.


def money(amount: Money | MoneyMessage | None) -> str:
    """`12.34 USD`; empty for no money."""
    if amount is None or not amount.currency:
        return ""
    digits = EXPONENTS.get(amount.currency, 2)
    sign, minor = ("-" if amount.minor < 0 else ""), abs(amount.minor)
    whole, rest = divmod(minor, 10**digits)
    fraction = f".{rest:0{digits}d}" if digits else ""
    return f"{sign}{whole:,}{fraction} {amount.currency}"


def parse_money(text: str) -> MoneyMessage:
    """The money in `12.34 USD`, `12.34USD` or `USD 12.34`; typer.BadParameter otherwise."""
    words = text.replace(",", "").split()
    if len(words) == 1 and len(words[0]) > 3:
        words = [words[0][:-3], words[0][-3:]]
    if len(words) == 2 and words[0].isalpha():
        words.reverse()
    if len(words) == 2 and len(words[1]) == 3 and words[1].isalpha():
        currency = words[1].upper()
        digits = EXPONENTS.get(currency, 2)
        found = _NUMBER.fullmatch(words[0])
        if found is not None and len(found["fraction"] or "") <= digits:
            minor = int(found["whole"] + (found["fraction"] or "").ljust(digits, "0"))
            return MoneyMessage(currency=currency, minor=-minor if found["sign"] else minor)
    raise typer.BadParameter(f"{text!r} is no amount of money; write it like '12.34 USD'.")


def when(at_us: int) -> str:
    """A time in UTC to the second; empty for 0."""
    if not at_us:
        return ""
    return datetime.fromtimestamp(at_us // SECOND, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def number(value: int) -> str:
    """`1,234,567`."""
    return f"{value:,}"


def word(message: Message, field: str) -> str:
    """An enum field's value in words: `partly reversed`."""
    described = message.DESCRIPTOR.fields_by_name[field]
    return enum_word(described, getattr(message, field)).replace("_", " ")


def percent(basis_points: int) -> str:
    """`1234` hundredths of a percent as `12.34 %`."""
    sign = "-" if basis_points < 0 else ""
    whole, rest = divmod(abs(basis_points), 100)
    return f"{sign}{whole}.{rest:02d} %"


# Values for scripts.


def plain(content: Any) -> Any:
    """`content` in what JSON has."""
    if isinstance(content, Message):
        return {field.name: _field(content, field) for field in _shown(content)}
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, bytes):
        return base64.b64encode(content).decode()
    if isinstance(content, str | int | float | bool | None):
        return content
    return [plain(item) for item in content]


def _shown(message: Message) -> Iterator[Any]:
    for field in message.DESCRIPTOR.fields:
        always = field.is_repeated or field.message_type is None
        if (always and field.containing_oneof is None) or message.HasField(field.name):
            yield field


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.enum_type is None:
        return plain(value)
    if field.is_repeated:
        return [enum_word(field, item) for item in value]
    return enum_word(field, value)


def enum_word(field: Any, value: int) -> str:
    """The value's name without what all values of its enum begin with, in lower case."""
    values = field.enum_type.values_by_number
    if value not in values:
        return str(value)
    prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
    name: str = values[value].name
    return name.removeprefix(prefix).lower()


def bad_usage(sentence: str) -> typer.Exit:
    """Prints what is wrong with a command and is raised to end it."""
    fail(sentence)
    return typer.Exit(USAGE)
