"""Every kind of mistake in a programme file: its line, and a sentence that says what to do."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import Malformed
from node.programme import read_programme
from node.programme.reader import MAX_FILE_BYTES, TOLD, Mistaken

FILE = """\
version: "1"
name: Corner Club
zone: Europe/Paris
currency: EUR
units:
  points: {kind: hard, expiry: {months: 24}}
  growth: {kind: growth}
events:
  visit: {attributes: {minutes: number}}
earn:
  purchase: {on: purchase, rate: {points: 1, per_minor: 100}}
  visit:
    on: visit
    unit: growth
    formula: event.number.minutes / 10
    limits: [{times: 1, per: day}]
multipliers:
  monday: {when: local.weekday == 1, numerator: 2, rules: [purchase]}
tiers:
  levels:
    - {id: basic}
    - {id: gold, reach: [{growth: 100}], benefits: [coffee]}
  validity: {months: 12}
  rerating: {clear: [growth]}
benefits:
  coffee: {title: A coffee}
badges:
  regular: {on: visit, when: event.number.minutes > 60}
conversions:
  swap: {from_unit: growth, into_unit: points, points: 10, into_points: 1}
payment: {value: {minor: 1, points: 1}}
enrolment: {regions: [FR, NO]}
velocity:
  - {on: visit, times: 5, per: day}
"""

MISTAKES = [
    # What is not such YAML.
    ("currency: EUR", "currency: [EUR", 5, "this is not YAML"),
    ("currency: EUR", "currency: &c EUR", 4, "anchors (&) and aliases (*) are not used here"),
    ("currency: EUR", "currency: *c", 4, "anchors (&) and aliases (*) are not used here"),
    ("currency: EUR", "currency: !!str EUR", 4, "types (!) are not given here"),
    ("currency: EUR", "? [a]\n: EUR", 4, "a name is one word"),
    ("currency: EUR", "currency: EUR\ncurrency: USD", 5, "currency is given a second time"),
    ("{id: basic}", "{id: basic, id: basic}", 21, "id is given a second time"),
    ("numerator: 2", f"numerator: {'9' * 31}", 18, "this number is too large"),
    ("currency: EUR", "currency: " + "[" * 40, 4, "nested too deep"),
    # What is missing, unknown or of the wrong type.
    ("name: Corner Club\n", "", 1, "name: this is missing"),
    ("kind: hard", "kind: harder", 6, "this is one of 'gold', 'hard', 'soft' or 'growth'"),
    ("months: 24", "month: 24", 6, "there is no such name; is it months"),
    ("months: 24", "months: 24, days: 3", 6, "at most one of days, months"),
    ("months: 24", 'months: "24"', 6, "this is a whole number"),
    ("months: 24", "months: 2.5", 6, "this is a whole number"),
    ("months: 24", "months: 0", 6, "this is at least 1"),
    ("months: 24", "months: 1201", 6, "this is at most 1200"),
    ('version: "1"', "version: 1", 1, "this is text"),
    ('version: "1"', 'version: ""', 1, "this text is empty"),
    ("name: Corner Club", f"name: {'x' * 129}", 2, "at most 128 characters"),
    ("name: Corner Club", 'name: "Corner\\e[31m"', 2, "one line of text, without control"),
    ("{title: A coffee}", '{title: "A\\ncoffee"}', 26, "one line of text, without control"),
    ("zone: Europe/Paris", "zone: localtime", 3, "not a time zone of the IANA"),
    ("zone: Europe/Paris", "zone: right/UTC", 3, "not a time zone of the IANA"),
    ("zone: Europe/Paris", "zone: ../UTC", 3, "not a time zone of the IANA"),
    ("zone: Europe/Paris", "zone: Mars/Olympus", 3, "not a time zone of the IANA"),
    ("currency: EUR", "currency: euro", 4, "a currency is three capital letters"),
    ("regions: [FR, NO]", "regions: [FR, Norway]", 32, "a region is two capital letters"),
    ("  growth: {kind", "  Growth: {kind", 7, "a name is up to 63 of a-z"),
    ("units:\n", "units: []\nunit:\n", 5, "this is a list of names with values"),
    ("benefits: [coffee]", "benefits: coffee", 22, "this is a list, such as [a, b]"),
    ("currency: EUR", "currency: EUR\nburn_frozen: maybe", 5, "this is true or false"),
    ("minutes: number", "minutes: fraction", 9, "this is one of 'text', 'number' or 'truth'"),
    ("reach: [{growth: 100}]", "reach: [{}]", 22, "this list has at least 1"),
    # What does not go together.
    ("kind: hard", "kind: gold", 6, "a gold unit publishes its value"),
    ("kind: hard", "kind: hard, value: {minor: 1, points: 1}", 6, "only a gold unit"),
    ("kind: growth", "kind: soft", 5, "say with main"),
    ("currency: EUR", "currency: EUR\nmain: growth", 5, "one that can be spent"),
    ("currency: EUR", "currency: EUR\nmain: coins", 5, "there is no unit coins"),
    ("{on: purchase, rate", "{on: visit, rate", 11, "only a purchase has an amount"),
    ("rate: {points: 1, per_minor: 100}", "points: 0", 11, "points above zero, or a penalty"),
    ("per_minor: 100}", "per_minor: 100}, points: 3", 11, "exactly one of rate, points and form"),
    (
        "rate: {points: 1, per_minor: 100}",
        "points: 1, rounding: line",
        11,
        "only a rate is rounded",
    ),
    ("  visit: {attributes", "  purchase: {attributes", 9, "purchases are known already"),
    ("    on: visit", "    on: visits", 13, "there is no event visits; there is purchase, visit"),
    ("    unit: growth", "    unit: grow", 14, "there is no unit grow; there is points, growth"),
    ("{times: 1, per: day}", "{per: day}", 16, "a limit gives times, points or both"),
    ("{times: 1, per: day}", "{times: 1, per: hour}", 16, "this is one of 'day', 'week'"),
    ("rules: [purchase]", "rules: [buy]", 18, "there is no earn rule buy"),
    ("{id: basic}", "{id: gold}", 21, "gold is the name of more than one level"),
    ("{id: basic}", "{id: basic, reach: [{growth: 1}]}", 21, "the first level is everyone's"),
    (", reach: [{growth: 100}]", "", 22, "how it is reached"),
    ("reach: [{growth: 100}]", "reach: [{grow: 100}]", 22, "there is no unit grow"),
    ("benefits: [coffee]", "benefits: [tea]", 22, "there is no benefit tea; there is coffee"),
    ("months: 12", "months: 12, calendar_years: 1", 23, "at most one of months and calendar_years"),
    ("  validity: {months: 12}\n", "", 23, "levels without validity never end"),
    ("clear: [growth]", "clear: [points]", 24, "only growth is cleared"),
    ("clear: [growth]", "clear: [growth], deduct: {growth: 1}", 24, "deduct or clear"),
    ("{on: visit, when: event.number.minutes > 60}", "{on: visit}", 28, "give when as well"),
    ("into_unit: points", "into_unit: growth", 30, "turns one unit into another"),
    ("from_unit: growth, into_unit: points", "from_unit: points, into_unit: growth", 30, "earned"),
    ("payment: {", "payment: {unit: growth, ", 31, "growth cannot be spent"),
    ("payment: {", "payment: {unit: coins, ", 31, "there is no unit coins"),
    ("- {on: visit", "- {on: visits", 34, "there is no event visits"),
    # What is wrong with a condition or formula.
    (
        "event.number.minutes / 10",
        "event.number.minute / 10",
        15,
        "no event has an attribute minute",
    ),
    ("event.number.minutes / 10", "event.number.minutes > 10", 15, "a formula is a whole number"),
    ("event.number.minutes / 10", "1.5", 15, "this is"),
    ("event.number.minutes / 10", "int(1.5)", 15, "only whole numbers are allowed"),
    ("local.weekday == 1", "local.weekday", 18, "a condition is true or false"),
    ("local.weekday == 1", "local.weekday = 1", 18, "Syntax error"),
    ("local.weekday == 1", "member.level == 'silver'", 18, "there is no level silver"),
    ("{on: visit, when", "{when", 28, "there is no event here"),
    ("benefits: [coffee]", "when: event.amount_minor > 1", 22, "there is no event here"),
]


@pytest.mark.parametrize(("right", "wrong", "line", "sentence"), MISTAKES)
def test_a_mistake_has_its_line_and_says_what_to_do(
    right: str, wrong: str, line: int, sentence: str
) -> None:
    assert FILE.count(right) >= 1
    with pytest.raises(Mistaken) as caught:
        read_programme(FILE.replace(right, wrong, 1).encode())
    told = [one for one in caught.value.mistakes if sentence in one.sentence]
    if not told:
        assert sentence in str(caught.value)
        told = list(caught.value.mistakes)
    assert told[0].place is not None
    assert told[0].place.line == line, str(caught.value)
    assert all(str(one).startswith("Line ") for one in caught.value.mistakes)


def test_the_file_without_mistakes_is_read() -> None:
    programme = read_programme(FILE.encode()).programme
    assert programme.enrolment.regions == ("FR", "NO")
    assert programme.earn["purchase"].on == "purchase"


@pytest.mark.parametrize(
    ("condition", "line", "column"),
    [
        ("local.foo > 1", 18, 23),
        ("'local.foo > 1'", 18, 24),
        ('"local.day > 1 && local.foo > 1"', 18, 41),
    ],
)
def test_a_mistake_in_a_condition_has_its_column(condition: str, line: int, column: int) -> None:
    with pytest.raises(Malformed, match=f"Line {line}, column {column} of the programme file"):
        read_programme(FILE.replace("local.weekday == 1", condition).encode())


def test_a_mistake_in_a_condition_of_several_lines_has_its_line() -> None:
    block = "when: |\n      local.day > 1 &&\n      local.foo > 1\n    numerator: 2"
    text = FILE.replace(
        "monday: {when: local.weekday == 1, numerator: 2, rules: [purchase]}",
        f"monday:\n    {block}",
    )
    with pytest.raises(Malformed, match="Line 21, column 12 of the programme file"):
        read_programme(text.encode())


def test_every_mistake_is_told_at_once_up_to_a_number() -> None:
    wrong = "".join(f"  r{n}: {{on: nothing{n}, points: 1}}\n" for n in range(30))
    with pytest.raises(Mistaken) as caught:
        read_programme((FILE + wrong.replace("  r0", "tags: {}\nbad:\n  r0")).encode())
    assert "there is no such name" in str(caught.value)
    text = FILE.replace("earn:\n", f"earn:\n{wrong}")
    with pytest.raises(Mistaken, match="And 10 more") as caught:
        read_programme(text.encode())
    assert len(caught.value.mistakes) == 30
    assert str(caught.value).count("Line ") == TOLD


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"- a\n- b",
        b"\xff\xfe\x00",
        b"a: 1\n---\nb: 2",
        b"\x00",
        b"a: " + b"x" * MAX_FILE_BYTES,
        b"[" * 60_000,
        b"{a: " * 15_000,
        b"- " * 30_000,
        b"? " * 30_000,
        b"a: &a [x]\nb: [*a, *a, *a, *a]\n",
    ],
)
def test_what_is_no_file_of_a_programme_is_refused_quickly(data: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(Malformed):
        read_programme(data)
    assert time.process_time() - begun < 5


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_programme(data)


@given(at=st.integers(0, len(FILE) - 1), put=st.sampled_from(list("\n:{}[]'\"&*!#-,x0 |>?@%`\t")))
def test_any_slip_of_the_pen_is_read_or_refused(at: int, put: str) -> None:
    text = FILE[:at] + put + FILE[at + 1 :]
    with suppress(Malformed):
        read_programme(text.encode())
