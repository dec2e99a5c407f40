"""The exchange of a log's key while its process is stopped: for a node that lost its old key.

A node that serves learns of an exchange from clearing's feed, and its sequencer does this within
the batch that mirrors it. Without its old key a node cannot start to follow the feed; then the
operator's answer, proven in clearing's log, is put in here.
"""

from __future__ import annotations

from sqlalchemy import Engine, delete, insert, update

from comity.errors import Malformed
from comity.ledger import lease as leases
from comity.ledger import schema
from comity.ledger.engine import writer
from comity.ledger.guard import Signer
from comity.ledger.store import read_head, read_keys
from comity.log.history import KeyHistory
from comity.log.note import VerifierKey


def keys_of(engine: Engine, ledger: str) -> KeyHistory:
    """The keys of a log, as its ledger has them. Raises MissingLedger."""
    with engine.connect() as connection:
        return read_keys(connection, ledger)


def exchange(
    engine: Engine,
    *,
    ledger: str,
    new: VerifierKey,
    last_size: int,
    signer: Signer,
    holder: str,
    now_us: int,
) -> KeyHistory:
    """Have a ledger signed by `new` above `last_size`, in one commit; twice changes nothing.

    Raises LeaseHeld while a process serves it, Malformed if the log was shorter than `last_size`
    and its old key is gone, so that nobody could sign the heads between.
    """
    before = keys_of(engine, ledger)
    if before.current == new and before.last_size == last_size:
        return before
    history = before.rotated(new, last_size)
    signer.learn(history)
    table = schema.ledgers
    with writer(engine).begin() as connection:
        lease = leases.acquire(
            connection, ledger=ledger, holder=holder, now_us=now_us, is_dead=leases.is_dead_here
        )
        head = read_head(connection, ledger)
        if head.size < last_size and not signer.can_sign(head.size + 1):
            raise Malformed(
                f"The log has {head.size} entries, and the old key, which is not here, signs up "
                f"to {last_size}. Ask the operator to exchange the key at {head.size}."
            )
        changes: dict[str, object] = {"vkey": str(history)}
        if head.size > last_size:
            at = schema.checkpoints
            note = signer.sign(head.size, head.root)
            connection.execute(delete(at).where(at.c.ledger == ledger, at.c.size > last_size))
            row = {"ledger": ledger, "size": head.size, "note": note, "at_us": head.at_us}
            connection.execute(insert(at).values(row))
            changes["note"] = note
        connection.execute(update(table).where(table.c.ledger == ledger).values(changes))
        leases.release(connection, lease)
    return history
