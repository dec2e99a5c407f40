"""What a member is shown of where it stands, and how versions of a programme follow each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comity.clock import DAY
from comity.errors import Conflict, Refused
from comity.ledger.rows import Rows
from comity.v1 import programme_pb2 as pb
from node.commands import DeclareProgramme, PublishProgramme, RecordEvent
from node.programme import read_programme
from node.status import status
from tests.brand import LEDGER
from tests.club import START_US, Club, content


@pytest.fixture
def club(tmp_path: Path) -> Club:
    return Club(tmp_path)


def shown(club: Club, account: str) -> pb.GetStatusResponse:
    with club.engine.connect() as connection:
        return status(club.rules, Rows(connection, LEDGER, now_us=club.now_us), account)


def publish(
    club: Club, *, effective_at_us: int = 0, without_notice: bool = False, **changes: Any
) -> pb.PublishProgrammeResponse:
    """Publish the club's programme with changes; JSON is YAML."""
    file = json.dumps(content(**changes)).encode()
    command = PublishProgramme(
        caller="manager:ann",
        id=club.new_id(),
        version=read_programme(file).programme.version,
        file=file,
        effective_at_us=effective_at_us,
        without_notice=without_notice,
    )
    return club.ask(command, pb.PublishProgrammeResponse)


def earning(points: int) -> dict[str, Any]:
    """The rules, with another rate for spending."""
    rules: dict[str, Any] = content()["earn"]
    rules["spend"]["rate"]["points"] = points
    return rules


@pytest.mark.row("T22")
def test_the_next_level_is_shown_with_what_is_missing_and_its_benefits_locked(club: Club) -> None:
    alice = club.enrol()
    club.buy(alice, 12_000)
    club.buy(alice, 26_000)
    found = shown(club, alice)
    assert (found.level.level, found.next.level) == ("silver", "gold")
    assert [(one.unit, one.points) for way in found.ways for one in way.missing] == [
        ("grocery/growth", 120)
    ]
    assert {one.benefit: one.unlocked for one in found.next.benefits} == {
        "delivery": True,
        "assistant": False,
    }
    assert all(one.unlocked for one in found.level.benefits)


def test_a_newcomer_has_the_first_level_and_the_highest_has_no_next(club: Club) -> None:
    alice = club.enrol()
    assert shown(club, alice).level.level == "member"
    club.buy(alice, 90_000)
    assert not shown(club, alice).HasField("next")


@pytest.mark.row("B2")
def test_badges_are_shown_earned_and_locked(club: Club) -> None:
    alice = club.enrol()
    assert {one.name: one.since_us for one in shown(club, alice).marks} == {
        "regular": 0,
        "founder": 0,
    }
    for _ in range(3):
        club.buy(alice, 100)
    assert {one.name: one.since_us for one in shown(club, alice).marks} == {
        "regular": START_US,
        "founder": 0,
    }


@pytest.mark.row("P3")
def test_tasks_say_what_is_left_today(club: Club) -> None:
    alice = club.enrol()
    left = {one.rule: (one.times_left, one.points_left) for one in shown(club, alice).tasks}
    assert left == {"sign-in": (1, -1), "present": (-1, 6)}
    club.happen(alice, "sign_in")
    left = {one.rule: (one.times_left, one.points_left) for one in shown(club, alice).tasks}
    assert left == {"sign-in": (0, -1), "present": (-1, 4)}


@pytest.mark.row("P7")
def test_points_that_expire_are_told_of_30_7_and_1_days_before(club: Club) -> None:
    alice = club.enrol()
    club.buy(alice, 5_000)
    end_us = START_US + 730 * DAY

    def told(days: int) -> list[int]:
        club.now_us = end_us - days * DAY
        return [
            one.within_days for one in shown(club, alice).notices if one.unit.endswith("points")
        ]

    assert (told(31), told(30), told(8), told(7), told(1)) == ([], [30], [30], [30, 7], [30, 7, 1])
    (first, *_) = shown(club, alice).notices
    assert (first.points, first.first_at_us) == (50, end_us)


@pytest.mark.row("T3")
def test_the_state_of_life_and_the_sources_are_shown(club: Club) -> None:
    alice = club.enrol()
    assert shown(club, alice).lifecycle == "new"
    for _ in range(3):
        club.buy(alice, 1_000)
    club.happen(alice, "sign_in")
    found = shown(club, alice)
    assert found.lifecycle == "sticky"
    growth = next(one for one in found.sources if one.unit.endswith("growth"))
    assert (growth.business, growth.activity) == (30, 2)
    club.pass_days(400)
    assert shown(club, alice).lifecycle == "dormant"


def test_a_status_is_as_of_now_though_nobody_has_swept(club: Club) -> None:
    alice = club.enrol()
    club.buy(alice, 60_000)
    club.pass_days(366)
    assert shown(club, alice).level.level == "member"
    assert club.level(alice) == "gold"


# --- versions -------------------------------------------------------------------------------


@pytest.mark.row("T21")
def test_an_event_is_judged_by_the_version_in_force_when_it_happened(tmp_path: Path) -> None:
    club = Club(tmp_path, content(backdate_days=30))
    alice = club.enrol()
    change_us = START_US + 40 * DAY
    publish(club, version="2", earn=earning(3), effective_at_us=change_us, backdate_days=30)
    assert club.buy(alice, 1_000).points == 10
    club.now_us = change_us - 1
    assert club.buy(alice, 1_000).points == 10
    club.now_us = change_us
    assert club.buy(alice, 1_000).points == 30
    assert club.buy(alice, 1_000, at_us=change_us - 1).points == 10
    assert [row["programme_version"] for row in club.rows("events")].count("2") == 1
    club.check()


@pytest.mark.row("P19")
def test_what_takes_something_away_needs_notice(club: Club) -> None:
    rules = earning(1)
    rules["spend"]["rate"]["per_minor"] = 200
    with pytest.raises(Refused, match="takes something away"):
        publish(club, version="2", earn=rules)
    harder = content()["tiers"]
    harder["levels"][2]["reach"] = [{"growth": 900}]
    with pytest.raises(Refused, match="takes something away"):
        publish(club, version="2", tiers=harder, effective_at_us=club.now_us + 29 * DAY)
    publish(club, version="2", tiers=harder, effective_at_us=club.now_us + 30 * DAY)
    publish(club, version="3", tiers=harder, without_notice=True)
    assert len(club.rows("programmes")) == 2


def test_a_version_keeps_units_currency_and_its_name(club: Club) -> None:
    units = content()["units"]
    with pytest.raises(Refused, match="earns in EUR"):
        publish(club, version="2", currency="USD")
    with pytest.raises(Refused, match="kind"):
        publish(club, version="2", units=units | {"growth": {"kind": "soft"}})
    publish(club, version="2", name="Club Two")
    with pytest.raises(Conflict):
        publish(club, version="2", name="Club Three")
    with pytest.raises(Conflict):
        publish(club, version="2", name="Club Two")


def test_a_restart_with_the_first_file_keeps_the_published_version(club: Club) -> None:
    file = json.dumps(content()).encode()
    first = read_programme(file)
    declare = DeclareProgramme(version="1", digest=first.digest, file=file)
    club.do(declare)
    publish(club, version="2", earn=earning(2))
    club.do(declare)
    alice = club.enrol()
    assert club.buy(alice, 1_000).points == 20


def test_rules_change_while_events_flow_and_each_entry_names_its_version(club: Club) -> None:
    alice = club.enrol()
    for number in range(2, 12):
        publish(club, version=str(number), earn=earning(number))
        outcomes = club.run(
            *(
                RecordEvent(event_id=f"{number}/{n}", account=alice, type="sign_in")
                for n in range(5)
            )
        )
        assert len(outcomes) == 5
        assert club.buy(alice, 100, purchase_id=f"p{number}").points == number
        club.now_us += 1
    versions = {
        row["event_id"]: row["programme_version"]
        for row in club.rows("events")
        if row["type"] == "purchase"
    }
    assert versions == {f"p{number}": str(number) for number in range(2, 12)}
    club.check()
