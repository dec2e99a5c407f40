"""Log lines: JSON, with time and request id, and without secrets."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from comity.rpc.logging import configure_logging, get_logger


@pytest.fixture(autouse=True)
def _own_configuration() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_line_is_one_json_object_with_time_level_and_what_is_bound() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream, clock=lambda: 1_500_000, level="info")
    log = get_logger(origin="comity.example/grocery")
    log.debug("unheard")
    with structlog.contextvars.bound_contextvars(request_id="req1"):
        log.info("opened", port=7, token="s3cret")
    assert json.loads(stream.getvalue()) == {
        "at": "1970-01-01T00:00:01.500000Z",
        "event": "opened",
        "level": "info",
        "origin": "comity.example/grocery",
        "port": 7,
        "request_id": "req1",
        "token": "…",
    }


def test_a_failure_is_logged_with_its_traceback_but_not_the_values_in_it() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream, clock=lambda: 0)

    def fail(pin: str) -> None:
        raise RuntimeError("it broke")

    try:
        fail("s3" + "cret")
    except RuntimeError as error:
        get_logger().error("call_failed", exc_info=error)
    text = stream.getvalue()
    assert "it broke" in text
    assert "test_rpc_logging.py" in text
    assert "s3cret" not in text
    assert text.count("\n") == 1
