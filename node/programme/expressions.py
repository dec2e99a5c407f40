"""Conditions and formulas: the one place that knows CEL.

Expressions are checked when the programme is read, against the messages of
`comity/v1/facts.proto`: whole numbers only, names and types known, a condition true or false, a
formula a number. They are compiled once and evaluated in microseconds. What goes wrong when one
runs (a division by zero, a sum beyond 64 bits, a loop beyond the library's budget of steps) is a
value, `Failed`, not an exception: the rule does not apply, and the explanation says why.

Functions beside CEL's own: `ratio(points, numerator, denominator, rounding)`, exact, with
rounding `down`, `up`, `half_up` or `half_even`; `min(a, b)` and `max(a, b)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from cel_expr_python import cel

from comity import points
from comity.errors import ComityError
from comity.points import Rounding
from comity.v1 import facts_pb2
from node.programme.checked import Checked, Node, read_checked

if TYPE_CHECKING:
    from node.programme.model import Programme
    from node.programme.situation import Situation

Kind = Literal["condition", "formula"]
ATTRIBUTES: Final = ("text", "number", "truth")
_COMPARED: Final = ("_==_", "_!=_", "@in")
MARKS: Final = ("badges", "titles", "tags")


@dataclass(frozen=True, slots=True)
class Failed:
    """An expression that had no value this time, and why."""

    reason: str


class NotAllowed(ValueError):
    """An expression that is refused. `line` and `column` are inside it, from 1; 0 unknown."""

    def __init__(self, sentence: str, *, line: int = 0, column: int = 0) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.line = line
        self.column = column


# --- the functions of ours ------------------------------------------------------------------


def _ratio(value: int, numerator: int, denominator: int, rounding: str) -> int:
    if denominator < 1:
        raise ValueError("the denominator of a ratio is at least 1")
    try:
        return points.divide(value * numerator, denominator, Rounding(rounding))
    except ComityError as error:
        raise ValueError(error.message) from error


_INT: Final = cel.Type.INT
_FUNCTIONS: Final = (
    cel.FunctionDecl(
        "ratio",
        [
            cel.Overload(
                "ratio_int",
                return_type=_INT,
                parameters=[_INT, _INT, _INT, cel.Type.STRING],
                impl=_ratio,
            )
        ],
    ),
    cel.FunctionDecl(
        "min", [cel.Overload("min_int", return_type=_INT, parameters=[_INT, _INT], impl=min)]
    ),
    cel.FunctionDecl(
        "max", [cel.Overload("max_int", return_type=_INT, parameters=[_INT, _INT], impl=max)]
    ),
)
_VARIABLES: Final = {
    "event": facts_pb2.EventFacts.DESCRIPTOR.full_name,
    "member": facts_pb2.MemberFacts.DESCRIPTOR.full_name,
    "local": facts_pb2.LocalFacts.DESCRIPTOR.full_name,
}


_BY_TIME: Final = {
    ("member", name)
    for name in facts_pb2.MemberFacts.DESCRIPTOR.fields_by_name
    if name.startswith("days") or name == "state"
}


def _environment(*names: str) -> cel.Env:
    variables = {name: cel.Type(_VARIABLES[name]) for name in names}
    return cel.NewEnv(variables=variables, functions=_FUNCTIONS)


_WITH_EVENT: Final = _environment("event", "member", "local")
_WITHOUT_EVENT: Final = _environment("member", "local")


# --- compiling ------------------------------------------------------------------------------


class Expression:
    """One condition or formula, compiled."""

    def __init__(self, text: str, *, kind: Kind, event: bool, programme: Programme) -> None:
        """Raises NotAllowed. Without `event` the expression cannot speak of one."""
        self.text = text
        self._environment = _WITH_EVENT if event else _WITHOUT_EVENT
        try:
            self._compiled = self._environment.compile(text)
        except RuntimeError as error:
            raise _refusal(str(error), event=event) from None
        wanted = cel.Type.BOOL if kind == "condition" else cel.Type.INT
        if self._compiled.return_type() != wanted:
            found = self._compiled.return_type().name()
            says = "true or false" if kind == "condition" else "a whole number"
            raise NotAllowed(f"a {kind} is {says}; this is of type {found}", line=1, column=1)
        checked = read_checked(self._compiled.serialize())
        paths = {one.path for one in checked.nodes}
        self._names = tuple(name for name in _VARIABLES if (name,) in paths)
        self.by_time = any(path[:1] == ("local",) or path[:2] in _BY_TIME for path in paths)
        """Whether its value may change when nothing but time passes."""
        for node, sentence in _objections(checked, programme):
            offset = checked.positions.get(node, 0)
            before = text[:offset]
            raise NotAllowed(
                sentence,
                line=before.count("\n") + 1,
                column=offset - (before.rfind("\n") + 1) + 1,
            )

    def _seen(self, situation: Situation) -> cel.Activation:
        """What the library sees of a situation: made once for all who name the same variables."""
        key = (self._environment is _WITH_EVENT, self._names)
        seen = situation.seen.get(key)
        if seen is None:
            known = situation.variables(self._names)
            seen = self._environment.Activation({name: known[name] for name in self._names})
            situation.seen[key] = seen
        return seen

    def value(self, situation: Situation) -> bool | int | Failed:
        """Its value: true or false of a condition, a number of a formula."""
        try:
            found = self._compiled.eval(self._seen(situation))
        except RuntimeError as error:
            reason = str(error)
            if "budget" in reason:
                return Failed("it takes more steps than an expression may")
            return Failed(_plain(reason))
        if found.type() == cel.Type.ERROR:
            return Failed(_plain(str(found.value())))
        value = found.value()
        assert isinstance(value, bool | int)
        return value


_REFUSED: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_EXPECTING: Final = re.compile(r" expecting \{.*$")
_OVERLOAD: Final = re.compile(r"found no matching overload for '(.*)' applied to '(.*)'")
_STATUS: Final = re.compile(r"^(?:[A-Z_]+): |\s*\[[A-Z_]+\]$")


def _refusal(message: str, *, event: bool) -> NotAllowed:
    found = _REFUSED.search(message)
    if found is None:
        return NotAllowed(_plain(message), line=1, column=1)
    line, column, reason = int(found[1]), int(found[2]), found[3]
    reason = re.sub(r" \(in container ''\)", "", _STATUS.sub("", reason)).rstrip(". ")
    reason = re.sub(r"comity\.v1\.(\w+)Facts", lambda name: name[1].lower(), reason)
    reason = _EXPECTING.sub("", reason)
    if reason.startswith("undeclared reference to 'event") and not event:
        reason = "there is no event here: this is judged whatever happened"
    elif taken := _OVERLOAD.fullmatch(reason):
        reason = f"{taken[1].replace('_', '')} does not go with {taken[2]}"
    return NotAllowed(reason, line=max(line, 1), column=max(column, 1))


def _plain(message: str) -> str:
    return _STATUS.sub("", _STATUS.sub("", message.splitlines()[0])).strip().rstrip(".")


def _objections(checked: Checked, programme: Programme) -> Iterator[tuple[int, str]]:
    for node in checked.doubles:
        yield node, "only whole numbers are allowed; write a fraction with ratio(…)"
    for one in checked.nodes:
        yield from ((one.id, sentence) for sentence in _unknown(one.path, programme))
        arguments = one.call("ratio")
        if arguments and arguments[3].text not in {rounding.value for rounding in Rounding}:
            listed = ", ".join(repr(rounding.value) for rounding in Rounding)
            yield one.id, f"ratio rounds by one of {listed}"
        yield from ((one.id, sentence) for sentence in _never(one, programme))


def _unknown(path: tuple[str, ...], programme: Programme) -> Iterator[str]:
    """What a map has never heard of: attributes of events, units."""
    if len(path) != 3:
        return
    variable, field, name = path
    if variable == "event" and field in ATTRIBUTES:
        known = {
            attribute
            for event in programme.events.values()
            for attribute, kind in event.attributes.items()
            if kind == field
        }
        if name not in known:
            yield f"no event has an attribute {name} of type {field}"
    if (variable, field) == ("member", "balance") and name not in programme.units:
        yield f"there is no unit {name}; there is {', '.join(programme.units)}"


def _never(node: Node, programme: Programme) -> Iterator[str]:
    """Comparisons with a name that is never there: events, levels, badges, titles, tags."""
    if node.function not in _COMPARED:
        return
    levels = [level.id for level in programme.tiers.levels] if programme.tiers else []
    of = {
        ("event", "type"): ("event", ["purchase", *programme.events]),
        ("member", "level"): ("level", levels),
        ("member", "state"): ("state", ["new", "retain", "sticky", "dormant"]),
        ("member", "badges"): ("badge", list(programme.badges)),
        ("member", "titles"): ("title", list(programme.titles)),
        ("member", "tags"): ("tag", list(programme.tags)),
    }
    for one, other in _pairs(node.call(node.function)):
        if one.path in of:
            what, known = of[one.path]
            for name in other.texts:
                if name not in known:
                    yield f"there is no {what} {name}; there is {', '.join(known) or 'none'}"


def _pairs(arguments: list[Node] | None) -> Iterator[tuple[Node, Node]]:
    if arguments and len(arguments) == 2:
        yield arguments[0], arguments[1]
        yield arguments[1], arguments[0]


# --- a programme's --------------------------------------------------------------------------

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """An expression of a programme file: where it stands, what it is to be."""

    path: Path
    text: str
    kind: Kind
    event: bool
    """Whether it may speak of the event."""


def written(programme: Programme) -> Iterator[Written]:
    """Every expression of a programme."""
    for name, rule in programme.earn.items():
        if rule.when is not None:
            yield Written(("earn", name, "when"), rule.when, "condition", event=True)
        if rule.formula is not None:
            yield Written(("earn", name, "formula"), rule.formula, "formula", event=True)
    for name, multiplier in programme.multipliers.items():
        yield Written(("multipliers", name, "when"), multiplier.when, "condition", event=True)
    if programme.tiers is not None:
        for position, level in enumerate(programme.tiers.levels):
            if level.when is not None:
                path: Path = ("tiers", "levels", position, "when")
                yield Written(path, level.when, "condition", event=False)
    for kind, marks in zip(
        MARKS, (programme.badges, programme.titles, programme.tags), strict=True
    ):
        for name, mark in marks.items():
            if mark.when is not None:
                event = mark.on is not None
                yield Written((kind, name, "when"), mark.when, "condition", event=event)


class Expressions:
    """Every condition and formula of one programme, compiled; asked for by their text."""

    def __init__(self, programme: Programme) -> None:
        self.mistakes: list[tuple[Path, NotAllowed]] = []
        self._compiled: dict[str, Expression] = {}
        for one in written(programme):
            try:
                self._compiled[one.text] = Expression(
                    one.text, kind=one.kind, event=one.event, programme=programme
                )
            except NotAllowed as error:
                self.mistakes.append((one.path, error))

    def holds(self, condition: str, situation: Situation) -> bool | Failed:
        """Whether a condition of the programme holds."""
        value = self._compiled[condition].value(situation)
        return value if isinstance(value, Failed) else bool(value)

    def by_time(self, condition: str) -> bool:
        """Whether a condition may begin or cease to hold when nothing but time passes."""
        return self._compiled[condition].by_time

    def number(self, formula: str, situation: Situation) -> int | Failed:
        """The value of a formula of the programme."""
        return self._compiled[formula].value(situation)
