"""A draw whose odds anybody can check: the seed is committed to before the first ticket is sold.

 1. The brand publishes `commitment(seed)` with the prizes and the time of the draw.
 2. Tickets are numbered from 0 in the order in which points were spent on them.
 3. The brand reveals the seed; `winners` follow from it, from `closing` and the number of tickets.

The seed is secret until then, so nobody outside can choose a winning number; it is committed to, so
the brand cannot choose another afterwards. Nor can the brand, which knows its seed while it sells,
tell who will win: `closing` is the root of the first head that clearing signed after sales ended,
which the brand cannot choose and whose signer does not know the seed. Numbers come from
HMAC-SHA-256 in counter mode, without modulo bias.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from comity.errors import BadStatement, Malformed

SEED_BYTES: Final = 32
_CONTEXT: Final = b"comity draw v1"


def commitment(seed: bytes) -> bytes:
    """What is published before the first ticket. Raises Malformed for a seed of another length."""
    if len(seed) != SEED_BYTES:
        raise Malformed(f"The seed of a draw has {SEED_BYTES} random bytes.")
    return hashlib.sha256(_CONTEXT + seed).digest()


def winners(seed: bytes, *, tickets: int, prizes: int, closing: bytes) -> tuple[int, ...]:
    """The numbers of the winning tickets, the first prize first; each ticket wins once at most.

    With fewer tickets than prizes every ticket wins.
    """
    commitment(seed)
    if min(tickets, prizes) < 0 or len(closing) != SEED_BYTES:
        raise Malformed(f"Give numbers of tickets and prizes, and a root of {SEED_BYTES} bytes.")
    found: dict[int, None] = {}
    count = min(tickets, prizes)
    counter = 0
    limit = 2**256 // tickets * tickets if tickets else 0
    while len(found) < count:
        text = b"%s|%s|%d|%d" % (_CONTEXT, closing, tickets, counter)
        number = int.from_bytes(hmac.digest(seed, text, "sha256"), "big")
        counter += 1
        if number < limit:
            found.setdefault(number % tickets)
    return tuple(found)


def check(
    committed: bytes,
    seed: bytes,
    *,
    tickets: int,
    prizes: int,
    closing: bytes,
    claimed: tuple[int, ...],
) -> None:
    """Raises BadStatement unless this seed was committed to and gives these winners."""
    if not hmac.compare_digest(commitment(seed), committed):
        raise BadStatement("The revealed seed is not the one that was committed to.")
    if winners(seed, tickets=tickets, prizes=prizes, closing=closing) != claimed:
        raise BadStatement("The winners do not follow from the seed and the number of tickets.")
