"""What a node does for itself with a million members or lots, beside what a database would.

The node's own sweep is run: points expire and members are rated and tagged again, with an entry
for everything that changes, hashed and signed, in durable commits. Members, lots and levels are
written straight into the node's tables first, since a million of them would take longer to earn
than to sweep; balances, lots and totals agree, as the node's own commands keep them.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, insert, select

from bench.measure import Extent, Figure, NotMeasured, in_turns
from comity.clock import DAY
from comity.ledger import guard
from comity.ledger.command import Answer
from comity.ledger.engine import open_engine, writer
from comity.ledger.guard import HeadFile
from comity.ledger.sequencer import Sequencer
from comity.ledger.signer import LogSigner
from comity.serve.process import spare_collector
from comity.v1 import entry_pb2
from node.book import NodeBook, Rules
from node.build import PROGRAMME_HANDLERS
from node.commands import Sweep
from node.event_tables import activity, marks, ranks
from node.programme import Programme
from node.standing import review_changed
from node.sweep import SWEEP_LIMIT
from node.tables import accounts, class_totals, lots, members, metadata
from node.versions import Versions
from tests.brand import programme_content, signing_key

MILLION = 1_000_000
LOTS_EACH = 4
POINTS = 50
PURCHASES = 12
PART = 50
"""So many times fewer are handled unless a million is asked for."""

NETWORK, LEDGER = "bench.example", "grocery"
ORIGIN = f"{NETWORK}/{LEDGER}"
CHUNK = 20_000
_NOBODY = {"lot": "", "pending": 0, "held": 0, "debt": 0, "business": 0, "activity": 0, "bonus": 0}


class Filled:
    """A ledger in a folder, whose rows are put there and of which copies are swept."""

    def __init__(self, folder: Path, programme: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True)
        self.now_us = time.time_ns() // 1_000
        self._folder = folder
        self._copies = 0
        self._programme = Programme.model_validate(programme)
        self._signer = LogSigner(ORIGIN, signing_key("bench"))
        self._engine = open_engine(f"sqlite:///{folder / 'ledger.db'}")
        with writer(self._engine).begin() as connection:
            metadata.create_all(connection)
        guard.init_ledger(
            self._engine,
            ledger=LEDGER,
            network=NETWORK,
            signer=self._signer,
            now_us=self.now_us,
            head_file=HeadFile(folder / "head"),
        )

    def put(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows of a table, in transactions of some thousands."""
        waiting = iter(rows)
        while chunk := [{"ledger": LEDGER, **row} for row in islice(waiting, CHUNK)]:
            with writer(self._engine).begin() as connection:
                connection.execute(insert(table), chunk)

    def copy(self) -> Path:
        """A folder with the same files."""
        self._engine.dispose()
        self._copies += 1
        place = self._folder.with_name(f"{self._folder.name}-{self._copies}")
        shutil.copytree(self._folder, place)
        return place

    def sweep(self, folder: Path) -> tuple[float, int]:
        """Sweep a copy until nothing is due: the seconds, and how much was due."""
        head_file = HeadFile(folder / "head")
        engine = open_engine(f"sqlite:///{folder / 'ledger.db'}")
        lease = guard.open_ledger(
            engine,
            ledger=LEDGER,
            network=NETWORK,
            signer=self._signer,
            holder="bench",
            now_us=self.now_us,
            head_file=head_file,
        )
        rules = Rules(
            network=NETWORK,
            participant=LEDGER,
            programme=self._programme,
            versions=Versions(self._programme),
        )
        sequencer = Sequencer(
            engine=engine,
            lease=lease,
            book=NodeBook(rules, *PROGRAMME_HANDLERS, review=review_changed),
            signer=self._signer,
            clock=lambda: self.now_us,
            random=os.urandom,
            head_file=head_file,
        )
        spare_collector()
        done, began = 0, time.perf_counter()
        while True:
            (outcome,) = sequencer.run_batch([Sweep(limit=SWEEP_LIMIT)])
            assert isinstance(outcome, Answer), outcome
            some = int(outcome.body)
            done += some
            if some < SWEEP_LIMIT:
                break
        elapsed = time.perf_counter() - began
        sequencer.close()
        engine.dispose()
        return elapsed, done


def _account(number: int) -> str:
    return f"acc_{number:032x}"


def _rounds(extent: Extent) -> int:
    """A million of anything is an average by itself."""
    return 1 if extent.million else 3


def _count(extent: Extent) -> int:
    return MILLION if extent.million else MILLION // PART


# --- expiry -----------------------------------------------------------------------------------

_UPDATE = """
UPDATE lots SET gone = gone + available, available = 0, due_at_us = 0, open = 0
WHERE ledger = ? AND due_at_us BETWEEN 1 AND ?
"""


def _lots_due(folder: Path, count: int) -> Filled:
    """A ledger with so many lots whose time is over."""
    content = programme_content("Grocery Plus", expiry={"months": 12})
    filled = Filled(folder, content)
    unit, now_us = f"{LEDGER}/points", filled.now_us
    people = range(count // LOTS_EACH)
    earned_us, expires_us = now_us - 366 * DAY, now_us - DAY
    balance = _NOBODY | {"unit": unit, "available": POINTS * LOTS_EACH}
    balance |= {"business": POINTS * LOTS_EACH, "due_at_us": expires_us}
    lot = {"unit": unit, "earned": POINTS, "available": POINTS, "pending": 0, "held": 0, "gone": 0}
    lot |= {"earned_at_us": earned_us, "available_at_us": earned_us, "open": 1}
    lot |= {"expires_at_us": expires_us, "due_at_us": expires_us}
    filled.put(members, (_member(number, earned_us) for number in people))
    filled.put(accounts, (balance | {"account": _account(number)} for number in people))
    filled.put(
        lots,
        (
            lot | {"lot": f"{number}.0", "account": _account(number % len(people))}
            for number in range(len(people) * LOTS_EACH)
        ),
    )
    total = POINTS * LOTS_EACH * len(people)
    filled.put(class_totals, _totals(unit, total))
    return filled


def _member(number: int, at_us: int) -> dict[str, Any]:
    return {"account": _account(number), "created_at_us": at_us, "locked": 0, "erased_at_us": 0}


def _totals(unit: str, points: int) -> list[dict[str, Any]]:
    available, issued = entry_pb2.ACCOUNT_CLASS_AVAILABLE, entry_pb2.ACCOUNT_CLASS_ISSUED
    return [
        {"unit": unit, "account_class": int(available), "points": points},
        {"unit": unit, "account_class": int(issued), "points": -points},
    ]


def expiry(folder: Path, extent: Extent) -> list[Figure]:
    """Expiring lots, entries included, beside one UPDATE of the same rows."""
    count = _count(extent)
    filled = _lots_due(folder / "expiry", count)

    def swept() -> float:
        place = filled.copy()
        elapsed, done = filled.sweep(place)
        assert done == count, done
        shutil.rmtree(place)
        return elapsed

    def updated() -> float:
        place = filled.copy()
        with closing(sqlite3.connect(place / "ledger.db", isolation_level=None)) as connection:
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):
                connection.execute(f"PRAGMA {pragma}")
            began = time.perf_counter()
            done = connection.execute(_UPDATE, (LEDGER, filled.now_us)).rowcount
            elapsed = time.perf_counter() - began
        assert done == count, done
        shutil.rmtree(place)
        return elapsed

    value, baseline = in_turns(_rounds(extent), swept, updated)
    return [
        Figure(
            name="expiry",
            value=value,
            unit=f"s for {count:,} lots",
            baseline="s for one UPDATE of the same rows",
            baseline_value=baseline,
            floor=40,
            at_most=True,
            notes={"filled_by": "rows, not commands"},
        )
    ]


# --- retier -----------------------------------------------------------------------------------

SILVER, GOLD, BIG_MINOR, DORMANT_DAYS = 300, 600, 50_000, 60

_HISTORY = f"""
COPY (
    SELECT account, minor, $now - days * {DAY} AS at_us FROM (
        SELECT member.range AS account,
            100 * (hash(member.range, buy.range) % (10 + 20 * (member.range % 5)))::BIGINT AS minor,
            (1 + hash(buy.range, member.range) % (30 + 60 * (member.range % 6)))::BIGINT AS days
        FROM range($count) AS member, range({PURCHASES}) AS buy
    )
) TO '{{file}}' (FORMAT parquet)
"""

_SUMS = """
SELECT account, count(*)::BIGINT, sum(minor)::BIGINT, min(at_us)::BIGINT, max(at_us)::BIGINT,
    sum(minor // 100)::BIGINT
FROM read_parquet('{file}') GROUP BY account ORDER BY account
"""

_STANDING = f"""
CREATE OR REPLACE TABLE standing AS
SELECT account,
    CASE WHEN growth >= {GOLD} THEN 'gold' WHEN growth >= {SILVER} THEN 'silver' ELSE 'basic' END
        AS level,
    spend >= {BIG_MINOR} AS big,
    ($now - last) // {DAY} >= {DORMANT_DAYS} AS dormant
FROM (
    SELECT account, sum(minor) AS spend, max(at_us) AS last, sum(minor // 100) AS growth
    FROM read_parquet('{{file}}') GROUP BY account
)
"""


def _levels() -> dict[str, Any]:
    content = programme_content("Grocery Plus")
    return content | {
        "units": content["units"] | {"growth": {"kind": "growth"}},
        "main": "points",
        "zone": "UTC",
        "tiers": {
            "levels": [
                {"id": "basic"},
                {"id": "silver", "reach": [{"growth": SILVER}]},
                {"id": "gold", "reach": [{"growth": GOLD}]},
            ],
            "validity": {"months": 12},
        },
        "tags": {
            "big": {"when": f"member.spend_minor >= {BIG_MINOR}"},
            "dormant": {"when": f"member.days_since_purchase >= {DORMANT_DAYS}"},
        },
    }


def _members_due(folder: Path, sums: list[tuple[int, ...]]) -> Filled:
    """A ledger with these members: basic until now, without a tag."""
    filled = Filled(folder, _levels())
    unit, now_us = f"{LEDGER}/growth", filled.now_us
    joined_us, until_us = now_us - 400 * DAY, now_us - 1
    balance = _NOBODY | {"unit": unit, "due_at_us": 0}
    lot = {"unit": unit, "pending": 0, "held": 0, "gone": 0, "expires_at_us": 0, "due_at_us": 0}
    rank = {"level": "basic", "since_us": joined_us, "until_us": until_us, "pinned": 0}
    rank |= {"due_at_us": until_us}
    filled.put(members, (_member(one[0], joined_us) for one in sums))
    filled.put(ranks, (rank | {"account": _account(one[0])} for one in sums))
    filled.put(
        activity,
        (
            {
                "account": _account(number),
                "purchases": purchases,
                "spend_minor": spend,
                "first_purchase_at_us": first_us,
                "last_purchase_at_us": last_us,
                "last_event_at_us": last_us,
            }
            for number, purchases, spend, first_us, last_us, _ in sums
        ),
    )
    filled.put(
        accounts,
        (
            balance
            | {"account": _account(one[0]), "available": one[5], "business": one[5]}
            | {"lot": f"{one[0]}.0"}
            for one in sums
        ),
    )
    filled.put(
        lots,
        (
            lot
            | {"lot": f"{one[0]}.0", "account": _account(one[0]), "earned": one[5]}
            | {"available": one[5], "earned_at_us": one[3], "available_at_us": one[3]}
            | {"open": int(one[5] > 0)}
            for one in sums
        ),
    )
    filled.put(class_totals, _totals(unit, sum(one[5] for one in sums)))
    return filled


def _standing(folder: Path) -> dict[str, int]:
    """How many members have each level and tag."""
    engine = open_engine(f"sqlite:///{folder / 'ledger.db'}")
    with engine.connect() as connection:
        found = {
            name: number
            for column in (ranks.c.level, marks.c.name)
            for name, number in connection.execute(
                select(column, func.count()).group_by(column)
            ).tuples()
        }
    engine.dispose()
    return found


def retier(folder: Path, extent: Extent) -> list[Figure]:
    """Rating and tagging every member again, beside DuckDB aggregating all purchases."""
    if importlib.util.find_spec("duckdb") is None:
        raise NotMeasured("It needs DuckDB: make setup installs it.")
    import duckdb

    count, place = _count(extent), folder / "retier"
    history = folder / "purchases.parquet"
    now_us = time.time_ns() // 1_000 // DAY * DAY
    with closing(duckdb.connect(str(folder / "aggregates.duckdb"))) as database:
        database.execute(
            _HISTORY.format(file=history).replace("$now", str(now_us)).replace("$count", str(count))
        )
        filled = _members_due(place, database.execute(_SUMS.format(file=history)).fetchall())
        query = _STANDING.format(file=history).replace("$now", str(now_us))
        seen: list[dict[str, int]] = []

        def rated() -> float:
            copy = filled.copy()
            elapsed, done = filled.sweep(copy)
            assert done == count, done
            seen.append(_standing(copy))
            shutil.rmtree(copy)
            return elapsed

        def aggregated() -> float:
            began = time.perf_counter()
            database.execute(query)
            database.execute("CHECKPOINT")
            return time.perf_counter() - began

        value, baseline = in_turns(_rounds(extent), rated, aggregated)
        levels = database.execute("SELECT level, count(*) FROM standing GROUP BY level").fetchall()
        tags = database.execute(
            "SELECT count(*) FILTER (big), count(*) FILTER (dormant) FROM standing"
        ).fetchall()[0]
    same = dict(levels) | dict(zip(("big", "dormant"), tags, strict=True))
    assert all(one == same for one in seen), (seen, same)
    return [
        Figure(
            name="retier",
            value=value,
            unit=f"s for {count:,} members",
            baseline=f"s for DuckDB, the same from {PURCHASES} purchases each in Parquet",
            baseline_value=baseline,
            floor=10,
            at_most=True,
            notes={"filled_by": "rows, not commands", "standing": same},
        )
    ]
