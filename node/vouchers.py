"""Vouchers: codes that a till accepts once.

A code is a number of 80 random bits in Crockford's base 32 (https://www.crockford.com/base32.html)
with that page's check symbol, in groups of four: `7ZQK-9M2C-01XA-V4HT-F`. Four of the 37 check
symbols are no letters or digits (`*~$=`): people misread them and shells expand them, so a number
which would need one is drawn again. People may type a code in any case, with or without hyphens,
with O for 0 and I or L for 1; a typing error does not reach the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from comity.errors import AlreadyUsed, Malformed, NotFound
from comity.ledger.command import Batch
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.v1 import merchant_pb2
from node.book import Handler, Handlers, Rules
from node.commands import UseVoucher
from node.tables import vouchers

VALID, USED, VOID = "VALID", "USED", "VOID"

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CHECK = _ALPHABET + "*~$=U"
_DRAWN_AGAIN = range(32, 36)
_READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
_BYTES = 10
_SYMBOLS = 16


# --- codes ----------------------------------------------------------------------------------


def new_code(random: Callable[[int], bytes]) -> str:
    """A fresh code, in the spelling that is stored and shown."""
    number = int.from_bytes(random(_BYTES))
    while number % 37 in _DRAWN_AGAIN:
        number = int.from_bytes(random(_BYTES))
    symbols = "".join(_ALPHABET[number >> shift & 31] for shift in range(75, -1, -5))
    groups = [symbols[at : at + 4] for at in range(0, _SYMBOLS, 4)]
    return "-".join([*groups, _CHECK[number % 37]])


def read_code(text: str, *, field: str = "code") -> str:
    """The stored spelling of a typed code, a voucher's or an invitation's.

    Raises Malformed, naming the request's `field`, if no code is spelt like that.
    """
    symbols = text.strip().upper().translate(_READ_AS)
    body, check = symbols[:_SYMBOLS], symbols[_SYMBOLS:]
    if len(symbols) != _SYMBOLS + 1 or any(one not in _ALPHABET for one in body):
        raise Malformed("A code has 17 letters and digits; type it as it is shown.", field=field)
    number = 0
    for one in body:
        number = number * 32 + _ALPHABET.index(one)
    if check != _CHECK[number % 37]:
        raise Malformed("The code has a typing error; compare it with the original.", field=field)
    groups = [body[at : at + 4] for at in range(0, _SYMBOLS, 4)]
    return "-".join([*groups, check])


# --- for the rules of redemptions -----------------------------------------------------------


def issue_vouchers(batch: Batch, *, reward_id: str, redemption_id: str, quantity: int) -> list[str]:
    """New codes for a delivery, one for each piece."""
    codes = [new_code(batch.random) for _ in range(quantity)]
    for code in codes:
        batch.rows.insert(
            vouchers,
            {
                "code": code,
                "reward_id": reward_id,
                "redemption_id": redemption_id,
                "state": VALID,
                "issued_at_us": batch.now_us,
                "used_at_us": 0,
                "used_by": "",
            },
        )
    return codes


def prefetch_vouchers(rows: Rows, redemption_ids: Sequence[str]) -> None:
    """Load the vouchers of these redemptions, for `void_unused`."""
    rows.load_where(vouchers, "redemption_id", redemption_ids)


def void_unused(rows: Rows, redemption_id: str) -> int:
    """Void every voucher of a redemption that no till has taken; returns how many those were."""
    found = rows.find(vouchers, "redemption_id", redemption_id)
    valid = [row for row in found if row["state"] == VALID]
    for row in valid:
        rows.put(vouchers, row | {"state": VOID})
    return len(valid)


# --- tills ----------------------------------------------------------------------------------


def voucher_message(row: dict[str, Any]) -> merchant_pb2.Voucher:
    """A voucher as a till sees it."""
    return merchant_pb2.Voucher(
        code=row["code"],
        reward_id=row["reward_id"],
        redemption_id=row["redemption_id"],
        state=row["state"],
        used_at_us=row["used_at_us"],
    )


def _prefetch(rules: Rules, rows: Rows, commands: Sequence[UseVoucher]) -> None:
    rows.load(vouchers, [(command.code,) for command in commands])


def _use(rules: Rules, batch: Batch, command: UseVoucher) -> bytes:
    row = batch.rows.get(vouchers, (command.code,))
    if row is None:
        raise NotFound("No voucher of this brand has this code.", field="code")
    if row["state"] == USED:
        raise AlreadyUsed(
            "This voucher was used before; do not accept it again.",
            metadata={"used_at_us": str(row["used_at_us"])},
        )
    if row["state"] == VOID:
        raise AlreadyUsed("This voucher was taken back; its points were returned.")
    row |= {"state": USED, "used_at_us": batch.now_us, "used_by": command.caller}
    batch.rows.put(vouchers, row)
    return canonical(merchant_pb2.UseVoucherResponse(voucher=voucher_message(row)))


HANDLERS: Handlers = {UseVoucher: Handler(_prefetch, _use)}
