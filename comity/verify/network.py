"""What several verified logs say together: an auditor's view of a whole network."""

from __future__ import annotations

from collections.abc import Iterable

from comity.errors import NotFound
from comity.ledger.replay import Replay
from comity.terms.cross_checks import cross_check
from comity.terms.decision_replay import DecisionReplay
from comity.verify.report import Report


def network(reports: Iterable[Report], *, final: bool = False) -> Report:
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
    by_participant = {one.origin.partition("/")[2]: one for one in brands}
    return Report(
        subject=clearing.network,
        checks=cross_check(clearing, by_participant, final=final),
        figures={"brands": len(brands), "decisions": len(clearing.decisions)},
    )
