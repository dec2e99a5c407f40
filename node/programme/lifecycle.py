"""The four states of a member's life: new, to be retained, sticky, dormant."""

from __future__ import annotations

from typing import Literal

from node.programme.calendar import local_day
from node.programme.facts import Activity
from node.programme.model import Programme

State = Literal["new", "retain", "sticky", "dormant"]


def state(programme: Programme, activity: Activity, *, enrolled_at_us: int, now_us: int) -> State:
    """The member's state now.

    Dormant is who did nothing for `dormant_days` whole local days, enrolling included; of the
    others, sticky is who bought `sticky_purchases` times, new who joined fewer than `new_days` ago.
    """
    rules = programme.lifecycle
    today = local_day(programme, now_us)
    joined = local_day(programme, enrolled_at_us)
    last = max(enrolled_at_us, activity.last_event_at_us, activity.last_purchase_at_us)
    if (today - local_day(programme, last)).days >= rules.dormant_days:
        return "dormant"
    if activity.purchases >= rules.sticky_purchases:
        return "sticky"
    if (today - joined).days < rules.new_days:
        return "new"
    return "retain"
