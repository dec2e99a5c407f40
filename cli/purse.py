"""Opening the wallet which a member command works on, and naming brands in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from comity.errors import Malformed
from comity.wallet.brands import Brand
from comity.wallet.wallet import Wallet

PASSPHRASE: Final = "COMITY_WALLET_PASSPHRASE"


def open_wallet(folder: str, *, create: bool = False) -> Wallet:
    """The wallet in `folder`; with `create` a new one where there is none."""
    path = Path(folder).expanduser()
    passphrase = os.environ.get(PASSPHRASE) or None
    if create and not (path / "wallet.json").exists():
        return Wallet.create(path, passphrase=passphrase)
    return Wallet.open(path, passphrase=passphrase)


def read_text(path: Path | None) -> str:
    """A file's text, or an empty one for no file."""
    return "" if path is None else path.read_text("utf-8")


async def brand_at(
    wallet: Wallet, text: str, *, ca: Path | None = None, server_name: str = ""
) -> Brand:
    """The brand of this name in the wallet or, for `host:port`, the one which answers there."""
    if ":" in text:
        return await wallet.learn(text, roots_pem=read_text(ca), server_name=server_name)
    return wallet.store.brand(text)


async def paying(wallet: Wallet, name: str | None, acceptor: Brand) -> Brand:
    """The brand whose points are spent: as named, or the only one that `acceptor` accepts."""
    if name:
        return wallet.store.brand(name)
    accepted = await wallet.guest(acceptor).list_issuers()
    mine = [
        brand
        for brand in wallet.store.brands()
        if brand.enrolled and brand.network == acceptor.network and brand.participant in accepted
    ]
    if len(mine) == 1:
        return mine[0]
    if not mine:
        taken = ", ".join(accepted) or "nobody else"
        raise Malformed(
            f"{acceptor.participant} accepts the points of {taken}; you are a member of none."
        )
    names = " or ".join(brand.participant for brand in mine)
    raise Malformed(f"Say whose points you want to spend: --with {names}.")
