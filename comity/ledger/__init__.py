"""The ledger: every durable change goes through one writer, in batches, into one Merkle log.

    command → sequencer → book (pure) → rows + entries → one commit → answers

Read `sequencer` first; `rows` is what a book sees of the database, `store` is how others read.
"""
