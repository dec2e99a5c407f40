"""A brand's rules and reads behave alike on every database."""

from __future__ import annotations

from sqlalchemy import Engine

from comity.errors import ComityError
from comity.ledger.command import Answer
from comity.ledger.engine import writer
from comity.ledger.entries import canonical
from comity.ledger.migrate import create_or_upgrade, describe, ledger_first
from comity.v1 import member_pb2
from comity.verify.database import database
from node import operation_tables, redemption_tables, tables
from node.commands import AddDevice, EraseMember, PutReward, RecordPurchase, SetStock
from node.init import MIGRATIONS
from node.members import key_name
from tests.brand import LEDGER, Brand, programme, signing_key


def test_a_year_of_a_programme(engine: Engine) -> None:
    brand = Brand(
        programme(return_window_days=14, expiry={"days": 60}, clawback="debt"), engine=engine
    )
    accounts = [brand.enrol(f"member {n}") for n in range(8)]
    for day in range(0, 360, 20):
        brand.pass_days(20)
        outcomes = brand.run(
            *(
                RecordPurchase(
                    purchase_id=f"{day}/{n}", account=account, currency="EUR", minor=10 + n
                )
                for n, account in enumerate(accounts)
            )
        )
        assert all(isinstance(one, Answer) for one in outcomes)
        brand.refund(f"{day}/0", 4)
        if day % 60 == 0:
            brand.sweep()
        brand.check()
    brand.pass_days(100)
    brand.sweep()
    assert all(brand.balance(account)[:3] == (0, 0, 0) for account in accounts)
    brand.check()
    # A stranger to these rules recomputes every balance, lot and total from the log.
    report = database(engine.url.render_as_string(hide_password=False), ledger=LEDGER)
    assert report.passed, report.rows()


def test_reads_page_through_everything(engine: Engine) -> None:
    brand = Brand(programme(), engine=engine)
    alice = brand.enrol()
    for minor in range(1, 12):
        brand.buy(alice, minor)
    lots: list[int] = []
    cursor = ""
    while True:
        page = brand.store.lots(alice, now_us=brand.now_us, limit=4, cursor=cursor)
        lots += [one.earned for one in page.items]
        cursor = page.next_cursor
        if not cursor:
            break
    assert sorted(lots) == list(range(1, 12))
    first = brand.store.activity(alice, limit=6, cursor="")
    second = brand.store.activity(alice, limit=6, cursor=first.next_cursor)
    indices = [one.index for one in (*first.items, *second.items)]
    assert indices == list(range(10, -1, -1))
    assert brand.store.totals().entries == 11


def test_catalogue_devices_and_erasure(engine: Engine) -> None:
    brand = Brand(programme(), engine=engine)
    alice = brand.enrol()
    for number in range(3):
        reward = member_pb2.Reward(
            reward_id=f"r{number}",
            title="Coffee ☕",
            kind=member_pb2.REWARD_KIND_VOUCHER,
            price_points=10,
            stock=5,
            active=number != 1,
        )
        brand.do(
            PutReward(
                caller="manager:ann",
                id=f"put-{number}",
                reward_id=reward.reward_id,
                reward=canonical(reward),
            )
        )
    brand.do(SetStock(caller="manager:ann", id="s", reward_id="r0", change=-5))
    page = brand.store.rewards(limit=10, cursor="")
    assert [(one.reward_id, one.stock) for one in page.items] == [("r0", 0), ("r2", 5)]
    assert brand.store.issuers(brand.now_us) == []
    phone = signing_key("phone").public.raw
    brand.do(
        AddDevice(
            caller=f"member:{alice}",
            id="d",
            account=alice,
            acting_key=key_name(signing_key("alice").public.raw),
            public_key=phone,
        )
    )
    assert len(brand.store.devices(alice)) == 2
    brand.do(EraseMember(caller="manager:ann", id="e", account=alice))
    assert brand.rows("devices") == []


def test_a_refused_command_leaves_no_trace_in_a_batch(engine: Engine) -> None:
    brand = Brand(programme(return_window_days=1), engine=engine)
    alice = brand.enrol()
    brand.buy(alice, 10, purchase_id="p")
    brand.pass_days(2)
    # The refused refund had let the points mature first; that is undone with it.
    before = brand.kinds()
    (outcome,) = brand.run(RecordPurchase(purchase_id="q", account=alice, currency="EUR", minor=0))
    assert isinstance(outcome, ComityError)
    assert brand.kinds() == before
    brand.check()


def test_the_migrations_make_the_schema_that_the_code_declares(engine: Engine) -> None:
    assert redemption_tables.REDEMPTION_TABLES
    assert operation_tables.OPERATION_TABLES
    assert ledger_first(tables.metadata) == []
    create_or_upgrade(engine, tables.metadata, MIGRATIONS)
    with engine.connect() as connection:
        migrated = describe(connection)
    with writer(engine).begin() as connection:
        tables.metadata.drop_all(connection)
        tables.metadata.create_all(connection)
    with engine.connect() as connection:
        assert describe(connection) == migrated
