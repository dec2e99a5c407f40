"""Errors on the wire: a `ComityError` as `google.rpc.Status`, and the same class back from it.

The status travels in the trailing metadata under `grpc-status-details-bin`, as AIP-193 has it:

    ErrorInfo    reason = the error's code, domain = "comity", its metadata
    BadRequest   one field violation, where a field is to blame
    RetryInfo    when to repeat, where nothing was decided
"""

from __future__ import annotations

from typing import Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from comity.errors import (
    ComityError,
    Forbidden,
    Malformed,
    NotFound,
    Overloaded,
    Unauthenticated,
    Unavailable,
    rebuild,
)

DOMAIN: Final = "comity"
DETAILS_KEY: Final = "grpc-status-details-bin"
RETRY_AFTER_KEY: Final = "retry_after_ms"
"""The metadata of an `Unavailable` which becomes RetryInfo."""

_RETRY_AFTER_MS = 1_000

# Trailing metadata has a limit of 8 KiB at most receivers; more would lose the whole status.
_MESSAGE_CHARS = 500
_VALUE_CHARS = 128
_METADATA_ITEMS = 16

_BARE: Final[dict[grpc.StatusCode, type[ComityError]]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable,
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: Forbidden,
    grpc.StatusCode.UNIMPLEMENTED: NotFound,
    grpc.StatusCode.INVALID_ARGUMENT: Malformed,
}
"""What a status without our details means: the transport, or a proxy, spoke and not the server."""


def grpc_code(error: ComityError) -> grpc.StatusCode:
    """The gRPC status code which this error travels as."""
    return grpc.StatusCode[error.status]


def to_status(error: ComityError) -> status_pb2.Status:
    """The error with everything a caller needs to rebuild it."""
    message = error.message[:_MESSAGE_CHARS]
    status = status_pb2.Status(code=grpc_code(error).value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN)
    for key, value in list(error.metadata.items())[:_METADATA_ITEMS]:
        info.metadata[key[:_VALUE_CHARS]] = value[:_VALUE_CHARS]
    status.details.add().Pack(info)
    if error.field:
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=error.field[:_VALUE_CHARS], description=message)
        status.details.add().Pack(bad)
    if isinstance(error, Unavailable):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(_retry_after_ms(error))
        status.details.add().Pack(retry)
    return status


def from_status(status: status_pb2.Status) -> ComityError | None:
    """The error in a status, or None where it holds no ErrorInfo of ours."""
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    code = field = ""
    try:
        for detail in status.details:
            if detail.Unpack(info) and info.domain == DOMAIN:
                code = info.reason
            elif detail.Unpack(bad) and bad.field_violations:
                field = bad.field_violations[0].field
    except DecodeError:
        return None
    if not code:
        return None
    return rebuild(code, status.message, field=field, metadata=info.metadata)


def from_rpc_error(error: grpc.aio.AioRpcError) -> ComityError:
    """The error which the server raised, or what the transport's own failure amounts to."""
    rebuilt = _from_details(error)
    if rebuilt is not None:
        return rebuilt
    kind = _BARE.get(error.code(), ComityError)
    said = error.details() or "no reason given"
    return kind(f"The call failed ({error.code().name}): {said}")


def _from_details(error: grpc.aio.AioRpcError) -> ComityError | None:
    for key, value in error.trailing_metadata() or ():
        if key != DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:
            return None
        # A status may not claim another outcome than the call itself ended with.
        return from_status(status) if status.code == error.code().value[0] else None
    return None


def _retry_after_ms(error: Unavailable) -> int:
    text = error.metadata.get(RETRY_AFTER_KEY, "")
    return int(text) if text.isascii() and text.isdigit() else _RETRY_AFTER_MS
