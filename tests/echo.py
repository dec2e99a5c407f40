"""A service for tests of the rpc layer, made of descriptors as protoc would make them.

message EchoRequest {
  string text = 1 [(limits) = {required: true, prefix: "txt_", max_len: 16}];
  repeated EchoItem items = 2 [(limits) = {max_items: 4}];
}
message EchoItem { bytes digest = 1 [(limits) = {required: true, exact_len: 4}]; }
message EchoResponse { string text = 1; string caller = 2; }
service EchoService { rpc Echo…; rpc EchoSlowly…; rpc FailOddly…; }
"""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor

from comity.errors import InsufficientPoints
from comity.rpc.authorisation import Permissions, read_permissions
from comity.rpc.caller import Caller
from comity.v1 import limits_pb2

PACKAGE = "comity.test"
ECHO = "/comity.test.EchoService/Echo"
SLOW = "/comity.test.EchoService/EchoSlowly"
ODD = "/comity.test.EchoService/FailOddly"

_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
_ONE = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
_MANY = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="comity/test/echo.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=["comity/v1/limits.proto"],
    )
    request = file.message_type.add(name="EchoRequest")
    text = request.field.add(name="text", number=1, type=_STRING, label=_ONE)
    text.options.Extensions[limits_pb2.limits].CopyFrom(
        limits_pb2.FieldLimits(required=True, prefix="txt_", max_len=16)
    )
    items = request.field.add(
        name="items", number=2, type=_MESSAGE, label=_MANY, type_name=f".{PACKAGE}.EchoItem"
    )
    items.options.Extensions[limits_pb2.limits].max_items = 4
    digest = file.message_type.add(name="EchoItem").field.add(
        name="digest", number=1, type=_BYTES, label=_ONE
    )
    digest.options.Extensions[limits_pb2.limits].CopyFrom(
        limits_pb2.FieldLimits(required=True, exact_len=4)
    )
    response = file.message_type.add(name="EchoResponse")
    response.field.add(name="text", number=1, type=_STRING, label=_ONE)
    response.field.add(name="caller", number=2, type=_STRING, label=_ONE)
    service = file.service.add(name="EchoService")
    for name in ("Echo", "EchoSlowly", "FailOddly"):
        service.method.add(
            name=name,
            input_type=f".{PACKAGE}.EchoRequest",
            output_type=f".{PACKAGE}.EchoResponse",
        )
    return file


_pool = descriptor_pool.Default()
_pool.Add(_file())

SERVICE: ServiceDescriptor = _pool.FindServiceByName(f"{PACKAGE}.EchoService")
EchoRequest: Any = message_factory.GetMessageClass(
    _pool.FindMessageTypeByName(f"{PACKAGE}.EchoRequest")
)
EchoItem: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.EchoItem"))
EchoResponse: Any = message_factory.GetMessageClass(
    _pool.FindMessageTypeByName(f"{PACKAGE}.EchoResponse")
)


class Echo:
    """Answers with what it was sent; `txt_refuse` is refused."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.let_go = asyncio.Event()
        self.finished = 0

    async def echo(self, caller: Caller, request: Any) -> Any:
        if request.text == "txt_refuse":
            raise InsufficientPoints(
                "You have 3 points; choose a cheaper reward.",
                field="items[0].digest",
                metadata={"available": "3"},
            )
        return EchoResponse(text=request.text, caller=caller.name)

    async def echo_slowly(self, caller: Caller, request: Any) -> Any:
        self.entered.set()
        await self.let_go.wait()
        self.finished += 1
        return await self.echo(caller, request)

    async def fail_oddly(self, caller: Caller, request: Any) -> Any:
        raise RuntimeError(f"the secret is in {request.text}")


def echo_permissions(kinds: str = "anyone") -> Permissions:
    """All three RPCs, open to `kinds`."""
    return read_permissions("\n".join(f"{path[1:]} {kinds}" for path in (ECHO, SLOW, ODD)))
