"""The JSON Schema of a programme file: editors complete and check by it.

It says what a machine can say of a single place. That names fit together, and what conditions
mean, is found when the file is read.
"""

from __future__ import annotations

import json
from typing import Any, Final

from node.programme.model import Programme

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema, as plain values."""
    made = _plain(Programme.model_json_schema())
    assert isinstance(made, dict)
    return {"$schema": DIALECT, "title": "A programme of a Comity brand", **made}


def schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def _plain(part: Any) -> Any:
    """Without titles made from names, and with what may be left out said once."""
    if isinstance(part, list):
        return [_plain(one) for one in part]
    if not isinstance(part, dict):
        return part
    made = {name: _plain(value) for name, value in part.items()}
    if isinstance(made.get("title"), str):
        del made["title"]
    if isinstance(made.get("description"), str):
        made["description"] = " ".join(made["description"].split())
    kinds = made.get("anyOf")
    if isinstance(kinds, list) and {"type": "null"} in kinds:
        (kind,) = [one for one in kinds if one != {"type": "null"}]
        del made["anyOf"]
        made = kind | made
    if made.get("default", "") is None or isinstance(made.get("default"), dict):
        del made["default"]
    if "patternProperties" in made:
        made["additionalProperties"] = False
    return made
