"""The one writer: idempotency, refusals, bugs, crashes and proofs, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import select, text

from comity.errors import (
    ComityError,
    Conflict,
    InsufficientPoints,
    LeaseHeld,
    Malformed,
    NotFound,
    NotYet,
    Overloaded,
    Unavailable,
)
from comity.ledger import schema
from comity.ledger.command import Answer, Command, Outcome
from comity.ledger.engine import open_engine, writer
from comity.ledger.guard import check_known_head
from comity.ledger.queue import CommandQueue
from comity.ledger.runner import Threads, inline
from comity.ledger.sequencer import Sequencer
from comity.ledger.steps import Moment, Step
from comity.log.merkle import leaf_hash, verify_consistency, verify_inclusion
from tests.store.toy import Deposit, Stumble, Transfer, World, signer


def run(sequencer: Sequencer, *commands: Command) -> list[Outcome]:
    return sequencer.run_batch(commands)


def one(sequencer: Sequencer, command: Command) -> Answer:
    (outcome,) = sequencer.run_batch([command])
    assert isinstance(outcome, Answer), outcome
    return outcome


def deposit(key: str = "1", points: int = 10, account: str = "a") -> Deposit:
    return Deposit(caller="till", id=key, account=account, points=points)


def transfer(key: str, points: int, source: str = "a", target: str = "b") -> Transfer:
    return Transfer(caller="till", id=key, source=source, target=target, points=points)


# --- ids ------------------------------------------------------------------------------


def test_a_retry_is_counted_once_and_gets_the_same_answer(world: World) -> None:
    sequencer = world.start()
    first = one(sequencer, deposit())
    again = one(sequencer, deposit())
    assert (again.body, again.first_index, again.entry_count) == (b"0", 0, 1)
    assert again.at_us == first.at_us
    assert not first.repeated
    assert again.repeated
    assert world.balances() == {"a": 10}
    assert sequencer.store.head().size == 1


def test_a_retry_after_a_restart_gets_the_same_answer(world: World) -> None:
    one(world.start(), deposit())
    again = one(world.start(), deposit())
    assert again.repeated
    assert again.entries == range(1)
    assert world.balances() == {"a": 10}


def test_a_retry_within_one_batch_is_counted_once(world: World) -> None:
    first, again, other = run(world.start(), deposit(), deposit(), deposit("2"))
    assert isinstance(first, Answer)
    assert isinstance(again, Answer)
    assert isinstance(other, Answer)
    assert again.repeated
    assert again.body == first.body
    assert world.balances() == {"a": 20}


def test_another_caller_may_use_the_same_id(world: World) -> None:
    run(world.start(), deposit(), Deposit(caller="app", id="1", account="a", points=5))
    assert world.balances() == {"a": 15}


@pytest.mark.parametrize("together", [True, False])
def test_an_id_with_other_content_is_a_conflict_that_names_the_field(
    world: World, together: bool
) -> None:
    sequencer = world.start()
    if together:
        _, outcome = run(sequencer, deposit(), deposit(points=11))
    else:
        one(sequencer, deposit())
        (outcome,) = run(sequencer, deposit(points=11))
    assert isinstance(outcome, Conflict)
    assert outcome.field == "points"
    assert "another points" in outcome.message
    assert world.balances() == {"a": 10}


def test_an_id_of_another_kind_of_command_is_a_conflict(world: World) -> None:
    sequencer = world.start()
    one(sequencer, deposit())
    (outcome,) = run(sequencer, transfer("1", 1))
    assert isinstance(outcome, Conflict)
    assert outcome.field == "id"


def test_work_without_an_id_is_done_each_time_and_not_recorded(world: World) -> None:
    sequencer = world.start()
    run(sequencer, deposit(""), deposit(""))
    assert world.balances() == {"a": 20}
    with world.engine.connect() as connection:
        assert connection.execute(select(schema.commands)).all() == []


# --- refusals -------------------------------------------------------------------------


def test_a_refusal_is_recorded_and_repeated_even_when_it_would_now_succeed(world: World) -> None:
    sequencer = world.start()
    (first,) = run(sequencer, transfer("t", 5))
    one(sequencer, deposit())
    (again,) = run(world.start(), transfer("t", 5))
    for outcome in (first, again):
        assert isinstance(outcome, InsufficientPoints)
        assert outcome.message == "Account a has too few points."
        assert outcome.metadata == {"account": "a"}
    assert world.balances() == {"a": 10}


def test_what_decided_nothing_is_not_recorded(world: World) -> None:
    sequencer = world.start()
    (first,) = run(sequencer, transfer("t", -5))
    one(sequencer, deposit())
    (second,) = run(sequencer, transfer("t", 5))
    assert isinstance(first, Malformed)
    assert isinstance(second, Answer)


def test_a_refused_command_leaves_nothing_behind_for_its_neighbours(world: World) -> None:
    sequencer = world.start()
    outcomes = run(
        sequencer,
        deposit("1"),
        Stumble(caller="till", id="s", error=NotYet),
        transfer("2", 100),
        transfer("3", 4),
    )
    assert [type(outcome) for outcome in outcomes] == [Answer, NotYet, InsufficientPoints, Answer]
    assert world.balances() == {"a": 6, "b": 4}
    assert [entry.body for entry in world.store().entries(0, 10)] == [
        b"deposit a 10",
        b"transfer a b 4",
    ]


def test_a_refusal_alone_is_committed_without_a_new_checkpoint(world: World) -> None:
    sequencer = world.start()
    run(sequencer, transfer("t", 5))
    assert sequencer.store.head().size == 0
    one(world.start(), deposit())


# --- bugs and failures ----------------------------------------------------------------


def test_a_bug_is_isolated_and_quarantined_and_all_others_proceed(world: World) -> None:
    sequencer = world.start()
    batch: list[Command] = [deposit(str(number)) for number in range(9)]
    batch.insert(4, Stumble(caller="till", id="bug", error=ZeroDivisionError))
    outcomes = sequencer.run_batch(batch)
    culprit = outcomes.pop(4)
    assert type(culprit) is ComityError
    assert "stumbled" not in culprit.message
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert world.balances() == {"a": 90}
    with world.engine.connect() as connection:
        (row,) = connection.execute(select(schema.quarantine)).all()
    assert (row.caller, row.id, row.reason) == ("till", "bug", "ZeroDivisionError")
    run(sequencer, Stumble(caller="till", id="bug", error=ZeroDivisionError))
    assert world.store().head().size == 9


def test_a_broken_constraint_is_a_bug_of_its_command_alone(world: World) -> None:
    sequencer = world.start()
    good, bad = run(sequencer, deposit("1"), deposit("2", points=2**63))
    assert isinstance(good, Answer)
    assert type(bad) is ComityError
    assert world.balances() == {"a": 10}


def test_a_database_that_cannot_write_acknowledges_nobody(world: World) -> None:
    sequencer = world.start()
    one(sequencer, deposit())
    with writer(world.engine).begin() as connection:
        connection.execute(text("ALTER TABLE checkpoints RENAME TO hidden"))
    (outcome,) = run(sequencer, deposit("2"))
    assert isinstance(outcome, ComityError)
    with writer(world.engine).begin() as connection:
        connection.execute(text("ALTER TABLE hidden RENAME TO checkpoints"))
    assert world.balances() == {"a": 10}
    one(sequencer, deposit("2"))
    assert world.balances() == {"a": 20}


def test_a_database_that_is_gone_is_unavailable_not_a_bug(world: World) -> None:
    if world.engine.dialect.name != "sqlite":
        pytest.skip("takes SQLite's write lock")
    sequencer = world.start()
    rival = open_engine(str(world.engine.url) + "?timeout=0")
    with writer(world.engine).connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=0")
    with writer(rival).begin():
        with world.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=0")
        (outcome,) = run(sequencer, deposit())
    assert isinstance(outcome, Unavailable)
    rival.dispose()
    one(sequencer, deposit())


def test_a_writer_whose_connection_was_cut_goes_on_with_the_next_batch(world: World) -> None:
    if world.engine.dialect.name != "postgresql":
        pytest.skip("cuts a server's connections")
    sequencer = world.start()
    one(sequencer, deposit("1"))
    rival = open_engine(world.engine.url.render_as_string(hide_password=False))
    with rival.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        ).all()
    rival.dispose()
    (outcome,) = run(sequencer, deposit("2"))
    assert isinstance(outcome, Answer | Unavailable)
    one(sequencer, deposit("2"))
    assert world.balances() == {"a": 20}


class Crash(BaseException):
    """The end of a process, as a test sees it."""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_around_the_commit_loses_nothing_and_doubles_nothing(
    world: World, moment: Moment
) -> None:
    def crash(step: Step, when: Moment) -> None:
        if step is Step.ADJUST and when == moment:
            raise Crash

    sequencer = world.start(fault=crash)
    one(sequencer, deposit())
    with pytest.raises(Crash):
        run(sequencer, transfer("t", 3), deposit("2"))
    survived = moment == "after"
    assert world.balances() == ({"a": 17, "b": 3} if survived else {"a": 10})
    after, _ = run(world.start(), transfer("t", 3), deposit("2"))
    assert isinstance(after, Answer)
    assert after.repeated is survived
    assert world.balances() == {"a": 17, "b": 3}


def test_time_never_runs_backwards_within_a_ledger(world: World) -> None:
    sequencer = world.start()
    first = one(sequencer, deposit("1"))
    world.clock.now_us -= 1_000_000
    assert one(sequencer, deposit("2")).at_us == first.at_us
    assert one(world.start(), deposit("3")).at_us == first.at_us


# --- fencing --------------------------------------------------------------------------


def test_a_writer_whose_lease_was_taken_over_stops_and_writes_nothing(world: World) -> None:
    old = world.start()
    one(old, deposit("1"))
    new = world.start()
    for _ in range(2):
        (outcome,) = run(old, deposit("2"))
        assert isinstance(outcome, LeaseHeld)
    with pytest.raises(LeaseHeld):
        old.renew()
    one(new, deposit("2"))
    assert world.balances() == {"a": 20}


# --- heads and proofs -----------------------------------------------------------------


def test_every_entry_is_proven_at_every_size_from_memory_and_from_the_database(
    world: World,
) -> None:
    sequencer = world.start()
    number = 0
    for count in (1, 3, 300, 1, 250):
        sequencer.run_batch([deposit(str(number + at)) for at in range(count)])
        number += count
    fresh = world.store()
    head = fresh.head()
    assert head == sequencer.store.head()
    assert head.size == number == 555
    assert signer().verify(head.note) == (head.size, head.root)
    for store in (fresh, sequencer.store):
        for size in (1, 2, 4, 255, 256, 257, 304, 512, 555):
            root = store.root(size)
            for index in {0, size // 2, size - 1}:
                verify_inclusion(
                    leaf=leaf_hash(store.entry(index).body),
                    index=index,
                    size=size,
                    proof=store.inclusion(index, size),
                    root=root,
                )
            verify_consistency(
                old_size=size,
                new_size=head.size,
                old_root=root,
                new_root=head.root,
                proof=store.consistency(size, head.size),
            )
            check_known_head(store, size=size, root=root)
    with pytest.raises(NotFound):
        fresh.entry(555)


def test_statements_are_entries_proven_under_one_head(world: World) -> None:
    sequencer = world.start()
    sequencer.run_batch([deposit(str(number)) for number in range(20)])
    assert sequencer.store.in_memory([3, 19])
    for store in (sequencer.store, world.store()):
        proven = store.prove([19, 3])
        assert [entry.index for entry in proven.entries] == [19, 3]
        for entry in proven.entries:
            verify_inclusion(
                leaf=leaf_hash(entry.body),
                index=entry.index,
                size=proven.head.size,
                proof=entry.path,
                root=proven.head.root,
            )
        with pytest.raises(NotFound):
            store.prove([20])


def test_each_batch_has_one_checkpoint_found_by_size(world: World) -> None:
    sequencer = world.start()
    for start in (0, 5, 10):
        sequencer.run_batch([deposit(str(start + at)) for at in range(5)])
    store = world.store()
    assert [store.checkpoint_at_or_after(size).size for size in (1, 5, 6, 15)] == [5, 5, 10, 15]
    found = store.checkpoint_at_or_after(6)
    assert signer().verify(found.note) == (10, found.root)
    with pytest.raises(NotFound):
        store.checkpoint_at_or_after(16)


def test_an_opening_is_kept_beside_its_entry(world: World) -> None:
    one(world.start(), deposit())
    entry = world.store().entry(0)
    assert entry.body == b"deposit a 10"
    assert entry.kind == Step.PURCHASE
    assert entry.opening is not None
    assert len(entry.opening) == 16


# --- the queue ------------------------------------------------------------------------


async def together(queue: CommandQueue, commands: Sequence[Command]) -> list[Outcome]:
    found = await asyncio.gather(
        *(queue.submit(command) for command in commands), return_exceptions=True
    )
    return [outcome for outcome in found if isinstance(outcome, Answer | ComityError)]


async def test_fifty_concurrent_redemptions_never_overdraw_a_balance(world: World) -> None:
    sequencer = world.start()
    one(sequencer, deposit(points=35))
    write, read = Threads("write"), Threads("read", 2)
    queue = CommandQueue(sequencer, write=write, read=read, batch_limit=8)
    outcomes = await together(queue, [transfer(f"t{number}", 1) for number in range(50)])
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == 35
    assert sum(isinstance(outcome, InsufficientPoints) for outcome in outcomes) == 15
    assert world.balances() == {"a": 0, "b": 35}
    proven = await queue.prove(range(36))
    assert len(proven.entries) == 36
    await queue.close()
    write.close()
    read.close()


async def test_what_waits_is_committed_together(world: World) -> None:
    queue = CommandQueue(world.start(), write=inline, read=inline)
    await together(queue, [deposit(str(number)) for number in range(20)])
    outcomes = await queue.submit_all([deposit("20"), transfer("t", 10_000), deposit("0")])
    assert [type(outcome) for outcome in outcomes] == [Answer, InsufficientPoints, Answer]
    with world.engine.connect() as connection:
        assert connection.execute(select(schema.checkpoints.c.size)).scalars().all() == [20, 21]


async def test_a_cancelled_caller_does_not_disturb_the_batch(world: World) -> None:
    write = Threads("write")
    queue = CommandQueue(world.start(), write=write, read=inline)
    impatient = asyncio.create_task(queue.submit(deposit("1")))
    patient = asyncio.create_task(queue.submit(deposit("2")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    impatient.cancel()
    assert isinstance(await patient, Answer)
    assert impatient.cancelled() or await asyncio.wait([impatient])
    answer = await queue.submit(deposit("1"))
    assert answer.entry_count == 1
    assert world.balances() == {"a": 20}
    await queue.close()
    write.close()


async def test_a_full_queue_refuses_and_decides_nothing(world: World) -> None:
    queue = CommandQueue(world.start(), write=inline, read=inline, queue_limit=10)
    outcomes = await together(queue, [deposit(str(number)) for number in range(15)])
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == 10
    assert sum(isinstance(outcome, Overloaded) for outcome in outcomes) == 5


async def test_closing_commits_what_waits_and_gives_the_lease_back(world: World) -> None:
    queue = CommandQueue(world.start(), write=inline, read=inline)
    waiting = asyncio.create_task(queue.submit(deposit()))
    await asyncio.sleep(0)
    await queue.close()
    assert isinstance(await waiting, Answer)
    with pytest.raises(Unavailable):
        await queue.submit(deposit("2"))
    world.open(holder="another", dead=False)


async def test_a_queue_whose_writer_ended_answers_nobody_and_serves_no_more(world: World) -> None:
    def crash(step: Step, when: Moment) -> None:
        raise RuntimeError("the end")

    queue = CommandQueue(world.start(fault=crash), write=inline, read=inline)
    found = await asyncio.gather(queue.submit(deposit()), return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert not queue.serving
    with pytest.raises(Unavailable):
        await queue.submit(deposit("2"))
    assert world.balances() == {}
