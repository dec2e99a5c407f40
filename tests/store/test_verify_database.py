"""Every altered byte of a stored ledger is found, and the report says where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from comity.errors import MissingLedger, NotFound
from comity.keys import SigningKey
from comity.ledger.engine import open_engine
from comity.ledger.guard import HeadFile
from comity.ledger.signer import LogSigner
from comity.ledger.store import LedgerStore
from comity.log.merkle import leaf_hash
from comity.log.tiles import TileTree
from comity.verify.database import database
from comity.verify.report import Report
from node.commands import RecordPurchase
from tests.brand import LEDGER, Brand, programme
from tests.store import clearing_world
from tests.unit.independent_reader import read_log

ENTRIES = 300
BATCH = 37


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False).replace("+psycopg", "")


@pytest.fixture
def brand(engine: Engine) -> Brand:
    """A brand with more entries than one tile, purchases, refunds, an expiry and a debt."""
    made = Brand(programme(), engine=engine)
    accounts = [made.enrol(name) for name in ("alice", "bob", "carl")]
    purchases = [
        RecordPurchase(
            purchase_id=f"p{number}",
            account=accounts[number % 3],
            currency="EUR",
            minor=100 + number,
            occurred_at_us=0,
        )
        for number in range(ENTRIES - 4)
    ]
    for start in range(0, len(purchases), BATCH):
        made.run(*purchases[start : start + BATCH])
        made.now_us += 1_000
    made.adjust(accounts[0], -30)
    made.adjust(accounts[1], 500)
    made.refund("p3", 50)
    made.refund("p4", 104)
    return made


def verify(engine: Engine, **wanted: Any) -> Report:
    return database(url_of(engine), **wanted)


def failed(report: Report) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if not check.passed}


def alter(engine: Engine, statement: str, **values: Any) -> None:
    with engine.connect() as connection:
        connection.execute(text(statement), values)
        connection.commit()


def flip(engine: Engine, table: str, column: str, where: str, *, at: int = 40) -> None:
    """Change one bit of a stored value."""
    with engine.connect() as connection:
        query = text(f"SELECT {column} FROM {table} WHERE {where}")
        stored = bytearray(connection.execute(query).scalars().first() or b"")
        connection.rollback()
    stored[at % len(stored)] ^= 1
    alter(engine, f"UPDATE {table} SET {column} = :value WHERE {where}", value=bytes(stored))


def test_an_honest_database_passes_every_check(brand: Brand) -> None:
    report = verify(brand.engine, ledger=LEDGER, final=True)
    assert failed(report) == {}
    assert report.figures["entries"] == len(brand.entries())
    assert {"I1", "I2", "I3", "I18", "accounts", "lots", "class_totals"} <= {
        check.name for check in report.checks
    }


@pytest.mark.parametrize("index", [0, 17, 255, 256, ENTRIES - 1])
@pytest.mark.row("P20")
def test_a_flipped_byte_of_an_entry_names_the_entry(brand: Brand, index: int) -> None:
    flip(brand.engine, "entries", "body", f'"index" = {index}')
    found = failed(verify(brand.engine))
    assert f"Entry {index} of" in found["root"]
    assert "tiles" not in found
    assert "checkpoints" not in found


def test_any_single_bit_of_an_entry_is_noticed(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'small.db'}")
    made = Brand(programme(), engine=engine)
    made.buy(made.enrol(), 100)
    body = made.entries()[0].body
    for bit in range(0, 8 * len(body), 5):
        altered = bytearray(body)
        altered[bit // 8] ^= 1 << bit % 8
        alter(engine, 'UPDATE entries SET body = :body WHERE "index" = 0', body=bytes(altered))
        assert "Entry 0 of" in failed(verify(engine))["root"], bit
    engine.dispose()


@pytest.mark.parametrize("level", [0, 1])
def test_a_flipped_byte_of_a_tile_names_the_tiles(brand: Brand, level: int) -> None:
    flip(brand.engine, "tiles", "hashes", f'level = {level} AND "index" = 0')
    assert failed(verify(brand.engine)).keys() == {"tiles"}


def test_a_missing_tile_names_the_tiles(brand: Brand) -> None:
    alter(brand.engine, "DELETE FROM tiles WHERE level = 1")
    assert failed(verify(brand.engine)).keys() == {"tiles"}


@pytest.mark.parametrize("size", [BATCH, 4 * BATCH, ENTRIES])
def test_a_flipped_byte_of_a_checkpoint_names_the_checkpoints(brand: Brand, size: int) -> None:
    flip(brand.engine, "checkpoints", "note", f"size = {size}")
    assert failed(verify(brand.engine)).keys() == {"checkpoints"}
    flip(brand.engine, "checkpoints", "note", f"size = {size}")
    flip(brand.engine, "checkpoints", "note", f"size = {size}", at=-8)
    assert failed(verify(brand.engine)).keys() == {"checkpoints"}


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("accounts", "available = available + 1"),
        ("accounts", "debt = debt - 1"),
        ("lots", "available = available - 1"),
        ("lots", "expires_at_us = expires_at_us + 1"),
        ("class_totals", "points = points + 1"),
        ("postings", "available = available + 1"),
    ],
)
def test_a_changed_balance_names_its_table(brand: Brand, table: str, change: str) -> None:
    changed = "SELECT MAX(available) FROM lots" if table == "lots" else "0"
    where = f"available = ({changed})" if table == "lots" else "1 = 1"
    alter(brand.engine, f"UPDATE {table} SET {change} WHERE {where}")
    assert failed(verify(brand.engine)).keys() == {table}


def test_a_balance_out_of_nothing_and_a_lost_one_are_noticed(brand: Brand) -> None:
    account = brand.rows("accounts")[0]["account"]
    statement = "UPDATE accounts SET account = 'acc_nobody' WHERE account = :account"
    alter(brand.engine, statement, account=account)
    assert "acc_nobody" in failed(verify(brand.engine))["accounts"]


def test_a_changed_opening_names_its_entry(brand: Brand) -> None:
    flip(brand.engine, "entries", "opening", '"index" = 7', at=5)
    assert "Entry 7 of" in failed(verify(brand.engine))["openings"]


def test_entries_under_other_columns_are_noticed(brand: Brand) -> None:
    alter(brand.engine, """UPDATE entries SET kind = 'hold' WHERE "index" = 9""")
    assert "Entry 9 of" in failed(verify(brand.engine))["entries"]


def cut(engine: Engine, size: int) -> None:
    """Take the last entries away as one would who does not think of anything else."""
    alter(engine, 'DELETE FROM entries WHERE "index" >= :size', size=size)


def test_cut_entries_are_noticed_by_the_head(brand: Brand) -> None:
    cut(brand.engine, ENTRIES - 3)
    assert "cut off" in failed(verify(brand.engine))["root"]


def test_a_missing_entry_is_noticed(brand: Brand) -> None:
    alter(brand.engine, 'DELETE FROM entries WHERE "index" = 100')
    found = failed(verify(brand.engine))
    assert "Entry 100 of" in found["entries"]
    assert "root" in found


def roll_back(brand: Brand, size: int) -> None:
    """Cut the log with all that belongs to it, back to an earlier head that really was signed."""
    store = LedgerStore(brand.engine, LEDGER)
    head = store.checkpoint_at_or_after(size)
    cut(brand.engine, size)
    alter(brand.engine, "DELETE FROM checkpoints WHERE size > :size", size=size)
    alter(
        brand.engine,
        "UPDATE ledgers SET size = :size, root = :root, note = :note",
        size=size,
        root=head.root,
        note=head.note,
    )
    tree = TileTree(0, lambda level, index: b"")
    tiles = tree.append([leaf_hash(one.body) for one in brand.entries()])
    for (level, index), hashes in tiles.items():
        alter(
            brand.engine,
            'UPDATE tiles SET hashes = :hashes WHERE level = :level AND "index" = :index',
            hashes=hashes,
            level=level,
            index=index,
        )


def test_a_whole_rollback_is_noticed_by_what_was_answered_and_by_the_head_file(
    brand: Brand, tmp_path: Path
) -> None:
    head_file = HeadFile(tmp_path / "guard")
    head_file.bind("comity.example/grocery")
    head_file.keep(LedgerStore(brand.engine, LEDGER).head(), now=True)
    assert failed(verify(brand.engine, head_file=tmp_path / "guard")) == {}
    roll_back(brand, ENTRIES - 3)
    found = failed(verify(brand.engine, head_file=tmp_path / "guard"))
    assert "cut off" in found["commands"]
    assert "cut off" in found["head file"]
    assert "root" not in found
    assert "accounts" in found


def test_a_head_file_of_another_history_is_noticed(brand: Brand, tmp_path: Path) -> None:
    (tmp_path / "guard").write_bytes(b"nothing")
    assert "damaged" in failed(verify(brand.engine, head_file=tmp_path / "guard"))["head file"]


def test_a_forged_head_names_the_ledgers(brand: Brand) -> None:
    flip(brand.engine, "ledgers", "note", "1 = 1", at=-8)
    found = failed(verify(brand.engine))
    assert "ledgers" in found


def test_another_key_than_the_known_one_is_noticed(brand: Brand) -> None:
    other = LogSigner("comity.example/grocery", SigningKey(bytes(32)))
    found = failed(verify(brand.engine, vkey=other.vkey))
    assert {"ledgers", "checkpoints"} <= found.keys()


def test_a_database_without_a_ledger_is_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        database(tmp_path / "nothing.db")
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    with pytest.raises(MissingLedger):
        verify(engine)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    engine = open_engine(f"sqlite:///{path}")
    made = Brand(programme(), engine=engine)
    account = made.enrol()
    for number in range(25):
        made.buy(account, 100 + number)
    body = made.entries()[20].body
    engine.dispose()
    data = bytearray(path.read_bytes())
    at = data.find(body)
    data[at + 50] ^= 4
    path.write_bytes(bytes(data))
    assert "Entry 20 of" in failed(database(path))["root"]


def test_a_reader_of_sixty_lines_that_shares_no_code_agrees(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    engine = open_engine(f"sqlite:///{path}")
    made = Brand(programme(), engine=engine)
    account = made.enrol()
    for number in range(40):
        made.buy(account, 100 + number)
    made.adjust(account, -70)
    ours = database(path)
    assert ours.passed
    totals = {at: points for at, points in ours.replay.totals.items() if points}  # type: ignore[union-attr]
    assert read_log(path) == (41, totals)
    engine.dispose()
    flip(engine, "entries", "body", '"index" = 5')
    with pytest.raises(AssertionError):
        read_log(path)
    engine.dispose()


# --- clearing ---------------------------------------------------------------------------------


@pytest.fixture
async def clearing(engine: Engine) -> clearing_world.World:
    """Clearing after redemptions, reversals and a settled window."""
    world = clearing_world.World(engine)
    for name in ("grocery", "fuel"):
        await world.admit(name)
    await world.agree(clearing_world.terms(fee_basis_points=150, fee_fixed_minor=3))
    fuel = world.brands["fuel"]
    for number in range(6):
        decided = await world.commit(f"r{number}", points=1_000 + 37 * number)
        delivery = world.deliver(fuel, decided)
        await world.report(fuel, delivery)
        if number % 2:
            for cumulative in (300, 1_000 + 37 * number):
                claim = world.giving_back(fuel, decided, cumulative=cumulative, delivery=delivery)
                await world.one(fuel, claim)
        if number == 3:
            await world.close(1)
    for brand in world.brands.values():
        await world.pulse(brand)
    await world.settle(1)
    return world


async def test_clearings_honest_database_passes_every_check(
    clearing: clearing_world.World,
) -> None:
    report = verify(clearing.engine)
    assert failed(report) == {}
    assert {"I6", "I12", "I13", "I14", "I15", "I16", "positions", "windows"} <= {
        check.name for check in report.checks
    }


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("positions", "running_minor = running_minor + 1"),
        ("caps", "cap_minor = cap_minor + 1"),
        ("participants", "seq = seq + 1"),
        ("decisions", "amount_minor = amount_minor + 1"),
        ("decisions", "issuer_seq = issuer_seq + 100"),
        ("spans", "last_seq = last_seq + 1, decisions = decisions + 1"),
        ("totals", "in_minor = in_minor + 1"),
    ],
)
async def test_a_changed_row_of_clearing_names_its_table(
    clearing: clearing_world.World, table: str, change: str
) -> None:
    alter(clearing.engine, f"UPDATE {table} SET {change}")
    assert failed(verify(clearing.engine)).keys() == {table}


async def test_a_changed_settlement_names_the_windows(clearing: clearing_world.World) -> None:
    flip(clearing.engine, "windows", "settlement", "settlement IS NOT NULL", at=-3)
    assert failed(verify(clearing.engine)).keys() == {"windows"}
