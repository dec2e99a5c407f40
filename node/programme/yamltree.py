"""A YAML file as plain values, each with the line where it stands.

It is the part of YAML 1.2 that a person writes: text, whole numbers, true and false, lists, names
with values. So `on` and `no` are text. Anchors, aliases and tags of types are refused, and so is
what is nested deeper than any programme: a small file cannot grow large in memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import yaml
from yaml.events import AliasEvent

MAX_DEPTH: Final = 16
MAX_DIGITS: Final = 30

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line and a column of the file, both from 1."""

    line: int
    column: int = 1


class Unreadable(ValueError):
    """The file is not such YAML; `place` is None where no line is to blame."""

    def __init__(self, sentence: str, place: Place | None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.place = place


@dataclass(frozen=True, slots=True)
class Tree:
    """The content of a file, and where each part of it begins."""

    content: dict[str, Any]
    names: dict[Path, Place]
    """Where the name (or, in a list, the value) of each part begins."""
    values: dict[Path, yaml.ScalarNode]
    """The text of each single value, as written."""

    def inside(self, path: Path, line: int, column: int) -> Place:
        """Where in the file the text at `path` has its own `line` and `column`, from 1.

        In folded text and in text of several lines within quotes, the line where it begins.
        """
        node = self.values.get(path)
        if node is None or line < 1:
            return self.place(path)
        start = _place(node.start_mark)
        if node.style == "|":
            below = node.start_mark.line + line
            text = node.start_mark.buffer
            indented = text.splitlines()[below] if text is not None else ""
            return Place(below + 1, len(indented) - len(indented.lstrip()) + column)
        if node.style == ">" or line > 1:
            return start
        return Place(start.line, start.column + column - (0 if node.style in ("'", '"') else 1))

    def place(self, path: Path) -> Place:
        """Where the deepest part of `path` begins that the file has."""
        while path and path not in self.names:
            path = path[:-1]
        return self.names[path]


def read_tree(data: bytes) -> Tree:
    """The content of a file. Raises Unreadable."""
    try:
        root = _Composer(data).get_single_node()
    except yaml.MarkedYAMLError as error:
        place = _place(error.problem_mark) if error.problem_mark else None
        raise Unreadable(f"this is not YAML: {error.problem}", place) from error
    except yaml.YAMLError as error:
        raise Unreadable("the file is not UTF-8 text", None) from error
    if not isinstance(root, yaml.MappingNode):
        raise Unreadable("the file is a list of names with values, such as name: Plus", None)
    tree = Tree({}, {(): _place(root.start_mark)}, {})
    tree.content.update(_mapping(root, (), tree))
    return tree


_TYPES: Final = (
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")),
    (
        "float",
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+0123456789."),
    ),
)
_TAG: Final = "tag:yaml.org,2002:"


class _Resolver(yaml.resolver.BaseResolver):
    pass


for _name, _form, _first in _TYPES:
    _Resolver.add_implicit_resolver(_TAG + _name, _form, _first)


class _Composer(
    yaml.reader.Reader,
    yaml.scanner.Scanner,
    yaml.parser.Parser,
    yaml.composer.Composer,
    _Resolver,
):
    def __init__(self, data: bytes) -> None:
        yaml.reader.Reader.__init__(self, data)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        _Resolver.__init__(self)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        place = _place(event.start_mark)
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            raise Unreadable("anchors (&) and aliases (*) are not used here; write it out", place)
        if getattr(event, "tag", None):
            raise Unreadable("types (!) are not given here; leave the ! out", place)
        if self._depth == MAX_DEPTH:
            raise Unreadable("this is nested too deep for any part of a programme", place)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _mapping(node: yaml.MappingNode, path: Path, tree: Tree) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in node.value:
        place = _place(name.start_mark)
        if not isinstance(name, yaml.ScalarNode):
            raise Unreadable("a name is one word, not a list", place)
        if name.value in found:
            raise Unreadable(f"{name.value} is given a second time", place)
        at = (*path, name.value)
        tree.names[at] = place
        found[name.value] = _content(value, at, tree)
    return found


def _content(node: yaml.Node, path: Path, tree: Tree) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, tree)
    if isinstance(node, yaml.SequenceNode):
        listed = []
        for position, one in enumerate(node.value):
            at = (*path, position)
            tree.names[at] = _place(one.start_mark)
            listed.append(_content(one, at, tree))
        return listed
    assert isinstance(node, yaml.ScalarNode)
    tree.values[path] = node
    return _scalar(node)


def _scalar(node: yaml.ScalarNode) -> Any:
    kind, text = node.tag.removeprefix(_TAG), node.value
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        if len(text) > MAX_DIGITS:
            raise Unreadable("this number is too large", _place(node.start_mark))
        return int(text)
    return float(text.replace(".inf", "inf").replace(".nan", "nan")) if kind == "float" else text
