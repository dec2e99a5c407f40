"""What a checked CEL expression is made of: types, constants, names and calls.

The library hands out its checked form as serialised `cel.expr.CheckedExpr` (cel-spec,
`proto/cel/expr/checked.proto` and `syntax.proto`); this module reads the few fields of it that the
rules for programmes need, by their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet

TYPE_MAP: Final = 3
EXPR: Final = 4
SOURCE: Final = 5
POSITIONS: Final = 4
KEY, VALUE = 1, 2

ID, CONSTANT, IDENTIFIER, SELECT, CALL = 2, 3, 4, 5, 6
NAME: Final = 1
OPERAND, FIELD = 1, 2
TARGET, FUNCTION, ARGUMENT = 1, 2, 3
TEXT: Final = 6

LIST, STRUCT, COMPREHENSION = 7, 8, 9
ENTRY: Final = (3, 4)
_INNER: Final = {
    SELECT: (OPERAND,),
    CALL: (TARGET, ARGUMENT),
    LIST: (1,),
    STRUCT: (2,),
    COMPREHENSION: (2, 4, 5, 6, 7),
}
"""Where the parts of each kind of expression are."""

PRIMITIVE, WRAPPER, TYPE_OF = 3, 4, 11
DOUBLE: Final = 4
_TYPE_PARAMETERS: Final = {6: (1,), 7: (1, 2), 8: (1, 2), 14: (2,)}
"""Of lists, maps, functions and types of libraries: where the types in them are."""


class Node:
    """A part of an expression: its fields by number, read once."""

    __slots__ = ("_fields", "_path")

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[Any]] = {}
        self._path: tuple[str, ...] | None = None
        unknown: Any = UnknownFieldSet(Empty.FromString(data))
        for field in unknown:
            self._fields.setdefault(field.field_number, []).append(field.data)

    def get(self, number: int) -> Any:
        """The plain value of a field, or None."""
        values = self._fields.get(number)
        return values[0] if values else None

    def parts(self, number: int) -> list[Node]:
        """The parts in a field, which are themselves structured."""
        values = self._fields.get(number, [])
        for at, value in enumerate(values):
            if not isinstance(value, Node):
                values[at] = Node(bytes(value))
        return values

    def part(self, number: int) -> Node | None:
        """The part in a field, or None."""
        parts = self.parts(number)
        return parts[0] if parts else None

    @property
    def id(self) -> int:
        """By which the source knows its position."""
        return int(self.get(ID) or 0)

    @property
    def path(self) -> tuple[str, ...]:
        """`("event", "number", "minutes")` for what is written with dots or a constant index."""
        if self._path is None:
            self._path = self._read_path()
        return self._path

    def _read_path(self) -> tuple[str, ...]:
        if (name := self.part(IDENTIFIER)) is not None:
            return (_text(name.get(NAME)),)
        if (select := self.part(SELECT)) is not None:
            inner = select.part(OPERAND)
            return (*inner.path, _text(select.get(FIELD))) if inner and inner.path else ()
        arguments = self.call("_[_]")
        if arguments is None:
            return ()
        inner, key = arguments
        return (*inner.path, key.text) if inner.path and key.text else ()

    @property
    def text(self) -> str:
        """The text constant that this is, or empty."""
        constant = self.part(CONSTANT)
        return _text(constant.get(TEXT)) if constant else ""

    @property
    def texts(self) -> list[str]:
        """The text constants that this is, or that this lists."""
        listed = self.part(LIST)
        some = [self] if listed is None else listed.parts(1)
        return [text for one in some if (text := one.text)]

    @property
    def function(self) -> str:
        """The function that this calls, or empty."""
        call = self.part(CALL)
        return _text(call.get(FUNCTION)) if call is not None else ""

    def call(self, function: str) -> list[Node] | None:
        """The arguments, if this calls `function`."""
        call = self.part(CALL)
        return call.parts(ARGUMENT) if call is not None and self.function == function else None


@dataclass(frozen=True, slots=True)
class Checked:
    """A checked expression: its parts, and which of them are doubles."""

    nodes: tuple[Node, ...]
    doubles: tuple[int, ...]
    """Ids of the parts whose type holds a double."""
    positions: dict[int, int]
    """Where each part stands in the text, counted in characters."""


def read_checked(serialised: bytes) -> Checked:
    """The parts of a checked expression, as the library serialises it."""
    whole = Node(Packed.FromString(serialised).value)
    source, root = whole.part(SOURCE), whole.part(EXPR)
    positions = source.parts(POSITIONS) if source is not None else []
    return Checked(
        nodes=tuple(_walk(root)) if root is not None else (),
        doubles=tuple(
            int(one.get(KEY) or 0)
            for one in whole.parts(TYPE_MAP)
            if (kind := one.part(VALUE)) is not None and _double(kind)
        ),
        positions={int(one.get(KEY) or 0): int(one.get(VALUE) or 0) for one in positions},
    )


def _walk(node: Node) -> Iterator[Node]:
    """This part and every part in it."""
    yield node
    for kind, numbers in _INNER.items():
        if (part := node.part(kind)) is not None:
            inner = [one for number in numbers for one in part.parts(number)]
            if kind == STRUCT:
                inner = [one for entry in inner for number in ENTRY for one in entry.parts(number)]
            for one in inner:
                yield from _walk(one)


def _double(kind: Node) -> bool:
    if DOUBLE in (kind.get(PRIMITIVE), kind.get(WRAPPER)):
        return True
    inner = kind.parts(TYPE_OF)
    for holder, numbers in _TYPE_PARAMETERS.items():
        if (part := kind.part(holder)) is not None:
            inner = inner + [one for number in numbers for one in part.parts(number)]
    return any(map(_double, inner))


def _text(value: Any) -> str:
    return bytes(value).decode() if value is not None else ""
