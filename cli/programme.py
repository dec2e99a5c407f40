"""`comity programme`: a programme file before a node runs by it. Nothing here needs a network."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import typer

from cli import output
from cli.commands import command, group
from cli.options import Json
from cli.parts import PARTS
from comity.errors import Conflict, Malformed, NotFound
from node.programme import diff as versions
from node.programme import presets, tryout, words
from node.programme.design import GOALS, MODES, Answers, Goal, Mode, from_preset, suggested, written
from node.programme.lint import lint as findings
from node.programme.model import Programme
from node.programme.reader import PROGRAMME, read_model, read_programme
from node.programme.schema import schema_text
from node.programme.yamltree import Tree

app = group(PARTS["programme"].help)
preset_group = group("Programmes to start from: the public rules of well-known ones.")
app.add_typer(preset_group, name="presets")

DIRECTIONS: Final = {"worse": "−", "better": "+", "other": "·"}

File = Annotated[
    str, typer.Argument(metavar="FILE", help="A programme file, or the name of a preset.")
]


# --- writing --------------------------------------------------------------------------------


@command(
    app,
    "init",
    example="comity programme init\n"
    "comity programme init --goal loyalty --resources 'A roastery and two cafés' "
    "--need 'A place to belong' --name 'Corner Club' --mode both --out corner.yaml\n"
    "comity programme init --goal members --resources 'Films' --need 'Something to do on Sunday' "
    "--from gewara --out films.yaml",
)
def init(
    goal: Annotated[
        str, typer.Option(help=f"What it is for: {', '.join(get_args(Goal))}. Asked if left out.")
    ] = "",
    resources: Annotated[
        str, typer.Option(help="With what the brand can reward. Asked if left out.")
    ] = "",
    need: Annotated[
        str, typer.Option(help="Which need of members it meets. Asked if left out.")
    ] = "",
    name: Annotated[str, typer.Option(help="What people call it. Asked if left out.")] = "",
    mode: Annotated[
        str, typer.Option(help=f"{', '.join(MODES)}; left out, what the goal suggests.")
    ] = "",
    preset: Annotated[str, typer.Option("--from", help="Start from a preset instead.")] = "",
    zone: Annotated[str, typer.Option(help="The IANA time zone of its days.")] = "UTC",
    currency: Annotated[str, typer.Option(help="Of purchases, an ISO 4217 code.")] = "EUR",
    out: Annotated[Path, typer.Option(help="Where to write it; - is stdout.")] = Path(
        "programme.yaml"
    ),
    as_json: Json = False,
) -> None:
    """Write a first programme file from the three questions before design."""
    if str(out) != "-" and out.exists():
        raise Conflict(f"{out} exists already; choose another place with --out.")
    if not goal:
        for one, meaning in GOALS.items():
            output.remark(f"  {one}: {meaning}")
    if mode and mode not in MODES:
        raise typer.BadParameter(f"{mode!r} is no mode; use {', '.join(MODES)}.")
    chosen: Goal = _goal(goal or _asked("1. What is it for?", "--goal", GOALS))
    answers = Answers(
        name=name or _asked("What do people call it?", "--name"),
        zone=zone,
        currency=currency,
        goal=chosen,
        resources=resources or _asked("2. With what can you reward?", "--resources"),
        need=need or _asked("3. Which need of your members does it meet?", "--need"),
    )
    suggestion, reason = suggested(chosen)
    shape: Mode = next((one for one in MODES if one == mode), suggestion)
    text = from_preset(answers, preset) if preset else written(answers, shape)
    read_programme(text.encode())
    if str(out) == "-":
        typer.echo(text, nl=False)
        return
    out.write_text(text, "utf-8")

    def show() -> None:
        output.say(f"{out} is a programme.")
        if not preset and not mode:
            output.remark(f"Its shape is {shape}: {reason}. Choose another with --mode.")
        output.remark(f"Change it as you like; then: comity programme lint {out}")

    made = {"file": str(out), "mode": "" if preset else shape, "preset": preset}
    output.emit(made, as_json, show)


def _goal(text: str) -> Goal:
    for one in GOALS:
        if one == text:
            return one
    raise typer.BadParameter(f"{text!r} is no goal; use {', '.join(GOALS)}.")


def _asked(question: str, option: str, among: Collection[str] = ()) -> str:
    """A person's answer; a script is told which option it left out."""
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"nobody is there to ask: give {option}.")
    while True:
        answer = str(typer.prompt(question, err=True)).strip()
        if answer and (not among or answer in among):
            return answer
        if among:
            output.remark(f"One of {', '.join(among)}.")


# --- reading with other eyes ----------------------------------------------------------------


@command(
    app,
    "lint",
    example="comity programme lint starbucks-2015\n"
    "comity programme lint starbucks-2015 --accept dual-reward --json",
)
def lint(
    file: File,
    accept: Annotated[
        list[str] | None, typer.Option(help="A pitfall that is meant so; may be repeated.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail if anything is found that is not accepted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what often goes wrong with such a programme. Mistakes in the file are told first."""
    programme, tree = read_file(file)
    accepted = {*(accept or ())}
    if file in presets.names():
        accepted.add("sameness")
    found = [one for one in findings(programme) if one.pitfall not in accepted]
    rows = [(tree.place(one.path).line if one.path else 1, one) for one in found]
    rows.sort(key=lambda row: row[0])
    told = [
        {"line": line, "pitfall": one.pitfall, "about": _about(one.path), "advice": one.sentence}
        for line, one in rows
    ]

    def show() -> None:
        for one in told:
            output.say(f"Line {one['line']}, {one['pitfall']}: {one['advice']}.")
        if not told:
            output.say(f"Nothing to say against {programme.name}.")

    output.emit(told, as_json, show)
    if strict and told:
        raise typer.Exit(1)


@command(
    app,
    "diff",
    example="comity programme diff starbucks-2015 starbucks-2016\n"
    "comity programme diff starbucks-2015 starbucks-2016 --json",
)
def diff(
    before: Annotated[str, typer.Argument(help="The version of today, or a preset.")],
    after: Annotated[str, typer.Argument(help="The version to come, or a preset.")],
    as_json: Json = False,
) -> None:
    """Say in plain words what changes for members, what gets worse first."""
    old, new = read_file(before)[0], read_file(after)[0]
    changes = versions.diff(old, new)

    def show() -> None:
        for one in changes:
            output.say(f"{DIRECTIONS[one.kind]} {one.sentence}")
        if not changes:
            output.say("Nothing changes for members.")
        worse = sum(one.kind == "worse" for one in changes)
        if worse:
            output.remark(
                f"{worse} thing{'s get' if worse > 1 else ' gets'} worse: members are owed notice."
            )

    output.emit([asdict(one) for one in changes], as_json, show)


@command(
    app,
    "show",
    example="comity programme show tmall\ncomity programme show tmall --json",
)
def show_file(file: File, as_json: Json = False) -> None:
    """Show what a programme says, as a member would be told it."""
    programme, _ = read_file(file)
    output.emit(
        programme.model_dump(mode="json", exclude_defaults=True),
        as_json,
        lambda: _show_programme(programme),
    )


def _show_programme(programme: Programme) -> None:
    output.say(f"{programme.name}, version {programme.version}")
    output.table(
        ("unit", "kind", "lives"),
        [
            (words.unit_title(programme, name), str(unit.kind), words.lifetime(unit.expiry))
            for name, unit in programme.units.items()
        ],
    )
    output.table(
        ("for", "you get"),
        [
            (words.event_title(programme, rule.on), words.earns(rule, programme))
            for rule in programme.earn.values()
        ],
        empty="Nothing is earned.",
    )
    if programme.tiers is not None:
        output.table(
            ("level", "takes", "gives"),
            [
                (
                    level.title or level.id,
                    words.reach(level.reach, programme),
                    "; ".join(programme.benefits[one].title for one in level.benefits),
                )
                for level in programme.tiers.levels
            ],
        )


@command(
    app,
    "schema",
    example="comity programme schema\ncomity programme schema --out programme.schema.json",
)
def schema(
    out: Annotated[Path | None, typer.Option(help="Where to write it; left out: stdout.")] = None,
) -> None:
    """Print the JSON Schema of a programme file, for editors."""
    if out is None:
        typer.echo(schema_text(), nl=False)
        return
    out.write_text(schema_text(), "utf-8")
    output.say(f"{out} is written.")


# --- presets --------------------------------------------------------------------------------


@command(
    preset_group,
    "list",
    example="comity programme presets list\ncomity programme presets list --json",
)
def list_presets(as_json: Json = False) -> None:
    """Show the presets there are."""
    rows = [(name, presets.title(name)) for name in presets.names()]
    content = [{"preset": name, "title": title} for name, title in rows]
    output.emit(content, as_json, lambda: output.table(("preset", "what it is"), rows))


@command(
    preset_group,
    "show",
    example="comity programme presets show jd-beans\n"
    "comity programme presets show jd-beans --events",
)
def show_preset(
    name: Annotated[str, typer.Argument(metavar="PRESET", help="One of `presets list`.")],
    events: Annotated[
        bool, typer.Option("--events", help="The event file it is tried on instead.")
    ] = False,
) -> None:
    """Print the file of a preset, with where its rules come from."""
    text = presets.events(name) if events else presets.programme(name)
    typer.echo(text.decode(), nl=False)


# --- trying ---------------------------------------------------------------------------------


@command(
    app,
    "try",
    example="comity programme try starbucks-2015\n"
    "comity programme try programme.yaml events.yaml --why\n"
    "comity programme try starbucks-2016 --json",
)
def try_file(
    file: File,
    events: Annotated[
        Path | None,
        typer.Argument(help="An event file; left out for a preset: its own.", show_default=False),
    ] = None,
    why: Annotated[
        bool, typer.Option("--why", help="Say of every rule why it earned, or did not.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a member's events through a programme: balances, levels, and why. Nothing is recorded.

    Fails if the events expect something else.
    """
    programme, _ = read_file(file)
    if events is not None:
        data = read_bytes(events)
    elif file in presets.names():
        data = presets.events(file)
    else:
        raise typer.BadParameter("give an event file; only a preset has one of its own.")
    tried = tryout.try_out(programme, data)
    output.emit(_tried(tried), as_json, lambda: _show_tried(tried, why=why))
    if tried.wrong:
        raise typer.Exit(1)


def _tried(tried: tryout.Tried) -> dict[str, Any]:
    book = tried.book
    facts = book.facts()
    return {
        "steps": [asdict(step) for step in tried.steps],
        "balances": dict(facts.balances),
        "pending": _nonzero(book.programme, book.pending),
        "debt": _nonzero(book.programme, book.debt),
        "level": book.level,
        "badges": sorted(facts.badges),
        "titles": sorted(facts.titles),
        "tags": sorted(facts.tags),
        "wrong": list(tried.wrong),
    }


def _nonzero(programme: Programme, ask: Callable[[str], int]) -> dict[str, int]:
    return {unit: points for unit in programme.units if (points := ask(unit))}


def _show_tried(tried: tryout.Tried, *, why: bool) -> None:
    for step in tried.steps:
        output.say(f"{step.at}  {step.title}")
        for note in step.notes:
            if why or not any(f", {reason}" in note for reason in ("other_event", "condition")):
                output.say(f"    {note}")
        if step.refused:
            output.say(f"    refused: {step.refused}")
    book = tried.book
    facts = book.facts()
    output.say("")
    output.facts(
        (
            *((unit, f"{points:,}") for unit, points in facts.balances.items()),
            *(
                (f"{unit}, pending", f"{n:,}")
                for unit, n in _nonzero(book.programme, book.pending).items()
            ),
            *(
                (f"{unit}, owed", f"{n:,}")
                for unit, n in _nonzero(book.programme, book.debt).items()
            ),
            ("level", book.level),
            ("badges", ", ".join(sorted(facts.badges))),
            ("titles", ", ".join(sorted(facts.titles))),
            ("tags", ", ".join(sorted(facts.tags))),
        ),
        title="At the end",
    )
    for sentence in tried.wrong:
        output.fail(sentence)


# --- files ----------------------------------------------------------------------------------


def read_file(file: str) -> tuple[Programme, Tree]:
    """A programme with its lines; a file wins over a preset of the same name."""
    path = Path(file)
    if not path.is_file() and file in presets.names():
        return read_model(presets.programme(file), Programme, file=PROGRAMME)
    return read_model(read_bytes(path), Programme, file=PROGRAMME)


def read_bytes(path: Path) -> bytes:
    """A file's bytes, or the sentence why not."""
    if not path.is_file():
        raise NotFound(f"There is no file {path}. The presets are {', '.join(presets.names())}.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise Malformed(f"{path} cannot be read: {error.strerror}.") from error


def _about(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))
