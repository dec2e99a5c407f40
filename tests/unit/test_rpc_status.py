"""Errors on the wire: each class survives with all it says."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import (
    BY_CODE,
    ComityError,
    Malformed,
    Overloaded,
    Unauthenticated,
    Unavailable,
    rebuild,
)
from comity.rpc.status import DETAILS_KEY, from_rpc_error, from_status, grpc_code, to_status

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def rpc_error(
    code: grpc.StatusCode, status: status_pb2.Status | None = None
) -> grpc.aio.AioRpcError:
    trailing = () if status is None else ((DETAILS_KEY, status.SerializeToString()),)
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details="socket closed"
    )


@given(
    code=st.sampled_from(sorted(BY_CODE)),
    message=TEXT,
    field=TEXT,
    metadata=st.dictionaries(TEXT, TEXT, max_size=5),
)
def test_every_class_is_rebuilt_with_message_field_and_metadata(
    code: str, message: str, field: str, metadata: dict[str, str]
) -> None:
    sent = rebuild(code, message, field=field, metadata=metadata)
    got = from_rpc_error(rpc_error(grpc_code(sent), to_status(sent)))
    assert type(got) is type(sent)
    assert (got.message, got.field, got.metadata) == (message, field, metadata)


def test_a_code_of_a_newer_peer_becomes_the_general_error() -> None:
    status = status_pb2.Status(message="Something new.")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="NEWER", domain="comity"))
    error = from_status(status)
    assert error is not None
    assert type(error) is ComityError
    assert error.message == "Something new."


def test_what_says_nothing_of_ours_is_judged_by_its_status_alone() -> None:
    foreign = status_pb2.Status(code=14)
    foreign.details.add().Pack(error_details_pb2.ErrorInfo(reason="QUOTA", domain="example.com"))
    for status in (None, foreign):
        assert type(from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE, status))) is Unavailable
    assert type(from_rpc_error(rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED))) is Unavailable
    assert type(from_rpc_error(rpc_error(grpc.StatusCode.UNAUTHENTICATED))) is Unauthenticated
    assert type(from_rpc_error(rpc_error(grpc.StatusCode.DATA_LOSS))) is ComityError


def test_details_which_contradict_the_call_are_not_believed() -> None:
    status = to_status(Malformed("Send it again."))
    assert type(from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE, status))) is Unavailable


@pytest.mark.parametrize(("metadata", "ms"), [({}, 1_000), ({"retry_after_ms": "40"}, 40)])
def test_a_call_to_be_repeated_says_when(metadata: dict[str, str], ms: int) -> None:
    status = to_status(Overloaded("Later.", metadata=metadata))
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToMilliseconds() == ms


def test_a_long_text_is_cut_so_that_the_status_still_arrives() -> None:
    metadata = {f"{n:03}" + "k" * 1_000: "v" * 1_000 for n in range(100)}
    error = Malformed("x" * 100_000, field="y" * 100_000, metadata=metadata)
    assert len(to_status(error).SerializeToString()) < 6_000
