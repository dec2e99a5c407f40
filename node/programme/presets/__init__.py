"""Programmes to start from: the public rules of well-known ones, each with events to try it on.

`<name>.yaml` is a programme file whose comments say where its rules come from; what
`<name>.events.yaml` does to a member, with what is expected, tests it.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from comity.errors import NotFound

_EVENTS: Final = ".events.yaml"


def names() -> tuple[str, ...]:
    """Every preset, by name."""
    found = (one.name for one in files(__name__).iterdir())
    return tuple(
        sorted(
            name.removesuffix(".yaml")
            for name in found
            if name.endswith(".yaml") and not name.endswith(_EVENTS)
        )
    )


def programme(name: str) -> bytes:
    """The programme file of a preset. Raises NotFound."""
    return _read(name, ".yaml")


def events(name: str) -> bytes:
    """The event file of a preset. Raises NotFound."""
    return _read(name, _EVENTS)


def title(name: str) -> str:
    """The first line of a preset's comment."""
    return programme(name).decode().partition("\n")[0].removeprefix("#").strip()


def _read(name: str, ending: str) -> bytes:
    if name not in names():
        raise NotFound(f"There is no preset {name}; there is {', '.join(names())}.")
    return (files(__name__) / f"{name}{ending}").read_bytes()
