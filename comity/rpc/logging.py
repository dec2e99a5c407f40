"""Log lines: one JSON object each, with the request id of the call they belong to.

Secrets and mandates do not belong in a log; fields with such names are blotted out here even
when a caller of the logger forgets.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from comity.clock import Clock, rfc3339

# Tracebacks name files and lines; the values of variables stay out of them.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_SECRET = frozenset({"authorization", "bearer_token", "password", "pin", "private_key", "token"})


def configure_logging(*, stream: TextIO, clock: Clock, level: str = "info") -> None:
    """Send this process's log to `stream`, from `level` (`debug` … `critical`) upwards."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _stamp(clock),
            _blot,
            _TRACEBACKS,
            structlog.processors.JSONRenderer(sort_keys=True, default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )


def get_logger(**bound: str) -> FilteringBoundLogger:
    """A logger whose lines all carry `bound`, such as the server's origin."""
    logger: FilteringBoundLogger = structlog.get_logger(**bound)
    return logger


def _stamp(clock: Clock) -> Callable[[WrappedLogger, str, EventDict], EventDict]:
    def stamp(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        event["at"] = rfc3339(clock())
        return event

    return stamp


def _blot(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    blotted: dict[str, Any] = {key: "…" for key in event if key.lower() in _SECRET}
    event.update(blotted)
    return event
