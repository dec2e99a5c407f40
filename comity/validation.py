"""Messages against the limits their protos state (`comity/v1/limits.proto`).

The options are read once for each message type and compiled into a list of checks; validating
a message then touches only its fields. A violation raises `Malformed` with the path of the
field, such as `holds[3].redemption_id`, and the rule in words. What one message of a request
means beside another is not looked at here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from comity.errors import Malformed
from comity.v1 import limits_pb2

MAX_BYTES = 65_536
MAX_ITEMS = 1_024

_UTF8_MOST = 4
"""Bytes that one character takes at most."""

_TEXT = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
_MESSAGE = (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP)
_NO_LIMITS = limits_pb2.FieldLimits()

Check = Callable[[Any], None]
"""Raises `_Violation` unless the value it is given keeps the rule."""


class _Violation(Exception):
    """A broken rule; the path grows from the inside out as the exception leaves the walk."""

    def __init__(self, rule: str, path: str = "") -> None:
        super().__init__(rule)
        self.rule = rule
        self.path = path

    def under(self, name: str) -> _Violation:
        """The same violation, seen from the message which holds this one as `name`."""
        joined = f"{name}{self.path}" if self.path.startswith("[") else f"{name}.{self.path}"
        return _Violation(self.rule, joined.rstrip("."))


class _Plan:
    """The checks of one message type: plain values first, then what may lead further in.

    A range beside a check says which values, or sizes, keep the rule for certain, so that most
    values need no call; the check decides about the others and finds the words.
    """

    __slots__ = ("numbers", "oneofs", "others", "sized")

    def __init__(self) -> None:
        self.numbers: list[tuple[str, float, float, Check]] = []
        self.sized: list[tuple[str, int, int, Check]] = []
        """Strings, bytes, and lists whose items are not looked at."""
        self.others: list[tuple[str, bool, bool, Check]] = []
        """Name; whether presence is tracked; whether it must be present; the check."""
        self.oneofs: list[tuple[str, bool, dict[str, Check]]] = []
        """Name; whether a member must be set; the check of each member."""


class Validator:
    """The limits of all messages but those of the types in `unchecked`.

    Leaving types out is for who checks these messages itself, because it reads them anyway.
    """

    def __init__(self, unchecked: Iterable[Descriptor] = ()) -> None:
        self._unchecked = frozenset(unchecked)
        self._plans: dict[Descriptor, _Plan] = {}

    def validate(self, message: Message) -> None:
        """Raise Malformed, naming field and rule, unless the message keeps all its limits."""
        try:
            self._walk(message)
        except _Violation as violation:
            raise Malformed(f"{violation.path} {violation.rule}.", field=violation.path) from None

    def _walk(self, message: Any) -> None:
        plan = self._plans.get(message.DESCRIPTOR)
        if plan is None:
            plan = self._compile(message.DESCRIPTOR)
        name = ""
        try:
            for name, low, high, check in plan.numbers:
                value = getattr(message, name)
                if not low <= value <= high:
                    check(value)
            for name, least, most, check in plan.sized:
                value = getattr(message, name)
                if not least <= len(value) <= most:
                    check(value)
            for name, has_presence, required, check in plan.others:
                if not has_presence or message.HasField(name):
                    check(getattr(message, name))
                elif required:
                    raise _Violation("must be set")
            for name, required, members in plan.oneofs:
                member = message.WhichOneof(name)
                if member is not None:
                    name = member
                    members[member](getattr(message, member))
                elif required:
                    raise _Violation("must have one of its members set")
        except _Violation as violation:
            raise violation.under(name) from None

    def _compile(self, descriptor: Descriptor) -> _Plan:
        plan = self._plans[descriptor] = _Plan()
        oneofs: dict[str, dict[str, Check]] = {}
        for field in descriptor.fields:
            limits = _limits(field)
            walk = _any if field.message_type in self._unchecked else self._walk
            check = _field_check(field, limits, walk)
            oneof = field.containing_oneof
            if oneof is not None and not oneof.name.startswith("_"):
                oneofs.setdefault(oneof.name, {})[field.name] = check or _any
            elif check is not None or limits.required:
                _sort(plan, field, limits, check or _any, walk)
        for oneof in descriptor.oneofs:
            if oneof.name in oneofs:
                required = oneof.GetOptions().Extensions[limits_pb2.required_oneof]
                plan.oneofs.append((oneof.name, required, oneofs[oneof.name]))
        return plan


def _sort(
    plan: _Plan, field: FieldDescriptor, limits: limits_pb2.FieldLimits, check: Check, walk: Check
) -> None:
    """Put the check of a field where it costs least."""
    name, present = field.name, field.has_presence
    bare = walk is _any and field.is_repeated and field.type in _MESSAGE and not _is_map(field)
    if bare:
        plan.sized.append((name, *_counts(limits), check))
    elif present or field.is_repeated:
        plan.others.append((name, present, limits.required, check))
    elif field.type in _TEXT:
        plan.sized.append((name, *_certain_sizes(field, limits), check))
    else:
        plan.numbers.append((name, *_certain_numbers(field, limits), check))


def _certain_sizes(field: FieldDescriptor, limits: limits_pb2.FieldLimits) -> tuple[int, int]:
    """Lengths, in characters or bytes, at which every value keeps the rule."""
    if limits.prefix or limits.pattern:
        return 1, 0
    least, most = _sizes(limits)
    widest = 1 if field.type == FieldDescriptor.TYPE_BYTES else _UTF8_MOST
    return max(least, int(limits.required)), most // widest


def _certain_numbers(field: FieldDescriptor, limits: limits_pb2.FieldLimits) -> tuple[float, float]:
    """Between which numbers every value keeps the rule."""
    low = limits.min if limits.HasField("min") else -math.inf
    high = limits.max if limits.HasField("max") else math.inf
    if field.enum_type is not None:
        known = field.enum_type.values_by_number
        low, high = 0, next(number for number in count() if number not in known) - 1
    return (max(low, 1) if limits.required else low), high


validate = Validator().validate
"""Raise Malformed, naming field and rule, unless a message keeps all its limits."""


def _limits(field: FieldDescriptor) -> limits_pb2.FieldLimits:
    options = field.GetOptions()
    if options.HasExtension(limits_pb2.limits):
        return options.Extensions[limits_pb2.limits]
    return _NO_LIMITS


def _any(_value: object) -> None:
    """The check which every value passes."""


def _field_check(
    field: FieldDescriptor, limits: limits_pb2.FieldLimits, walk: Check
) -> Check | None:
    if not field.is_repeated:
        return _item_check(field, limits, walk, item=False)
    if _is_map(field):
        return _map_check(field, limits, walk)
    return _list_check(field, limits, walk)


def _is_map(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and kind.GetOptions().map_entry


def _item_check(
    field: FieldDescriptor, limits: limits_pb2.FieldLimits, walk: Check, *, item: bool
) -> Check | None:
    """The check of one value: of the whole field, or of an `item` of a repeated one."""
    if field.type in _MESSAGE:
        return walk
    if field.type in _TEXT:
        return _text_check(field, limits, item=item)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return _enum_check(field, limits)
    required = limits.required and not field.has_presence and not item
    return _number_check(limits, required=required)


def _text_check(field: FieldDescriptor, limits: limits_pb2.FieldLimits, *, item: bool) -> Check:
    least, most = _sizes(limits)
    exact, prefix, required = limits.exact_len, limits.prefix, limits.required
    pattern = re.compile(limits.pattern) if limits.pattern else None

    def check(value: str | bytes) -> None:
        if not value:
            if required:
                raise _Violation("must not be empty")
            if not item:
                return
        # The limit counts UTF-8 bytes, which ASCII text has as many of as characters.
        size = len(value)
        if isinstance(value, str) and not value.isascii():
            size = len(value.encode())
        if not least <= size <= most:
            raise _Violation(_size_rule(exact, least, most, size))
        if prefix and not (str(value).startswith(prefix) and len(value) > len(prefix)):
            raise _Violation(f"must begin with {prefix!r} and go on")
        if pattern is not None and not pattern.fullmatch(str(value)):
            raise _Violation(f"must match {pattern.pattern}")

    if (prefix or pattern) and field.type == FieldDescriptor.TYPE_BYTES:
        raise ValueError(f"{field.full_name}: prefix and pattern are for strings")
    return check


def _sizes(limits: limits_pb2.FieldLimits) -> tuple[int, int]:
    """How many bytes a text has at least, unless it is absent, and at most."""
    least = limits.exact_len or limits.min_len
    return least, limits.exact_len or limits.max_len or MAX_BYTES


def _size_rule(exact: int, least: int, most: int, size: int) -> str:
    if exact:
        return f"must be {exact} bytes long and is {size}"
    if least:
        return f"must be {least} to {most} bytes long and is {size}"
    return f"may be {most} bytes long and is {size}"


def _number_check(limits: limits_pb2.FieldLimits, *, required: bool) -> Check | None:
    low = limits.min if limits.HasField("min") else None
    high = limits.max if limits.HasField("max") else None
    if low is None and high is None and not required:
        return None

    def check(value: float) -> None:
        if required and not value:
            raise _Violation("must not be zero")
        if low is not None and value < low:
            raise _Violation(f"must be at least {low} and is {value}")
        if high is not None and value > high:
            raise _Violation(f"must be at most {high} and is {value}")

    return check


def _enum_check(field: FieldDescriptor, limits: limits_pb2.FieldLimits) -> Check:
    kind = field.enum_type
    assert kind is not None
    name = kind.name
    known = frozenset(kind.values_by_number)
    required = limits.required

    def check(value: int) -> None:
        if value not in known:
            raise _Violation(f"is {value}, which is no {name}")
        if required and not value:
            raise _Violation(f"must be one {name}")

    return check


def _list_check(field: FieldDescriptor, limits: limits_pb2.FieldLimits, walk: Check) -> Check:
    check_item = _item_check(field, limits, walk, item=True)
    check_count = _count_check(limits)
    unique = limits.unique
    if unique and field.type in _MESSAGE:
        raise ValueError(f"{field.full_name}: unique is for scalars")

    def check(values: Any) -> None:
        check_count(values)
        if unique and len(set(values)) != len(values):
            raise _Violation("must not name one thing twice")
        if check_item is None or check_item is _any:
            return
        for index, value in enumerate(values):
            try:
                check_item(value)
            except _Violation as violation:
                raise violation.under(f"[{index}]") from None

    return check


def _map_check(field: FieldDescriptor, limits: limits_pb2.FieldLimits, walk: Check) -> Check:
    kind = field.message_type
    assert kind is not None
    check_key = _item_check(kind.fields_by_name["key"], _NO_LIMITS, walk, item=True)
    check_value = _item_check(kind.fields_by_name["value"], _NO_LIMITS, walk, item=True)
    check_count = _count_check(limits)

    def check(values: Any) -> None:
        check_count(values)
        for key in values:
            try:
                if check_key is not None:
                    check_key(key)
                if check_value is not None:
                    check_value(values[key])
            except _Violation as violation:
                raise violation.under(f"[{str(key)[:64]!r}]") from None

    return check


def _counts(limits: limits_pb2.FieldLimits) -> tuple[int, int]:
    """How many items a list or map has at least and at most."""
    return max(limits.min_items, int(limits.required)), limits.max_items or MAX_ITEMS


def _count_check(limits: limits_pb2.FieldLimits) -> Check:
    least, most = _counts(limits)

    def check(values: Any) -> None:
        if not least <= len(values) <= most:
            raise _Violation(f"must have {least} to {most} items and has {len(values)}")

    return check
