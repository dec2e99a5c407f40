"""The table of permissions: the one that ships, and what a table may not look like."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import ServiceDescriptor

from comity.errors import Forbidden, Unauthenticated
from comity.rpc.authorisation import permissions, read_permissions
from comity.rpc.caller import Caller, CallerKind
from comity.v1 import (
    clearing_pb2,
    log_pb2,
    member_pb2,
    merchant_pb2,
    office_pb2,
    operator_pb2,
    peer_pb2,
    programme_pb2,
)

FILES = (
    clearing_pb2,
    log_pb2,
    member_pb2,
    merchant_pb2,
    office_pb2,
    operator_pb2,
    peer_pb2,
    programme_pb2,
)
SERVICES: list[ServiceDescriptor] = [
    service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()
]
PEERS = {CallerKind.BRAND, CallerKind.OPERATOR, CallerKind.CLEARING}
SESSIONS = {CallerKind.MEMBER, CallerKind.TILL, CallerKind.MANAGER, CallerKind.AUDITOR}


def caller(kind: CallerKind) -> Caller:
    return Caller(kind=kind, id="somebody")


def test_the_table_has_one_row_for_each_rpc_and_no_other() -> None:
    table = permissions()
    table.check_covers(SERVICES)
    served = {f"/{s.full_name}/{m.name}" for s in SERVICES for m in s.methods}
    assert set(table.rows) == served


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: str(service.name))
def test_each_rpc_lets_in_the_kinds_of_its_row_and_nobody_else(service: ServiceDescriptor) -> None:
    table = permissions()
    for method in service.methods:
        path = f"/{service.full_name}/{method.name}"
        for kind in CallerKind:
            if kind in table.rows[path]:
                table.require(caller(kind), path)
            else:
                with pytest.raises((Forbidden, Unauthenticated)):
                    table.require(caller(kind), path)


def test_no_rpc_mixes_peers_and_sessions_unless_it_is_open_to_anyone() -> None:
    for path, kinds in permissions().rows.items():
        if kinds != frozenset(CallerKind):
            assert not (kinds & PEERS and kinds & SESSIONS), path
            assert CallerKind.ANONYMOUS not in kinds, path


@pytest.mark.parametrize(
    "text",
    [
        "comity.v1.MemberService/Redeem",
        "Redeem member",
        "comity.v1.MemberService/Redeem stranger",
        "comity.v1.MemberService/Redeem anyone member",
        "comity.v1.S/A member\ncomity.v1.S/A till",
    ],
)
def test_a_line_which_is_no_row_is_refused_with_its_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"permissions line \d: "):
        read_permissions(text)


def test_comments_and_empty_lines_are_not_rows() -> None:
    table = read_permissions("# a comment\n\ncomity.v1.S/A  till manager # both\n")
    assert table.rows == {"/comity.v1.S/A": {CallerKind.TILL, CallerKind.MANAGER}}


def test_a_row_without_an_rpc_is_refused() -> None:
    service = log_pb2.DESCRIPTOR.services_by_name["SessionService"]
    rows = "\n".join(f"{service.full_name}/{m.name} anyone" for m in service.methods)
    with pytest.raises(ValueError, match="name no RPC"):
        read_permissions(f"{rows}\n{service.full_name}/Gone anyone").check_covers([service])
