"""Writes `docs/reference` from the code; with `--check`, only says whether it is up to date.

commands.md   from the command tree
errors.md     from the error classes, their tree, and their exit codes
programme.md  from the marks of the tests: which feature is shown by which test
programme-fields.md, programme.schema.json   from the model of the programme file
rpcs.md       from the service descriptors, the permissions and the comments in the protos
settings.md   from the settings models of nodes and of clearing
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer
from google.protobuf.descriptor import ServiceDescriptor
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from cli.failures import advice, exit_code
from cli.main import application
from comity import errors
from comity.errors import BY_CODE, ComityError
from comity.rpc.authorisation import ANYONE, permissions
from comity.rpc.caller import CallerKind
from node.programme.schema import schema_text
from tools import features, programme_fields

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
PROTO = ROOT / "proto" / "comity" / "v1"
NOTICE: Final = "<!-- Made by `python -m tools.reference`; change the code instead. -->"
SERVICES: Final = ("member", "merchant", "office", "peer", "clearing", "operator", "log")
SETTINGS: Final = (
    ("A node", "node.settings", "NodeSettings", "COMITY_NODE_"),
    ("Clearing", "clearing.settings", "Settings", "COMITY_CLEARING_"),
)
BOUNDS: Final = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


# --- commands --------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its options and an example."""
    root = typer.main.get_command(application())
    lines = [
        "# Commands",
        "",
        NOTICE,
        "",
        "`comity --install-completion` teaches your shell the commands. Folders come from options "
        "or from the environment: `COMITY_WALLET`, `COMITY_NODE`, `COMITY_CLEARING`; a sealed "
        "wallet's passphrase from `COMITY_WALLET_PASSPHRASE`.",
        "",
        "## Exit codes",
        "",
        *_exit_codes(),
    ]
    for name, part in _subcommands(root):
        lines += ["", f"## comity {name}", "", _first_paragraphs(part)]
        if _subcommands(part):
            for path, leaf in _leaves(part, f"comity {name}"):
                lines += ["", f"### {path}", "", _first_paragraphs(leaf), *_details(path, leaf)]
        else:
            lines += _details(f"comity {name}", part)
    return "\n".join(lines) + "\n"


def _exit_codes() -> Iterator[str]:
    from cli import failures

    yield "| code | meaning |"
    yield "|---|---|"
    for code, meaning in re.findall(
        r"^    (\d+) +(.+)$", inspect.getdoc(failures) or "", flags=re.MULTILINE
    ):
        yield f"| {code} | {meaning} |"


def _subcommands(found: Any) -> list[tuple[str, Any]]:
    return list(getattr(found, "commands", {}).items())


def _leaves(found: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, inner in _subcommands(found):
        if _subcommands(inner):
            yield from _leaves(inner, f"{path} {name}")
        else:
            yield f"{path} {name}", inner


def _first_paragraphs(found: Any) -> str:
    return inspect.cleandoc(found.help or "")


def _details(path: str, found: Any) -> list[str]:
    arguments = [one for one in found.params if one.param_type_name == "argument"]
    options = [
        one for one in found.params if one.param_type_name == "option" and one.name != "help"
    ]
    names = " ".join(_named(one) if one.required else f"[{_named(one)}]" for one in arguments)
    lines = ["", "```console", f"$ {' '.join(filter(None, (path, names)))} [OPTIONS]", "```"]
    rows = [(_named(one), one.help or "", _default(one)) for one in arguments]
    rows += [
        (", ".join(one.opts + one.secondary_opts), _option(one), _default(one)) for one in options
    ]
    if rows:
        lines += ["", "| | | default |", "|---|---|---|"]
        lines += [
            f"| `{name}` | {_cell(text)} | {_cell(default)} |" for name, text, default in rows
        ]
    return [*lines, "", "```console", *(f"$ {one}" for one in examples(found)), "```"]


def _named(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def examples(found: Any) -> list[str]:
    """The commands in the example of a command's help."""
    paragraphs = (found.epilog or "").replace("\\[", "[").split("\n\n")
    return [one.strip() for one in paragraphs if one.strip().startswith("comity ")]


def _option(option: Any) -> str:
    names = option.envvar if isinstance(option.envvar, str) else ""
    return f"{option.help or ''}{f' Environment: `{names}`.' if names else ''}"


def _default(option: Any) -> str:
    if option.required:
        return "required"
    if option.default in (None, "", False) or callable(option.default):
        return ""
    return f"`{option.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# --- errors ----------------------------------------------------------------------------------


def error_codes() -> str:
    """Every error with what it means, how it travels, and the exit code."""
    told = dict(re.findall(r"(?:├──|└──) (\w+) {2,}(.+)", errors.__doc__ or ""))
    lines = [
        "# Errors",
        "",
        NOTICE,
        "",
        "An error is a class of `comity.errors`, a code on the wire (`ErrorInfo.reason`, domain "
        "`comity`) and a gRPC status. The client raises the same class again. A class may be "
        "caught by any class above it.",
        "",
        "| code | class | is a | gRPC status | exit code | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for code, kind in BY_CODE.items():
        above = kind.__mro__[1].__name__ if kind is not ComityError else ""
        lines.append(
            f"| `{code}` | `{kind.__name__}` | {f'`{above}`' if above else ''} | `{kind.status}` "
            f"| {exit_code(kind(''))} | {_cell(told.get(kind.__name__) or advice(kind('')))} |"
        )
    return "\n".join(lines) + "\n"


# --- RPCs ------------------------------------------------------------------------------------


def rpcs() -> str:
    """Every RPC with who may call it."""
    rows = permissions().rows
    lines = [
        "# RPCs",
        "",
        NOTICE,
        "",
        "All RPCs are unary. The messages, with the limits of their fields, are in "
        "`proto/comity/v1`; every server also answers gRPC reflection and health checks. Who "
        "may call what stands in `comity/rpc/permissions.txt`.",
    ]
    for name in SERVICES:
        module = importlib.import_module(f"comity.v1.{name}_pb2")
        comments = _comments((PROTO / f"{name}.proto").read_text("utf-8"))
        for service in module.DESCRIPTOR.services_by_name.values():
            lines += _service(service, comments, rows)
    return "\n".join(lines) + "\n"


def _service(
    service: ServiceDescriptor,
    comments: Mapping[str, str],
    rows: Mapping[str, frozenset[CallerKind]],
) -> Iterator[str]:
    yield from ("", f"## {service.name}", "", f"`{service.full_name}`", "")
    yield "| RPC | open to | request | what it does |"
    yield "|---|---|---|---|"
    for method in service.methods:
        kinds = rows[f"/{service.full_name}/{method.name}"]
        who = (
            ANYONE
            if kinds == frozenset(CallerKind)
            else ", ".join(kind.value for kind in CallerKind if kind in kinds)
        )
        fields = ", ".join(f"`{field.name}`" for field in method.input_type.fields)
        yield f"| `{method.name}` | {who} | {fields} | {_cell(comments.get(method.name, ''))} |"


def _comments(proto: str) -> Mapping[str, str]:
    """The comment above each rpc."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in map(str.strip, proto.splitlines()):
        if line.startswith("//"):
            above.append(line.removeprefix("//").strip())
            continue
        rpc = re.match(r"rpc (\w+)\(", line)
        if rpc is not None:
            text = " ".join(above)
            found[rpc[1]] = text if " " in text else ""  # a word alone heads several RPCs
        above = []
    return found


# --- settings --------------------------------------------------------------------------------


def settings() -> str:
    """Every setting of a node's and of clearing's `settings.toml`."""
    lines = [
        "# Settings",
        "",
        NOTICE,
        "",
        "Settings stand in `settings.toml` in the folder of a node or of clearing. A variable of "
        "the environment, the setting's name in capitals after the prefix, wins over the file.",
    ]
    for title, module, name, prefix in SETTINGS:
        model = getattr(importlib.import_module(module), name)
        lines += ["", f"## {title}", "", f"Prefix `{prefix}`.", ""]
        lines += ["| setting | type | default | meaning |", "|---|---|---|---|"]
        lines += _fields(model)
    return "\n".join(lines) + "\n"


def _fields(model: type[BaseModel]) -> Iterator[str]:
    told = _attribute_docstrings(model)
    for name, field in model.model_fields.items():
        kind = getattr(field.annotation, "__name__", str(field.annotation))
        kind = str(field.annotation) if "|" in str(field.annotation) else kind
        default = field.get_default(call_default_factory=True)
        shown = "required" if default is PydanticUndefined else f"`{default!r}`"
        bounds = ", ".join(
            f"{sign} {getattr(bound, limit)}"
            for bound in field.metadata
            for limit, sign in BOUNDS.items()
            if hasattr(bound, limit)
        )
        meaning = " ".join(told.get(name, "").split())
        limits = f" {bounds}" if bounds else ""
        yield f"| `{name}` | `{_cell(kind)}`{_cell(limits)} | {_cell(shown)} | {_cell(meaning)} |"


def _attribute_docstrings(model: type) -> Mapping[str, str]:
    """The string which stands below an attribute in the source of a class."""
    (body,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for above, below in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(above, ast.AnnAssign)
            and isinstance(above.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[above.target.id] = str(below.value.value)
    return found


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "commands": commands,
    "errors": error_codes,
    "programme": lambda: features.page(NOTICE),
    "programme-fields": lambda: programme_fields.page(
        NOTICE, (PROTO / "facts.proto").read_text("utf-8")
    ),
    "programme.schema.json": schema_text,
    "rpcs": rpcs,
    "settings": settings,
}


def path(name: str) -> Path:
    """Where a page is written."""
    return FOLDER / (name if "." in name else f"{name}.md")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Writes docs/reference from the code.")
    parser.add_argument("pages", nargs="*", choices=[*PAGES, []], help="which pages; default all")
    parser.add_argument("--check", action="store_true", help="only say whether they are current")
    chosen = parser.parse_args(arguments)
    stale = []
    for name in chosen.pages or PAGES:
        page, text = path(name), PAGES[name]()
        if page.is_file() and page.read_text("utf-8") == text:
            continue
        stale.append(page.name)
        if not chosen.check:
            FOLDER.mkdir(parents=True, exist_ok=True)
            page.write_text(text, "utf-8")
    if chosen.check and stale:
        print(f"Not up to date: {', '.join(stale)}. Run: python -m tools.reference")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
