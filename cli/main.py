"""`comity`: one command for members, merchants, operators, and whoever wants to verify.

Failures end here, in words (`cli.failures`): a caller of a command never sees a traceback.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from cli import output
from cli.commands import WriteId, group
from cli.failures import DONE, INTERRUPTED, UNDECIDED, UNEXPECTED, advice, exit_code, sentence
from cli.parts import PARTS, Part
from comity.errors import ComityError

HELP = (
    "Comity: points earned at one brand buy rewards at another.\n\n"
    "Brands run `node`, the network's operator runs `clearing`, tills and managers use "
    "`merchant`, members `member`, and anyone may `verify`."
)


def application(only: str | None = None) -> typer.Typer:
    """The command tree; with `only`, just that part is there in full and the rest by name."""
    app = group(HELP)
    app.callback()(_options)
    for name, part in PARTS.items():
        if only is not None and name != only:
            _by_name(app, name, part)
        elif part.is_group:
            app.add_typer(part.load().app, name=name)
        else:
            part.load().add_to(app)
    return app


def _by_name(app: typer.Typer, name: str, part: Part) -> None:
    """What the list of commands says of a part which is not needed now."""
    if part.is_group:
        app.add_typer(group(part.help), name=name)
    else:
        app.command(name, help=part.help)(lambda: None)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"comity {version('comity')}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Options before any command."""


def run(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code; whatever goes wrong is told on stderr."""
    WriteId.chosen = ""
    # Completion asks for any command, so it needs them all.
    first = next((word for word in arguments if not word.startswith("-")), "")
    app = application(None if "_COMITY_COMPLETE" in os.environ else first)
    try:
        app(args=list(arguments), prog_name="comity")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else DONE if end.code is None else 1
    except ComityError as error:
        code = exit_code(error)
        output.fail(sentence(error), what_to_do=_what_to_do(error, code))
        return code
    except KeyboardInterrupt:
        output.fail("Interrupted.")
        return INTERRUPTED
    except OSError as error:
        output.fail(_about_file(error))
        return 1
    except Exception as error:  # noqa: BLE001  the last resort of a program for people
        if os.environ.get("COMITY_DEBUG"):
            traceback.print_exc()
        output.fail(
            f"Something went wrong that should not: {type(error).__name__}: {error}",
            what_to_do="Run it again with COMITY_DEBUG=1 and report what it prints.",
        )
        return UNEXPECTED
    return DONE


def _what_to_do(error: ComityError, code: int) -> str:
    if code == UNDECIDED and WriteId.chosen:
        return (
            f"{advice(error)}\nAdd `--id {WriteId.chosen}` to it, so that it is done once even "
            "if this attempt was."
        )
    return advice(error)


def _about_file(error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    return f"{error.filename}: {reason}." if error.filename else f"The system says: {reason}."


def main() -> None:
    """The entry point of the `comity` command."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
