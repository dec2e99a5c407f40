"""The id of one call, made by the caller and found in the logs of both sides."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

REQUEST_ID_KEY: Final = "comity-request-id"
"""The metadata key it travels under."""

NewRequestId = Callable[[], str]

_FORM: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def request_ids(random: Callable[[int], bytes]) -> NewRequestId:
    """A source of request ids, each of 64 random bits."""
    return lambda: random(8).hex()


def accepted(text: str | bytes | None) -> str | None:
    """A caller's own request id, if it is fit to be written into a log."""
    return text if isinstance(text, str) and _FORM.fullmatch(text) else None
