"""Every way in which a request can break the limits its proto states, from the proto itself.

A *mutation* of a valid message is the message with one thing wrong, and the path of the field
which a refusal has to name. Nothing here knows any message: a new field is broken the day it
appears.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from comity.v1 import limits_pb2
from comity.validation import MAX_BYTES, MAX_ITEMS

_TEXT: Final = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
_MESSAGE: Final = FieldDescriptor.TYPE_MESSAGE
_ENUM: Final = FieldDescriptor.TYPE_ENUM
_UNKNOWN_ENUM: Final = 99
_NOT_ASCII: Final = "é"

_EMPTY: Final = {FieldDescriptor.TYPE_STRING: "", FieldDescriptor.TYPE_BYTES: b""}

_BOUNDS: Final = {
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A message with one thing wrong: at which field, and what."""

    field: str
    wrong: str
    message: Message

    def __str__(self) -> str:
        return f"{self.field} {self.wrong}"


def limits_of(field: FieldDescriptor) -> limits_pb2.FieldLimits:
    """What the proto says of a field."""
    return field.GetOptions().Extensions[limits_pb2.limits]


def mutations(message: Message) -> Iterator[Mutation]:
    """Every mutation of a valid message."""
    for field, wrong, change in _changes(message, ""):
        copy = type(message)()
        copy.CopyFrom(message)
        change(copy)
        yield Mutation(field=field, wrong=wrong, message=copy)


def garbage(kind: type[Message], seed: str) -> Iterator[bytes]:
    """Bytes which are no message of this kind: random ones, and a valid beginning cut short."""
    source = random.Random(seed)
    found = 0
    while found < 3:
        data = source.randbytes(source.randrange(1, 400))
        try:
            kind.FromString(data)
        except DecodeError:
            found += 1
            yield data
    # Field 1, length-delimited, says 100 bytes and has 3.
    yield b"\x0a\x64abc"
    # A tag whose varint never ends.
    yield b"\xff" * 11


# A change is made to a copy of the whole message, so it begins by walking to its own part.
Change = Any


def _changes(message: Message, path: str) -> Iterator[tuple[str, str, Change]]:
    """Changes to one (part of a) message, each a function of the message it is part of."""
    descriptor: Any = message.DESCRIPTOR
    for oneof in descriptor.oneofs:
        if not _synthetic(oneof) and _required(oneof):
            yield f"{path}{oneof.name}", "has no member set", _clearing_oneof(oneof.name)
    for field in descriptor.fields:
        here = f"{path}{field.name}"
        if field.is_repeated:
            yield from _list_changes(message, field, here)
        elif field.type == _MESSAGE:
            yield from _message_changes(message, field, here)
        elif field.containing_oneof is None or message.HasField(field.name):
            for wrong, value in _wrong_values(field, getattr(message, field.name), item=False):
                yield here, wrong, _setting(field.name, value)


def _message_changes(
    message: Message, field: FieldDescriptor, here: str
) -> Iterator[tuple[str, str, Change]]:
    if limits_of(field).required:
        yield here, "is absent", _clearing(field.name)
    if message.HasField(field.name):
        part = getattr(message, field.name)
        for where, wrong, change in _changes(part, f"{here}."):
            yield where, wrong, _inside(field.name, change)
        return
    empty = getattr(type(message)(), field.name)
    broken = _first_broken(empty)
    if broken:
        yield f"{here}.{broken}", "is in an empty message", _present(field.name)


def _list_changes(
    message: Message, field: FieldDescriptor, here: str
) -> Iterator[tuple[str, str, Change]]:
    limits, items = limits_of(field), getattr(message, field.name)
    if limits.min_items or limits.required:
        yield here, "has no items", _clearing(field.name)
    yield here, "has too many items", _filling(field, (limits.max_items or MAX_ITEMS) + 1)
    if not items:
        return
    if limits.unique:
        yield here, "names one thing twice", _appending(field.name, items[0])
    for index, item in enumerate(items):
        place = f"{here}[{index}]"
        if field.type == _MESSAGE:
            for where, wrong, change in _changes(item, f"{place}."):
                yield where, wrong, _inside_item(field.name, index, change)
        else:
            for wrong, value in _wrong_values(field, item, item=True):
                yield place, wrong, _setting_item(field.name, index, value)


def _wrong_values(field: FieldDescriptor, value: Any, *, item: bool) -> Iterator[tuple[str, Any]]:
    """Values of a scalar which break its limits, and what is wrong with each."""
    limits = limits_of(field)
    if field.type in _TEXT:
        yield from _wrong_text(field, limits, value, item=item)
    elif field.type == _ENUM:
        yield "is a value nobody has defined", _UNKNOWN_ENUM
        if limits.required:
            yield "is unspecified", 0
    elif field.type in _BOUNDS:
        least, most = _BOUNDS[field.type]
        if limits.required and not field.has_presence and not item:
            yield "is zero", 0
        if limits.HasField("min") and limits.min - 1 >= least:
            yield "is below its minimum", limits.min - 1
            yield "is as low as can be", least
        if limits.HasField("max") and limits.max + 1 <= most:
            yield "is above its maximum", limits.max + 1
            yield "is as high as can be", most


def _wrong_text(
    field: FieldDescriptor, limits: limits_pb2.FieldLimits, value: Any, *, item: bool
) -> Iterator[tuple[str, Any]]:
    text = field.type == FieldDescriptor.TYPE_STRING
    one: Any = "x" if text else b"x"
    none: Any = "" if text else b""
    most = limits.exact_len or limits.max_len or MAX_BYTES
    if limits.required:
        yield "is empty", none
    start = limits.prefix if text else b""
    yield "is too long", start + one * (most + 1 - len(start))
    if text and not limits.prefix:
        yield "is too long in bytes, not in characters", _NOT_ASCII * (most // 2 + 1)
    least = limits.exact_len or limits.min_len
    if least > 1:
        yield "is too short", (value or one * least)[: least - 1]
    if limits.prefix:
        yield "has another prefix", "zzz_" + str(value).removeprefix(limits.prefix)
        yield "ends after its prefix", limits.prefix
    if limits.pattern:
        yield "does not match", "!"


def _looked_at(field: FieldDescriptor) -> int:
    if field.has_presence or field.is_repeated:
        return 2
    return 1 if field.type in _TEXT else 0


def _first_broken(empty: Message) -> str:
    """The field which a validator meets first in an empty message; empty if it keeps all.

    It looks at numbers, then at texts, then at what has presence or items, then at oneofs.
    """
    descriptor: Any = empty.DESCRIPTOR
    for field in sorted(descriptor.fields, key=_looked_at):
        limits = limits_of(field)
        needed = limits.required or limits.min_items
        low = field.type in _BOUNDS and limits.HasField("min") and limits.min > 0
        if (needed or low) and field.containing_oneof is None:
            return str(field.name)
    for oneof in descriptor.oneofs:
        if _required(oneof):
            return str(oneof.name)
    return ""


def _required(oneof: Any) -> bool:
    return bool(oneof.GetOptions().Extensions[limits_pb2.required_oneof])


def _synthetic(oneof: Any) -> bool:
    return str(oneof.name).startswith("_")


# --- changes --------------------------------------------------------------------------------


def _clearing(name: str) -> Change:
    return lambda message: message.ClearField(name)


def _clearing_oneof(name: str) -> Change:
    return lambda message: message.ClearField(message.WhichOneof(name))


def _setting(name: str, value: Any) -> Change:
    return lambda message: setattr(message, name, value)


def _present(name: str) -> Change:
    return lambda message: getattr(message, name).SetInParent()


def _appending(name: str, value: Any) -> Change:
    return lambda message: getattr(message, name).append(value)


def _setting_item(name: str, index: int, value: Any) -> Change:
    def change(message: Any) -> None:
        getattr(message, name)[index] = value

    return change


def _filling(field: FieldDescriptor, count: int) -> Change:
    def change(message: Any) -> None:
        items = getattr(message, field.name)
        if field.type == _MESSAGE:
            while len(items) < count:
                items.add()
        else:
            empty = _EMPTY.get(field.type, 0)
            items.extend([empty] * (count - len(items)))

    return change


def _inside(name: str, change: Change) -> Change:
    return lambda message: change(getattr(message, name))


def _inside_item(name: str, index: int, change: Change) -> Change:
    return lambda message: change(getattr(message, name)[index])
