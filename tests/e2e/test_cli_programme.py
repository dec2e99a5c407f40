"""From a published version to a level, a badge and an explanation, by commands alone."""

from __future__ import annotations

import json

import pytest

from node.programme.yamltree import read_tree
from tests.e2e.test_cli_journey import Town, town

__all__ = ["town"]


@pytest.mark.row("T22")
@pytest.mark.row("P4")
def test_a_published_version_earns_rates_and_explains_itself(town: Town) -> None:
    shell, at = town.shell, ("--node", "grocery")
    account = shell.json("member", "enrol", town.grocery, "--ca", "clearing/ca.crt")["account"]
    content = dict(read_tree((shell.folder / "grocery" / "programme.yaml").read_bytes()).content)
    content |= {
        "version": "2",
        "units": content["units"] | {"growth": {"kind": "growth"}},
        "events": {"sign_in": {"title": "Sign in"}},
        "badges": {"founder": {"title": "Founder"}},
        "benefits": {"delivery": {"title": "Free delivery"}},
        "tiers": {
            "levels": [
                {"id": "member"},
                {"id": "silver", "reach": [{"growth": 4}], "benefits": ["delivery"]},
            ]
        },
        "conversions": {
            "growth-to-points": {
                "from_unit": "growth",
                "into_unit": "points",
                "points": 1,
                "into_points": 2,
            }
        },
    }
    content["earn"]["sign-in"] = {
        "on": "sign_in",
        "unit": "growth",
        "points": 2,
        "limits": [{"times": 2, "per": "day"}],
    }
    (shell.folder / "two.yaml").write_text(json.dumps(content), "utf-8")

    # A file with a mistake is not published; the new one is, and known from then on.
    (shell.folder / "bad.yaml").write_text("version: 3\n", "utf-8")
    shell.run("programme", "publish", "bad.yaml", *at, expect=2)
    publish = ("programme", "publish", "two.yaml", "--id", "two", *at)
    assert shell.json(*publish)["version"] == "2"
    assert shell.json(*publish)["version"] == "2", "the same write, done once"
    assert shell.json("programme", "versions", *at)["current"] == "2"

    # Two sign-ins count, the third does not, and the node says why.
    sign_in = ("merchant", "event", "record", account, "sign_in", *at)
    for name, points in (("a", [2]), ("b", [2]), ("c", []), ("a", [2])):
        found = shell.json(*sign_in, "--event", name)
        assert [one["points"] for one in found["points"]] == points
    shell.run("merchant", "event", "record", account, "sign_out", *at, expect=2)
    (verdict,) = shell.json("programme", "explain", "c", *at)["details"]["verdicts"]
    assert (verdict["rule"], verdict["reason"]) == ("sign-in", "limit_times")
    assert "limit_times" in shell.run("programme", "explain", "c", *at).stdout

    # The member sees level, badge and what to do; growth becomes points.
    shell.run("merchant", "mark", "give", account, "badge", "founder", "--reason", "thanks", *at)
    status = shell.json("member", "status", "grocery")
    assert status["level"]["level"] == "silver"
    assert [one["title"] for one in status["marks"] if one["since_us"]] == ["Founder"]
    assert status["tasks"][0]["times_left"] == 0
    assert "Free delivery" in shell.run("member", "status", "grocery").stdout
    shell.run("member", "convert", "grocery", "growth-to-points", "3")
    balances = shell.json("member", "balance")[0]["balances"]
    assert {one["unit"]: one["available"] for one in balances} == {
        "grocery/growth": 1,
        "grocery/points": 6,
    }
    shell.run("node", "backup", "copy.db", *at)
    shell.run("verify", "log", "copy.db")
