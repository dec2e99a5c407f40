"""The limits of fields: each rule, at its edge, with the path of the field."""

from __future__ import annotations

import contextlib
from itertools import count
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import Malformed
from comity.v1 import common_pb2, limits_pb2, member_pb2, peer_pb2
from comity.v1.limits_pb2 import FieldLimits
from comity.validation import MAX_BYTES, MAX_ITEMS, validate

_numbers = count()
ONE, MANY = Field.LABEL_OPTIONAL, Field.LABEL_REPEATED


def kind_with(
    limits: FieldLimits | None = None,
    *,
    type_: Field.Type.ValueType = Field.TYPE_STRING,
    label: Field.Label.ValueType = ONE,
    presence: bool = False,
) -> Any:
    """A message class whose one field is `value`."""
    package = f"comity.test.limits{next(_numbers)}"
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto",
        package=package,
        syntax="proto3",
        dependency=["comity/v1/limits.proto"],
    )
    enum = file.enum_type.add(name="Colour")
    enum.value.add(name="COLOUR_UNSPECIFIED", number=0)
    enum.value.add(name="COLOUR_RED", number=1)
    message = file.message_type.add(name="M")
    field = message.field.add(name="value", number=1, type=type_, label=label)
    if type_ == Field.TYPE_ENUM:
        field.type_name = f".{package}.Colour"
    if presence:
        message.oneof_decl.add(name="_value")
        field.oneof_index, field.proto3_optional = 0, True
    if limits is not None:
        field.options.Extensions[limits_pb2.limits].CopyFrom(limits)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.M"))


def refused(message: Message) -> Malformed:
    with pytest.raises(Malformed) as caught:
        validate(message)
    return caught.value


def check(kind: Any, *, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        validate(kind(value=value))
    for value in bad:
        assert refused(kind(value=value)).field.startswith("value")


def test_without_an_option_text_and_lists_are_bounded_all_the_same() -> None:
    check(kind_with(), good=["", "x" * MAX_BYTES], bad=["x" * (MAX_BYTES + 1)])
    check(kind_with(type_=Field.TYPE_BYTES), good=[b"x" * MAX_BYTES], bad=[b"x" * (MAX_BYTES + 1)])
    check(kind_with(label=MANY), good=[["x"] * MAX_ITEMS], bad=[["x"] * (MAX_ITEMS + 1)])


def test_the_length_of_text_is_its_utf8_bytes() -> None:
    check(kind_with(FieldLimits(max_len=4)), good=["abcd", "éé"], bad=["abcde", "ééé", "ééab"])


def test_an_empty_text_is_absent_unless_required() -> None:
    check(kind_with(FieldLimits(min_len=2)), good=["", "ab"], bad=["a"])
    check(kind_with(FieldLimits(required=True, min_len=2)), good=["ab"], bad=["", "a"])
    check(kind_with(FieldLimits(exact_len=2)), good=["", "ab"], bad=["a", "abc"])


def test_an_id_wears_its_prefix_and_goes_on() -> None:
    check(kind_with(FieldLimits(prefix="rdm_")), good=["", "rdm_1"], bad=["rdm_", "win_1", "xrdm_"])


def test_a_pattern_matches_the_whole_text() -> None:
    check(kind_with(FieldLimits(pattern="[A-Z]{3}")), good=["EUR"], bad=["EUR\n", "EURO", "eur"])


def test_bounds_of_a_number_hold_at_zero_too() -> None:
    kind = kind_with(FieldLimits(min=1, max=5), type_=Field.TYPE_INT64)
    check(kind, good=[1, 5], bad=[0, -1, 6])


def test_an_optional_number_may_be_absent_but_not_out_of_bounds() -> None:
    kind = kind_with(FieldLimits(min=1), type_=Field.TYPE_INT64, presence=True)
    validate(kind())
    check(kind, good=[1], bad=[0])
    required = kind_with(FieldLimits(required=True), type_=Field.TYPE_INT64, presence=True)
    check(required, good=[0], bad=[])
    assert refused(required()).field == "value"


def test_a_required_number_is_not_zero() -> None:
    check(kind_with(FieldLimits(required=True), type_=Field.TYPE_UINT64), good=[1], bad=[0])


def test_an_enum_is_a_known_value_and_a_chosen_one_if_required() -> None:
    check(kind_with(type_=Field.TYPE_ENUM), good=[0, 1], bad=[2])
    check(kind_with(FieldLimits(required=True), type_=Field.TYPE_ENUM), good=[1], bad=[0, 2])


def test_an_item_of_a_list_is_never_absent() -> None:
    check(
        kind_with(FieldLimits(exact_len=2), label=MANY), good=[[], ["ab"]], bad=[[""], ["ab", "a"]]
    )
    assert refused(kind_with(FieldLimits(min_len=1), label=MANY)(value=["a", ""])).field == (
        "value[1]"
    )


def test_a_list_is_neither_too_short_nor_too_long_nor_repeats_itself() -> None:
    check(kind_with(FieldLimits(min_items=1, max_items=2), label=MANY), good=[["a"]], bad=[[]])
    check(kind_with(FieldLimits(required=True), label=MANY), good=[["a"]], bad=[[]])
    check(kind_with(FieldLimits(unique=True), label=MANY), good=[["a", "b"]], bad=[["a", "a"]])


def test_the_path_leads_through_messages_lists_and_maps() -> None:
    failure = common_pb2.Failure(code="X", metadata={"k": "x" * (MAX_BYTES + 1)})
    assert refused(failure).field == "metadata['k']"
    holds = peer_pb2.PlaceHoldsRequest(heads=common_pb2.HeadExchange())
    assert refused(holds).field == "holds"
    holds.heads.links.add(hashes=[b""] * 129)
    assert refused(holds).field == "heads.links[0].hashes"


def test_one_member_of_a_required_oneof_must_be_set() -> None:
    request = member_pb2.GetQuoteRequest(issuer="grocery", quantity=1)
    assert refused(request).field == "subject"
    validate(member_pb2.GetQuoteRequest(issuer="grocery", reward_id="mug"))
    points = member_pb2.GetQuoteRequest(issuer="grocery", acceptor_points=0)
    assert refused(points).field == "acceptor_points"


def test_a_message_which_is_absent_is_not_looked_into() -> None:
    validate(member_pb2.GetRedemptionResponse())


@given(st.binary(max_size=300))
def test_whatever_parses_is_validated_or_refused_as_malformed(data: bytes) -> None:
    request = peer_pb2.PlaceHoldsRequest()
    try:
        request.ParseFromString(data)
    except DecodeError:
        return
    with contextlib.suppress(Malformed):
        validate(request)
