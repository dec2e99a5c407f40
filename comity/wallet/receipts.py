"""Receipts: what a member keeps of a redemption, readable and verifiable without any server.

A receipt is a folder of its own:

    receipt.json           what happened, in words and figures; the keys the proofs verify under
    1-hold.tlog-proof …    the statements, each a C2SP tlog-proof file with its entry
    private.json           voucher codes and the pickup key: whoever has them may use them

All but `private.json` may be shown to anyone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from comity.clock import rfc3339
from comity.errors import NotFound
from comity.ledger import entries
from comity.log import proof
from comity.terms import mandates
from comity.v1.entry_pb2 import SignedMandate
from comity.v1.member_pb2 import Redemption, RedemptionState
from comity.wallet import files
from comity.wallet.offers import Offer, money_json

FORMAT: Final = "comity-receipt/v1"
PRIVATE_FORMAT: Final = "comity-receipt-private/v1"
SUFFIX: Final = ".tlog-proof"

STATES: Final[Mapping[RedemptionState.ValueType, str]] = {
    value: name.removeprefix("REDEMPTION_STATE_").lower() for name, value in RedemptionState.items()
}
"""A redemption's state as people and scripts read it: `delivered`, `partly_reversed`, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One redemption in the wallet: `summary` is `receipt.json`, the others as their names say."""

    folder: Path
    summary: Mapping[str, Any]
    statements: tuple[str, ...]
    vouchers: tuple[str, ...]
    pickup_key: bytes

    @property
    def redemption_id(self) -> str:
        return str(self.summary["redemption_id"])

    @property
    def state(self) -> str:
        return str(self.summary["state"])


def save(
    folder: Path,
    *,
    offer: Offer,
    mandate: SignedMandate,
    redemption: Redemption,
    keys: Mapping[str, str],
    now_us: int,
) -> Receipt:
    """Write what became of a redemption; a later state replaces an earlier one.

    `keys` are the verifier keys of the logs by origin, those the wallet knew at this time.
    """
    files.make_folder(folder)
    names = _write_statements(folder, redemption.receipt)
    if redemption.vouchers or not (folder / "private.json").exists():
        private = {
            "format": PRIVATE_FORMAT,
            "vouchers": list(redemption.vouchers),
            "pickup_key": files.to_text(offer.pickup_key),
        }
        files.write_json(folder / "private.json", private)
    content = _summary(offer, mandate, redemption) | {
        "recorded_at": rfc3339(now_us),
        "keys": dict(keys),
        "statements": names,
    }
    files.write_json(folder / "receipt.json", content)
    return load(folder)


def update(
    receipt: Receipt, redemption: Redemption, *, keys: Mapping[str, str], now_us: int
) -> Receipt:
    """The receipt after something more became of the redemption, a reversal for example."""
    names = list(receipt.summary["statements"])
    if redemption.receipt and tuple(redemption.receipt) != receipt.statements:
        names = _write_statements(receipt.folder, redemption.receipt)
    content = {
        **receipt.summary,
        "state": STATES[redemption.state],
        "reversed_points": redemption.reversed_points,
        "statements": names,
        "keys": {**receipt.summary.get("keys", {}), **keys},
        "recorded_at": rfc3339(now_us),
    }
    files.write_json(receipt.folder / "receipt.json", content)
    return load(receipt.folder)


def load(folder: Path) -> Receipt:
    """The receipt in a folder. Raises NotFound, or Malformed for a damaged one."""
    summary = files.read_json(folder / "receipt.json", form=FORMAT)
    try:
        private = files.read_json(folder / "private.json", form=PRIVATE_FORMAT)
    except NotFound:
        private = {"vouchers": [], "pickup_key": ""}
    return Receipt(
        folder=folder,
        summary=summary,
        statements=tuple((folder / name).read_text("utf-8") for name in summary["statements"]),
        vouchers=tuple(private["vouchers"]),
        pickup_key=files.to_bytes(private["pickup_key"]),
    )


def _summary(offer: Offer, mandate: SignedMandate, redemption: Redemption) -> dict[str, Any]:
    failure = redemption.failure
    return {
        "format": FORMAT,
        "redemption_id": offer.redemption_id,
        "state": STATES[redemption.state],
        "kind": "exchange" if offer.exchange else "reward",
        "issuer": offer.issuer,
        "acceptor": offer.acceptor,
        "points": offer.points,
        "reversed_points": redemption.reversed_points,
        "acceptor_points": offer.acceptor_points,
        "reward_id": offer.reward_id,
        "quantity": offer.quantity,
        "amount": money_json(offer.worth.amount),
        "retail": money_json(offer.worth.retail),
        "failure": {"code": failure.code, "message": failure.message} if failure.code else None,
        "quote": files.to_text(offer.quote),
        "reward_salt": files.to_text(offer.reward_salt),
        "points_salt": files.to_text(redemption.points_salt),
        "mandate": files.to_text(mandate.mandate),
        "mandate_signature": files.to_text(mandate.signature),
        "mandate_digest": files.to_text(mandates.digest(mandate)),
    }


def _write_statements(folder: Path, statements: Sequence[str]) -> list[str]:
    names: list[str] = []
    for place, text in enumerate(statements, start=1):
        found = proof.parse(text.encode())
        kind = entries.kind(entries.decode(found.extra or b""))
        name = f"{place}-{kind}{SUFFIX}"
        files.write(folder / name, text.encode())
        names.append(name)
    return names
