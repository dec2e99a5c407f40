"""What several verified logs say together: an auditor's view of a whole network."""

from __future__ import annotations

from collections.abc import Sequence

from comity.errors import Malformed, NotFound
from comity.ledger.replay import Check, Findings, Replay
from comity.log.checkpoint import open_checkpoint
from comity.log.history import KeyHistory
from comity.terms.cross_checks import cross_check
from comity.terms.decision_replay import DecisionReplay
from comity.verify.report import Report


def network(reports: Sequence[Report], *, final: bool = False) -> Report:
    """Compare brands' logs with clearing's, from the reports of verifying each in full.

    `final`: nothing is under way, so what must happen eventually must have happened. Raises
    NotFound if clearing's log is not among them.
    """
    replays = [report.replay for report in reports]
    clearings = [one for one in replays if isinstance(one, DecisionReplay)]
    brands = [one for one in replays if isinstance(one, Replay)]
    if not clearings:
        raise NotFound("Clearing's log is needed to compare the brands with; verify it too.")
    clearing = clearings[0]
    keys = _check_keys(clearing, reports)
    by_participant = {one.origin.partition("/")[2]: one for one in brands}
    return Report(
        subject=clearing.network,
        checks=(keys, *cross_check(clearing, by_participant, final=final)),
        figures={"brands": len(brands), "decisions": len(clearing.decisions)},
    )


def _check_keys(clearing: DecisionReplay, reports: Sequence[Report]) -> Check:
    """Whether each brand's head is signed by the key which clearing's log has for its size."""
    found = Findings()
    for report in reports:
        if isinstance(report.replay, Replay) and report.note:
            origin = report.replay.origin
            try:
                history = KeyHistory.parse(clearing.roster.get(origin, ""))
                open_checkpoint(report.note, origin=origin, verifier=history)
            except Malformed as error:
                found.add("keys", f"The head of {origin}: {error.message}")
    return found.check("keys", good="Every head is signed by the key that clearing's log names.")
