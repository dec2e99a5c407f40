"""What a wallet keeps, and where: one folder, open to its owner only.

wallet.json                     brands and networks
keys/<network>/<brand>.json     one device key for each brand
offers/<redemption id>.json     quotes that were looked at and not taken yet
pending/<redemption id>.json    redemptions on their way
receipts/<redemption id>/       what became of them
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from comity import keys
from comity.errors import Conflict, Malformed, NotFound
from comity.keys import Random, SigningKey
from comity.wallet import files, receipts
from comity.wallet.brands import (
    Brand,
    Network,
    brand_json,
    merged,
    network_json,
    read_brand,
    read_network,
)
from comity.wallet.offers import FORMAT as OFFER_FORMAT
from comity.wallet.offers import Offer, offer_json, read_offer
from comity.wallet.pending import FORMAT as PENDING_FORMAT
from comity.wallet.pending import Pending, pending_json, read_pending
from comity.wallet.receipts import Receipt

FORMAT: Final = "comity-wallet/v1"

ReadT = TypeVar("ReadT")


class Store:
    """The files of one wallet. `passphrase` seals the device keys."""

    def __init__(self, folder: Path, *, passphrase: str | None, random: Random) -> None:
        self.folder = folder
        self._passphrase = passphrase
        self._random = random

    @staticmethod
    def create(folder: Path, *, passphrase: str | None, random: Random) -> Store:
        """A new, empty wallet. Raises Conflict where there is one."""
        if (folder / "wallet.json").exists():
            raise Conflict(f"There is a wallet in {folder} already; use it or name another folder.")
        store = Store(folder, passphrase=passphrase, random=random)
        for name in ("keys", "offers", "pending", "receipts"):
            files.make_folder(folder / name)
        folder.chmod(files.FOLDER_MODE)
        store._write({}, {})
        return store

    @staticmethod
    def open(folder: Path, *, passphrase: str | None, random: Random) -> Store:
        """The wallet in a folder. Raises NotFound, or Malformed if others can read it."""
        if not (folder / "wallet.json").is_file():
            raise NotFound(
                f"There is no wallet in {folder}; enrol at a brand first, or name its folder."
            )
        files.check_private(folder)
        return Store(folder, passphrase=passphrase, random=random)

    # Brands and networks.

    def brands(self) -> tuple[Brand, ...]:
        found = self._read()["brands"]
        return tuple(read_brand(found[origin]) for origin in sorted(found))

    def networks(self) -> Mapping[str, Network]:
        return {name: read_network(told) for name, told in self._read()["networks"].items()}

    def brand(self, name: str) -> Brand:
        """The brand with this origin or, where only one bears it, this participant's name."""
        found = [brand for brand in self.brands() if name in (brand.origin, brand.participant)]
        if not found:
            raise NotFound(
                f"The wallet knows no brand {name}; give its address once, for example with "
                "--at HOST:PORT."
            )
        if len(found) > 1:
            origins = " or ".join(brand.origin for brand in found)
            raise Malformed(f"Several brands are called {name}; say {origins}.")
        return found[0]

    def keep_brand(self, brand: Brand, network: Network | None = None) -> None:
        """Record a brand, and what it told of its network."""
        content = self._read()
        networks = {name: read_network(told) for name, told in content["networks"].items()}
        if network is not None:
            networks[network.name] = merged(networks.get(network.name), network)
        content["brands"][brand.origin] = brand_json(brand)
        told = {name: network_json(known) for name, known in networks.items()}
        self._write(content["brands"], told)

    def verifier_keys(self, *origins: str) -> Mapping[str, str]:
        """The verifier keys of these logs, and of clearing, as far as the wallet knows them."""
        known = {brand.origin: brand.vkey for brand in self.brands()}
        for network in self.networks().values():
            if network.clearing_vkey and any(o.startswith(f"{network.name}/") for o in origins):
                known[network.clearing_origin] = network.clearing_vkey
                origins = (*origins, network.clearing_origin)
        return {origin: known[origin] for origin in origins if origin in known}

    # Keys.

    def key(self, brand: Brand) -> SigningKey:
        return keys.load(self._key_path(brand.origin), self._passphrase)

    def key_for(self, origin: str) -> SigningKey:
        """The device key for a brand, made when first asked for."""
        path = self._key_path(origin)
        if not path.exists():
            files.make_folder(path.parent)
            key = SigningKey.generate(self._random)
            keys.save(path, key, self._passphrase, random=self._random)
        return keys.load(path, self._passphrase)

    def put_key(self, origin: str, key: SigningKey) -> None:
        """Keep a key made elsewhere for a brand. Raises Conflict if another one is there."""
        path = self._key_path(origin)
        files.make_folder(path.parent)
        if not path.exists():
            keys.save(path, key, self._passphrase, random=self._random)
        elif keys.load(path, self._passphrase) != key:
            raise Conflict(f"The wallet has another key for {origin} already: {path}.")

    def _key_path(self, origin: str) -> Path:
        network, _, participant = origin.rpartition("/")
        for part in (network, participant):
            if not part or "/" in part or part.startswith("."):
                raise Malformed(f"{origin} cannot be the name of a brand's log.")
        return self.folder / "keys" / network / f"{participant}.json"

    # Offers.

    def keep_offer(self, offer: Offer) -> None:
        files.write_json(self._offer_path(offer.redemption_id), offer_json(offer))

    def offer(self, redemption_id: str) -> Offer:
        path = self._offer_path(redemption_id)
        if not path.exists():
            raise NotFound(f"The wallet holds no offer {redemption_id}; ask for a quote.")
        return _intact(read_offer, files.read_json(path, form=OFFER_FORMAT), path)

    def drop_expired_offers(self, now_us: int) -> None:
        for name in files.names(self.folder / "offers"):
            if self.offer(name).expires_at_us <= now_us:
                files.remove(self._offer_path(name))

    def _offer_path(self, redemption_id: str) -> Path:
        return self.folder / "offers" / f"{_file_name(redemption_id)}.json"

    # Redemptions on their way, and receipts.

    def keep_pending(self, pending: Pending) -> None:
        """On return the request is durable and may be sent."""
        redemption_id = pending.offer.redemption_id
        files.write_json(self._pending_path(redemption_id), pending_json(pending))
        files.remove(self._offer_path(redemption_id))

    def pending(self, redemption_id: str) -> Pending | None:
        path = self._pending_path(redemption_id)
        if not path.exists():
            return None
        return _intact(read_pending, files.read_json(path, form=PENDING_FORMAT), path)

    def all_pending(self) -> tuple[Pending, ...]:
        """Oldest first."""
        found = (self.pending(name) for name in files.names(self.folder / "pending"))
        return tuple(sorted(filter(None, found), key=lambda pending: pending.begun_at_us))

    def end_pending(self, redemption_id: str) -> None:
        """Forget the request; its receipt has been saved."""
        files.remove(self._pending_path(redemption_id))

    def receipt_folder(self, redemption_id: str) -> Path:
        return self.folder / "receipts" / _file_name(redemption_id)

    def receipt(self, redemption_id: str) -> Receipt:
        folder = self.receipt_folder(redemption_id)
        if not folder.is_dir():
            raise NotFound(f"The wallet holds no receipt {redemption_id}.")
        return receipts.load(folder)

    def receipts(self) -> tuple[Receipt, ...]:
        """Newest first."""
        found = [self.receipt(name) for name in files.names(self.folder / "receipts")]
        return tuple(sorted(found, key=lambda one: one.summary["recorded_at"], reverse=True))

    def _pending_path(self, redemption_id: str) -> Path:
        return self.folder / "pending" / f"{_file_name(redemption_id)}.json"

    # The wallet file.

    def _read(self) -> dict[str, Any]:
        return files.read_json(self.folder / "wallet.json", form=FORMAT)

    def _write(self, brands: Mapping[str, Any], networks: Mapping[str, Any]) -> None:
        content = {"format": FORMAT, "networks": networks, "brands": brands}
        files.write_json(self.folder / "wallet.json", content)


def _file_name(redemption_id: str) -> str:
    """The id as the name of a file; a server chose it, so it must not lead elsewhere."""
    digits = redemption_id.removeprefix("rdm_")
    if not redemption_id.startswith("rdm_") or len(digits) != 32 or not digits.isalnum():
        raise Malformed(f"{redemption_id!r} is no redemption id; it looks like rdm_0123….")
    return redemption_id


def _intact(read: Callable[[dict[str, Any]], ReadT], content: dict[str, Any], path: Path) -> ReadT:
    try:
        return read(content)
    except (KeyError, TypeError, ValueError):
        raise Malformed(f"{path} is damaged; restore it from a copy.") from None
