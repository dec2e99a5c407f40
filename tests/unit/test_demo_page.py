"""The page at the end of the demonstration, and the same as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from io import StringIO

from rich.console import Console

from cli.demo import page
from cli.demo.coalition import COALITION
from cli.demo.tally import Check, Flow, Result, Tally
from cli.demo.verifier import INVARIANTS, Findings


def _result() -> Result:
    tally = Tally(
        members=Counter(grocery=120, drug=118, fuel=70, fresh=119),
        baskets=Counter(grocery=1_738, drug=1_071, fuel=330, fresh=1_129),
        rejected=Counter(MALFORMED=6),
        points_issued=Counter(grocery=400_000, drug=9_000, fuel=3_000, fresh=2_000),
        partner_baskets=12,
        partner_points=900,
        committed=300,
        exchanges=20,
        aborted=Counter(CAP_EXCEEDED=4, INSUFFICIENT_POINTS=3),
        too_poor=40,
        vouchers_used=150,
        reversed_in_part=20,
        reversed_whole=8,
    )
    receipt = {
        "issuer": "journey.example/fresh",
        "acceptor": "journey.example/grocery",
        "points": 51,
        "reward_id": "dollar-off",
        "acceptor_points": 500,
        "state": "partly_reversed",
        "statements": ["1-hold.tlog-proof", "2-decision.tlog-proof"],
        "folder": "wallets/household-0001/receipts/rdm_00",
    }
    return Result(
        tally=tally,
        weeks=8,
        flows={("fresh", "grocery"): Flow(redemptions=200, points=9_000, minor=17_000)},
        accrued=Flow(redemptions=12, points=900, minor=160),
        window=1,
        decisions=335,
        net_positions={
            "grocery": 16_900,
            "drug": 0,
            "fuel": 0,
            "fresh": -17_000,
            "operator": 100,
            "drift": 0,
        },
        payments=[("fresh", "grocery", 16_900), ("fresh", "operator", 100)],
        acknowledged=list(COALITION),
        entries={"clearing": 400, **dict.fromkeys(COALITION, 1_000)},
        totals={brand: {"issued": -5_000, "available": 4_000} for brand in COALITION},
        receipt=receipt,
        checks=[Check(name="I1", passed=True, detail="every entry's legs sum to zero")],
        seconds=91.4,
    )


def _shown(result: Result) -> str:
    console = Console(file=StringIO(), width=page.WIDTH, record=True)
    page.show(result, console)
    return console.export_text()


def test_the_page_tells_who_owes_whom() -> None:
    text = _shown(_result())
    assert "Greenmarket Fresh pays Harvest Grocery $169.00" in text
    assert "Harvest Grocery" in text
    assert "aborted: the issuer's net debit cap was reached" in text
    assert "51 points of Greenmarket Fresh bought dollar-off at Harvest Grocery" in text
    assert "All 1 checks passed" in text


def test_a_failed_check_is_not_overlooked() -> None:
    failed = Check(name="I6", passed=False, detail="The positions in USD sum to 3.")
    result = replace(_result(), checks=[*_result().checks, failed])
    assert not result.passed
    assert "1 of 2 checks FAILED" in _shown(result)


def test_a_run_without_checks_has_not_passed() -> None:
    assert not replace(_result(), checks=[]).passed


def test_a_run_without_redemptions_has_a_page_too() -> None:
    empty = replace(_result(), flows={}, receipt={}, payments=[], tally=Tally())
    assert "nothing was redeemed" in _shown(empty)


def test_the_json_has_what_scripts_rely_on() -> None:
    found = json.loads(json.dumps(_result().plain()))
    assert {
        "brands",
        "members",
        "baskets",
        "points_issued",
        "redemptions_committed",
        "redemptions_aborted",
        "reversals",
        "window",
        "net_positions",
        "entries",
        "checks",
    } <= set(found)
    assert found["redemptions_aborted"] == 7
    assert found["reversals"] == 28
    assert sum(found["net_positions"].values()) == 0
    assert found["checks"] == [
        {"name": "I1", "passed": True, "detail": "every entry's legs sum to zero"}
    ]


def test_an_invariant_that_was_never_checked_has_not_passed() -> None:
    found = Findings()
    found.add("I1", passed=True)
    found.add("I1", passed=False, detail="Entry 7 sums to 1.")
    found.add("I2", passed=True)
    checks = {check.name: check for check in found.checks()}
    assert set(INVARIANTS) <= set(checks)
    assert not checks["I1"].passed
    assert checks["I1"].detail == "Entry 7 sums to 1."
    assert checks["I2"].passed
    assert not checks["I3"].passed
