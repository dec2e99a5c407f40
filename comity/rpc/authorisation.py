"""Which kind of caller may call which RPC: one text table, read at start and walked by a test.

A line is an RPC and the kinds of caller it is open to:

    comity.v1.MemberService/Redeem  member

`anyone` opens an RPC to every kind, the anonymous one included. What follows `#` is a comment.
An RPC without a row is not served, and a row without an RPC is a mistake: both are refused when
an endpoint is built, so the table cannot drift from the protos.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files

from google.protobuf.descriptor import ServiceDescriptor

from comity.errors import Forbidden, Unauthenticated
from comity.rpc.caller import Caller, CallerKind

ANYONE = "anyone"


class Permissions:
    """The table: `/<service>/<rpc>` to the kinds of caller it is open to."""

    def __init__(self, rows: Mapping[str, frozenset[CallerKind]]) -> None:
        self._rows = dict(rows)

    @property
    def rows(self) -> Mapping[str, frozenset[CallerKind]]:
        return self._rows

    def check_covers(self, services: Iterable[ServiceDescriptor]) -> None:
        """Raise ValueError unless the rows of these services are exactly their RPCs."""
        for service in services:
            prefix = f"/{service.full_name}/"
            wanted = {prefix + method.name for method in service.methods}
            found = {path for path in self._rows if path.startswith(prefix)}
            if wanted - found:
                raise ValueError(f"permissions have no row for {', '.join(sorted(wanted - found))}")
            if found - wanted:
                raise ValueError(f"permissions name no RPC: {', '.join(sorted(found - wanted))}")

    def require(self, caller: Caller, method: str) -> None:
        """Raise Unauthenticated or Forbidden unless the caller's kind may call the method."""
        if caller.kind in self._rows[method]:
            return
        if caller.kind is CallerKind.ANONYMOUS:
            raise Unauthenticated(
                f"{method} is not open to anonymous callers; present a certificate on the peer "
                "listener, or open a session and send its token."
            )
        kinds = " or ".join(sorted(kind.value for kind in self._rows[method]))
        raise Forbidden(f"{method} is open to {kinds} only; a {caller.kind.value} may not call it.")


def read_permissions(text: str) -> Permissions:
    """The table in `text`; ValueError names the first line which is not a row."""
    rows: dict[str, frozenset[CallerKind]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        name, *kinds = words
        path = f"/{name}"
        if path.count("/") != 2 or not kinds:
            raise ValueError(f"permissions line {number}: expected `package.Service/Rpc kind …`")
        if path in rows:
            raise ValueError(f"permissions line {number}: {name} has a row already")
        try:
            rows[path] = (
                frozenset(CallerKind) if kinds == [ANYONE] else frozenset(map(CallerKind, kinds))
            )
        except ValueError as error:
            raise ValueError(f"permissions line {number}: {error}") from error
    return Permissions(rows)


def permissions() -> Permissions:
    """The table shipped with the package, for every service of the network."""
    return read_permissions(files("comity.rpc").joinpath("permissions.txt").read_text("utf-8"))
