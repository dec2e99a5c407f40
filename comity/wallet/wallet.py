"""The wallet: enrol, see all balances, quote, redeem, exchange, keep receipts.

    A redemption, in the order in which a crash may cut it:

     1. the acceptor's quote is read, checked and shown              (Wallet.quote)
     2. the device key signs a mandate; the request is made durable  (Wallet.redeem)
     3. the request is sent; an answer that is final ends it
     4. the receipt is saved, then the request is forgotten

Between any two lines the wallet may die: `Wallet.redeem` and `Wallet.resume` go on from 3 with
the same bytes. A silence decides nothing; the redemption stays pending until someone knows.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from comity.client.connection import Server, connect
from comity.client.log import LogClient
from comity.client.member import MemberClient
from comity.client.programme import ProgrammeClient
from comity.client.session import Session, key_name
from comity.clock import Clock, system_clock
from comity.errors import (
    ComityError,
    Malformed,
    NotEligible,
    NotFound,
    Refused,
    Unavailable,
    UnknownKey,
)
from comity.keys import Random, SigningKey
from comity.ledger import statements
from comity.log.checkpoint import open_checkpoint, read_checkpoint
from comity.log.history import KeyHistory
from comity.rpc.channel import Channel
from comity.v1.common_pb2 import Failure
from comity.v1.member_pb2 import (
    ENROLMENT_STATE_AWAITS_APPROVAL,
    ENROLMENT_STATE_AWAITS_PAYMENT,
    ENROLMENT_STATE_REFUSED,
    REDEMPTION_STATE_FAILED,
    REDEMPTION_STATE_PENDING,
    REDEMPTION_STATE_UNSPECIFIED,
    Balance,
    EnrolmentState,
    Redemption,
    Reward,
)
from comity.verify.receipt import receipt as verify_receipt
from comity.verify.report import Report
from comity.wallet import receipts
from comity.wallet.brands import Brand, introduced
from comity.wallet.offers import Offer, Wish, offer_of
from comity.wallet.pending import Destination, Pending, consent
from comity.wallet.receipts import Receipt
from comity.wallet.store import Store

SALT_BYTES = 16
AWAITS = {ENROLMENT_STATE_AWAITS_APPROVAL: "approval", ENROLMENT_STATE_AWAITS_PAYMENT: "payment"}
UNDECIDED = (REDEMPTION_STATE_UNSPECIFIED, REDEMPTION_STATE_PENDING)

Connect = Callable[[Server, SigningKey | None], Channel]
"""Opens a channel; with a key, in a session of that key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A brand and the member's balances there; or why they could not be read."""

    brand: Brand
    balances: tuple[Balance, ...] = ()
    failure: ComityError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is known of a redemption; `receipt` is None while it is pending."""

    redemption: Redemption
    receipt: Receipt | None

    @property
    def pending(self) -> bool:
        return self.receipt is None


class Wallet:
    """One member's wallet over several brands. Made by `Wallet.create` or `Wallet.open`."""

    def __init__(self, store: Store, *, connect: Connect, clock: Clock, random: Random) -> None:
        self.store = store
        self._connect = connect
        self._clock = clock
        self._random = random
        self._channels: dict[tuple[str, bool], Channel] = {}

    @staticmethod
    def create(
        folder: Path,
        *,
        passphrase: str | None = None,
        connect: Connect | None = None,
        clock: Clock = system_clock,
        random: Random = secrets.token_bytes,
    ) -> Wallet:
        """A new, empty wallet in `folder`. Raises Conflict where there is one."""
        store = Store.create(folder, passphrase=passphrase, random=random)
        return Wallet(store, connect=connect or over_tls(clock), clock=clock, random=random)

    @staticmethod
    def open(
        folder: Path,
        *,
        passphrase: str | None = None,
        connect: Connect | None = None,
        clock: Clock = system_clock,
        random: Random = secrets.token_bytes,
    ) -> Wallet:
        """The wallet in `folder`. Raises NotFound, or Malformed if others can read it."""
        store = Store.open(folder, passphrase=passphrase, random=random)
        return Wallet(store, connect=connect or over_tls(clock), clock=clock, random=random)

    async def __aenter__(self) -> Wallet:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the files are complete at any time."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()

    # Brands.

    async def learn(self, address: str, *, roots_pem: str = "", server_name: str = "") -> Brand:
        """Get to know the brand that answers at `address`, without joining it.

        Without `roots_pem` the certificates of the wallet's one network are trusted.
        """
        roots_pem = roots_pem or self._only_roots()
        server = Server(address=address, roots_pem=roots_pem.encode(), server_name=server_name)
        channel = self._connect(server, None)
        try:
            answer = await LogClient(channel).get_checkpoint()
        finally:
            await channel.close()
        brand, network = introduced(
            answer, address=address, server_name=server_name, roots_pem=roots_pem
        )
        for known in self.store.brands():
            if known.origin == brand.origin:
                if not KeyHistory.parse(brand.vkey).extends(KeyHistory.parse(known.vkey)):
                    raise Malformed(
                        f"{brand.origin} now shows another log key than the wallet knows; ask the "
                        "network's operator whether it was rotated, and do not redeem until then."
                    )
                brand = replace(known, vkey=brand.vkey, address=address, server_name=server_name)
        self.store.keep_brand(brand, network)
        return brand

    async def _follow_keys(self, redemption: Redemption) -> None:
        """Where a receipt is signed by a key that the wallet does not know, ask the brand for the
        keys of its log: an exchanged one is known from then on, beside the one before."""
        for text in redemption.receipt:
            with suppress(ComityError):
                note = statements.from_tlog_proof(text).checkpoint
                brand = self.store.brand(read_checkpoint(note).origin)
                try:
                    open_checkpoint(
                        note, origin=brand.origin, verifier=KeyHistory.parse(brand.vkey)
                    )
                except UnknownKey:
                    roots_pem = self.store.networks()[brand.network].roots_pem
                    await self.learn(
                        brand.address, roots_pem=roots_pem, server_name=brand.server_name
                    )

    async def enrol(
        self,
        brand: Brand,
        *,
        name: str = "",
        email: str = "",
        birth_date: str = "",
        region: str = "",
        invitation: str = "",
    ) -> Brand:
        """Join the brand's programme with a key of its own; again after that changes nothing.

        Where staff of the brand have to decide, `awaits` of the answer says so, and another call
        asks whether they have. Raises NotEligible if the programme's rules, or they, say no; what
        is said next time then counts anew.
        """
        if brand.enrolled:
            return brand
        key = self.store.key_for(brand.origin)
        if not brand.enrolment_id:
            brand = replace(
                brand, enrolment_id=f"enr_{self._random(16).hex()}", key_id=key_name(key)
            )
            self.store.keep_brand(brand)
        guest, proof = self.guest(brand), {"id": brand.enrolment_id, "origin": brand.origin}
        if brand.awaits:
            known = await guest.get_enrolment(key=key, **proof)
            return self._decided(brand, known.state, known.account, known.reason_code)
        try:
            answer = await guest.enrol(
                key=key,
                name=name,
                email=email,
                birth_date=birth_date,
                region=region,
                invitation=invitation,
                **proof,
            )
        except NotEligible:
            self.store.keep_brand(replace(brand, enrolment_id=""))
            raise
        return self._decided(brand, answer.state, answer.account)

    def _decided(
        self, brand: Brand, state: EnrolmentState.ValueType, account: str, reason: str = ""
    ) -> Brand:
        """The brand, with what is known of the member's enrolment there."""
        brand = replace(brand, awaits=AWAITS.get(state, ""), applied="", account="")
        if state == ENROLMENT_STATE_REFUSED:
            self.store.keep_brand(replace(brand, enrolment_id=""))
            raise NotEligible(
                f"{brand.participant} has refused the enrolment: {reason}.",
                metadata={"reason": reason},
            )
        if brand.awaits:
            brand = replace(brand, applied=account)
        else:
            brand = replace(brand, account=account)
        self.store.keep_brand(brand)
        return brand

    async def adopt(self, brand: Brand, key: SigningKey) -> Brand:
        """Use an account from this device too, with a key that another device has added to it."""
        self.store.put_key(brand.origin, key)
        channel = self._connect(self._server(brand), None)
        try:
            session = Session(channel, key=key, origin=brand.origin, clock=self._clock)
            account = (await session.open()).subject
        finally:
            await channel.close()
        brand = replace(brand, account=account, key_id=key_name(key))
        self.store.keep_brand(brand)
        return brand

    def member(self, brand: Brand) -> MemberClient:
        """The member's own session at a brand. Raises NotFound unless enrolled there."""
        return MemberClient(self._own(brand))

    def programme(self, brand: Brand) -> ProgrammeClient:
        """Where the member stands at a brand. Raises NotFound unless enrolled there."""
        return ProgrammeClient(self._own(brand))

    def guest(self, brand: Brand) -> MemberClient:
        """A brand as anyone sees it: its catalogue, quotes and redemptions."""
        return MemberClient(self._channel(brand, session=False))

    def _own(self, brand: Brand) -> Channel:
        if not brand.enrolled:
            raise NotFound(f"You are no member of {brand.participant} yet; enrol there first.")
        return self._channel(brand, session=True)

    async def balances(self) -> tuple[Holding, ...]:
        """All brands in one view; one that does not answer hides no other."""
        members = [brand for brand in self.store.brands() if brand.enrolled]
        return tuple(await asyncio.gather(*map(self._holding, members)))

    async def _holding(self, brand: Brand) -> Holding:
        try:
            answer = await self.member(brand).get_balance()
        except ComityError as error:
            return Holding(brand=brand, failure=error)
        return Holding(brand=brand, balances=tuple(answer.balances))

    async def rewards(self, brand: Brand) -> Sequence[Reward]:
        return [reward async for reward in self.guest(brand).rewards()]

    # Redemptions.

    async def quote(
        self, *, issuer: Brand, acceptor: Brand, reward_id: str, quantity: int = 1
    ) -> Offer:
        """What a reward costs in the issuer's points. Kept until it expires, and binds nobody."""
        answer = await self.guest(acceptor).quote_reward(
            issuer=issuer.participant, reward_id=reward_id, quantity=quantity
        )
        wish = Wish(issuer=issuer, acceptor=acceptor, reward_id=reward_id, quantity=quantity)
        return self._offered(offer_of(answer, wish, clock=self._clock))

    async def quote_exchange(
        self, *, issuer: Brand, acceptor: Brand, acceptor_points: int
    ) -> Offer:
        """What points of the acceptor cost in points of the issuer."""
        answer = await self.guest(acceptor).quote_exchange(
            issuer=issuer.participant, acceptor_points=acceptor_points
        )
        wish = Wish(issuer=issuer, acceptor=acceptor, acceptor_points=acceptor_points)
        return self._offered(offer_of(answer, wish, clock=self._clock))

    def _offered(self, offer: Offer) -> Offer:
        self.store.drop_expired_offers(self._clock())
        self.store.keep_offer(offer)
        return offer

    async def redeem(
        self,
        offer: Offer,
        *,
        max_points: int | None = None,
        not_after_us: int | None = None,
        timeout_s: float = 30.0,
    ) -> Outcome:
        """Take an offer, and wait for its outcome as long as `timeout_s` allows.

        The mandate allows the quote's points unless told otherwise, and ends with the quote.
        Raises what the acceptor refused with; a redemption that is merely undecided is an
        Outcome, and calling this again goes on with it.
        """
        pending = self.store.pending(offer.redemption_id)
        if pending is None:
            offer.check_open(self._clock())
            issuer, acceptor = self.store.brand(offer.issuer), self.store.brand(offer.acceptor)
            request = consent(
                offer,
                key=self.store.key(issuer),
                max_points=offer.points if max_points is None else max_points,
                not_after_us=not_after_us or offer.expires_at_us,
                destination=self._destination(acceptor) if offer.exchange else None,
            )
            pending = Pending(offer=offer, request=request, begun_at_us=self._clock())
            self.store.keep_pending(pending)
        return await self._send(pending, timeout_s=timeout_s)

    async def resume(self, redemption_id: str, *, timeout_s: float = 30.0) -> Outcome:
        """Go on with a pending redemption, or ask what became of a finished one since."""
        pending = self.store.pending(redemption_id)
        if pending is not None:
            return await self._send(pending, timeout_s=timeout_s)
        return await self._refresh(self.store.receipt(redemption_id))

    def verify_receipt(self, redemption_id: str) -> Report:
        """Check a receipt offline, under the log keys which the wallet knows by itself."""
        found = self.store.receipt(redemption_id)
        known = self.store.verifier_keys(found.summary["issuer"], found.summary["acceptor"])
        return verify_receipt(found.folder, keys=known)

    def _destination(self, acceptor: Brand) -> Destination:
        if not acceptor.enrolled:
            raise NotFound(
                f"An exchange needs an account at {acceptor.participant}; enrol there first."
            )
        return Destination(account=acceptor.account, salt=self._random(SALT_BYTES))

    async def _send(self, pending: Pending, *, timeout_s: float) -> Outcome:
        client = self.guest(self.store.brand(pending.offer.acceptor))
        try:
            redemption = await client.send(pending.request, timeout_s=timeout_s)
        except Unavailable:
            return Outcome(redemption=_undecided(pending), receipt=None)
        except (Refused, Malformed, NotFound) as error:
            # An earlier sending may have been taken up all the same: its outcome counts.
            found = await self._taken_up(client, pending)
            if found is None:
                self._finish(pending, _failed(pending, error))
                raise
            redemption = found
        if redemption.state in UNDECIDED:
            return Outcome(redemption=redemption, receipt=None)
        await self._follow_keys(redemption)
        return Outcome(redemption=redemption, receipt=self._finish(pending, redemption))

    async def _taken_up(self, client: MemberClient, pending: Pending) -> Redemption | None:
        """The redemption as the acceptor has it, or None if it never heard of it.

        Any other failure leaves the redemption pending and goes to the caller.
        """
        try:
            return await client.get_redemption(
                pending.offer.redemption_id, pickup_key=pending.offer.pickup_key
            )
        except NotFound:
            return None

    def _finish(self, pending: Pending, redemption: Redemption) -> Receipt:
        offer = pending.offer
        receipt = receipts.save(
            self.store.receipt_folder(offer.redemption_id),
            offer=offer,
            mandate=pending.request.mandate,
            redemption=redemption,
            keys=self.store.verifier_keys(offer.issuer, offer.acceptor),
            now_us=self._clock(),
        )
        self.store.end_pending(offer.redemption_id)
        return receipt

    async def _refresh(self, receipt: Receipt) -> Outcome:
        """A finished redemption may be reversed later, so the receipt follows the acceptor."""
        client = self.guest(self.store.brand(receipt.summary["acceptor"]))
        redemption = await client.get_redemption(
            receipt.redemption_id, pickup_key=receipt.pickup_key
        )
        await self._follow_keys(redemption)
        keys = self.store.verifier_keys(receipt.summary["issuer"], receipt.summary["acceptor"])
        return Outcome(
            redemption=redemption,
            receipt=receipts.update(receipt, redemption, keys=keys, now_us=self._clock()),
        )

    # Connections.

    def _channel(self, brand: Brand, *, session: bool) -> Channel:
        at = (brand.origin, session)
        if at not in self._channels:
            key = self.store.key(brand) if session else None
            self._channels[at] = self._connect(self._server(brand), key)
        return self._channels[at]

    def _server(self, brand: Brand) -> Server:
        return Server(
            address=brand.address,
            roots_pem=self.store.networks()[brand.network].roots_pem.encode(),
            server_name=brand.server_name,
            origin=brand.origin,
        )

    def _only_roots(self) -> str:
        networks = self.store.networks()
        if len(networks) != 1:
            raise Malformed(
                "Name the file with the network's CA certificate (--ca FILE); its operator and "
                "every brand in it hand it out."
            )
        return next(iter(networks.values())).roots_pem


def over_tls(clock: Clock) -> Connect:
    """Connects over TLS, as every wallet outside a simulation does."""

    def open_channel(server: Server, key: SigningKey | None) -> Channel:
        return connect(server, key=key, clock=clock)

    return open_channel


def _undecided(pending: Pending) -> Redemption:
    return Redemption(
        redemption_id=pending.offer.redemption_id,
        state=REDEMPTION_STATE_PENDING,
        points=pending.offer.points,
    )


def _failed(pending: Pending, error: ComityError) -> Redemption:
    return Redemption(
        redemption_id=pending.offer.redemption_id,
        state=REDEMPTION_STATE_FAILED,
        points=pending.offer.points,
        failure=Failure(code=error.code, message=error.message, field=error.field),
    )
