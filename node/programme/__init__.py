"""A brand's programme: a file that people write and review, and the pure decisions made by it.

No clock, no rows: time and facts are arguments. `model` says what a file may hold, `reader` reads
it with lines, `calendar` knows its days; everything that earns, rates and explains stands on them.
"""

from __future__ import annotations

from node.programme.calendar import expires_at, local_day, start_of_day
from node.programme.drafts import (
    LotDraft,
    check_redemption,
    grant,
    points_for,
    purchase_rate,
)
from node.programme.model import Clawback, Programme, Rate, Unit, UnitKind
from node.programme.reader import ProgrammeFile, read_programme

__all__ = [
    "Clawback",
    "LotDraft",
    "Programme",
    "ProgrammeFile",
    "Rate",
    "Unit",
    "UnitKind",
    "check_redemption",
    "expires_at",
    "grant",
    "local_day",
    "points_for",
    "purchase_rate",
    "read_programme",
    "start_of_day",
]
