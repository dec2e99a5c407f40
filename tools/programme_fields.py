"""The page of every field of a programme file, and of what its expressions see."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from comity.v1 import facts_pb2
from node.programme.schema import json_schema

VARIABLES: Final = (("event", "EventFacts"), ("member", "MemberFacts"), ("local", "LocalFacts"))
LARGE: Final = {10**12: "10¹²", -(10**12): "-10¹²"}
KINDS: Final = {
    FieldDescriptor.TYPE_STRING: "text",
    FieldDescriptor.TYPE_INT64: "number",
    FieldDescriptor.TYPE_BOOL: "truth",
}
NAMES: Final = r"^[a-z][a-z0-9_-]{0,62}$"


def page(notice: str, proto: str) -> str:
    """The page, with what the comments in the text of `facts.proto` say of the variables."""
    schema, comments = json_schema(), _comments(proto)
    lines = [
        "# Fields of the programme file",
        "",
        notice,
        "",
        "How they work together: [the programme file](programme-file.md). For editors: "
        "[programme.schema.json](programme.schema.json). Names are up to 63 of `a-z`, `0-9`, `-` "
        "and `_`, and begin with a letter.",
        "",
        "## The file",
        "",
        *_table(schema),
    ]
    for name, part in sorted(schema["$defs"].items()):
        if "properties" in part:
            lines += ["", f"## {name}", "", part.get("description", ""), "", *_table(part)]
    for variable, message in VARIABLES:
        told = comments[message].partition(": ")[2]
        lines += ["", f"## The variable {variable}", "", told[:1].upper() + told[1:]]
        lines += ["", "| name | type | meaning |", "|---|---|---|"]
        lines += _variables(variable, message, comments)
    return "\n".join(lines) + "\n"


def _table(part: Mapping[str, Any]) -> Iterator[str]:
    yield "| field | type | default | meaning |"
    yield "|---|---|---|---|"
    required = set(part.get("required", ()))
    for name, field in part["properties"].items():
        default = field.get("default")
        shown = "required" if name in required else "" if default in (None, []) else _value(default)
        yield f"| `{name}` | {_kind(field)} | {shown} | {field.get('description', '')} |"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return LARGE.get(value, f"`{value}`") if isinstance(value, int) else f"`{value}`"


def _kind(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        choices = json_schema()["$defs"][name].get("enum")
        if choices:
            return ", ".join(f"`{one}`" for one in choices)
        return f"[{name}](#{name.lower()})"
    if "enum" in field:
        return ", ".join(f"`{one}`" for one in field["enum"])
    kind = field.get("type")
    if kind == "array":
        return f"list of {_kind(field['items'])}"
    if kind == "object":
        (inner,) = field["patternProperties"].values()
        return f"by name: {_kind(inner)}"
    if kind == "integer":
        low, high = field["minimum"], field["maximum"]
        return f"{LARGE.get(low, low)} to {LARGE.get(high, high)}"
    if kind == "boolean":
        return "`true`, `false`"
    if field.get("pattern") == NAMES:
        return "name"
    longest = field.get("maxLength")
    return f"text, up to {longest} characters" if longest else "text"


def _variables(variable: str, message: str, comments: Mapping[str, str]) -> Iterator[str]:
    for field in facts_pb2.DESCRIPTOR.message_types_by_name[message].fields:
        told = comments.get(f"{message}.{field.name}", "")
        yield f"| `{variable}.{field.name}` | {_variable(field)} | {told} |"
        if field.name == "lines" and field.message_type is not None:
            for one in field.message_type.fields:
                told = comments.get(f"LineFacts.{one.name}", "")
                yield f"| a line's `{one.name}` | {_variable(one)} | {told} |"


def _variable(field: FieldDescriptor) -> str:
    if field.message_type is None:
        return f"{'list of ' if field.is_repeated else ''}{KINDS[field.type]}"
    if field.message_type.GetOptions().map_entry:
        return f"{KINDS[field.message_type.fields_by_name['value'].type]} by name"
    return "list of lines"


def _comments(proto: str) -> Mapping[str, str]:
    """The comment above each message and field, by `Message` and `Message.field`."""
    found: dict[str, str] = {}
    above: list[str] = []
    message = ""
    for line in map(str.strip, proto.splitlines()):
        if line.startswith("//"):
            above.append(line.removeprefix("//").strip())
            continue
        if opened := re.match(r"message (\w+) ", line):
            message = opened[1]
            found[message] = " ".join(above)
        elif field := re.match(r"[\w.<>, ]+ (\w+) = \d+;", line):
            found[f"{message}.{field[1]}"] = " ".join(above)
        above = []
    return found
