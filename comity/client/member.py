"""What a member does: at the own brand in a session, at an acceptor as a guest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from comity.client.export import collected
from comity.client.paging import PAGE, walk
from comity.client.session import key_name
from comity.keys import SigningKey
from comity.rpc.channel import DEFAULT_TIMEOUT_S, Channel, stub
from comity.v1 import member_pb2 as pb
from comity.v1.common_pb2 import Money
from comity.v1.entry_pb2 import SignedMandate
from comity.v1.member_pb2_grpc import MemberServiceStub

# ruff: noqa: A002  an id is called id

ENROL_LABEL: Final = b"comity-enrol/v1\n"
REDEEM_TIMEOUT_S: Final = 30.0


def enrol_message(origin: str, enrolment_id: str) -> bytes:
    """What a device key signs to prove itself to one brand, for one enrolment."""
    return ENROL_LABEL + origin.encode() + b"\n" + enrolment_id.encode()


class MemberClient:
    """`MemberService`. The first methods want a session channel; a guest needs none."""

    def __init__(self, channel: Channel) -> None:
        self._stub = stub(MemberServiceStub, channel)

    # At the own brand.

    async def enrol(
        self,
        *,
        id: str,
        key: SigningKey,
        origin: str,
        name: str = "",
        email: str = "",
        birth_date: str = "",
        region: str = "",
        invitation: str = "",
    ) -> pb.EnrolResponse:
        """Join the programme with a device key. The same id and key find the same account.

        The answer's state says whether staff have to decide first.
        """
        request = pb.EnrolRequest(
            id=id,
            public_key=key.public.raw,
            signature=key.sign(enrol_message(origin, id)),
            invitation=invitation,
        )
        if name or email or birth_date or region:
            request.profile.name = name
            request.profile.email = email
            request.profile.birth_date = birth_date
            request.profile.region = region
        return await self._stub.Enrol(request)

    async def get_enrolment(
        self, *, id: str, key: SigningKey, origin: str
    ) -> pb.GetEnrolmentResponse:
        """What became of an enrolment that had to wait."""
        return await self._stub.GetEnrolment(
            pb.GetEnrolmentRequest(
                id=id, public_key=key.public.raw, signature=key.sign(enrol_message(origin, id))
            )
        )

    async def add_device(self, *, id: str, key: SigningKey, origin: str) -> str:
        """Admit another device key to the account; answers its key id."""
        request = pb.AddDeviceRequest(
            id=id, public_key=key.public.raw, signature=key.sign(enrol_message(origin, id))
        )
        return (await self._stub.AddDevice(request)).key_id or key_name(key)

    async def list_devices(self) -> Sequence[pb.Device]:
        return (await self._stub.ListDevices(pb.ListDevicesRequest())).devices

    async def revoke_device(self, *, id: str, key_id: str) -> None:
        """From now on nothing the key signs is accepted."""
        await self._stub.RevokeDevice(pb.RevokeDeviceRequest(id=id, key_id=key_id))

    async def get_balance(self) -> pb.GetBalanceResponse:
        return await self._stub.GetBalance(pb.GetBalanceRequest())

    def lots(self, *, at_most: int | None = None) -> AsyncIterator[pb.Lot]:
        """Points by when they were earned and when they expire."""

        async def read(cursor: str) -> tuple[Sequence[pb.Lot], str]:
            page = await self._stub.ListLots(pb.ListLotsRequest(limit=PAGE, cursor=cursor))
            return page.lots, page.next_cursor

        return walk(read, at_most=at_most)

    def activity(self, *, at_most: int | None = None) -> AsyncIterator[pb.Activity]:
        """The statement of the account, newest first."""

        async def read(cursor: str) -> tuple[Sequence[pb.Activity], str]:
            page = await self._stub.ListActivity(pb.ListActivityRequest(limit=PAGE, cursor=cursor))
            return page.activities, page.next_cursor

        return walk(read, at_most=at_most)

    async def get_issuer_receipt(self, redemption_id: str) -> pb.GetIssuerReceiptResponse:
        """What became of the points of a redemption."""
        request = pb.GetIssuerReceiptRequest(redemption_id=redemption_id)
        return await self._stub.GetIssuerReceipt(request)

    async def claim_purchase(
        self, *, id: str, purchase_id: str, amount: Money, occurred_at_us: int
    ) -> pb.PurchaseClaim:
        """Say that a purchase did not earn; staff compare it with the brand's sales."""
        request = pb.ClaimPurchaseRequest(
            id=id, purchase_id=purchase_id, amount=amount, occurred_at_us=occurred_at_us
        )
        return (await self._stub.ClaimPurchase(request)).claim

    async def list_claims(self) -> Sequence[pb.PurchaseClaim]:
        """The member's newest claims."""
        return (await self._stub.ListMyClaims(pb.ListMyClaimsRequest())).claims

    async def export(self) -> Mapping[str, list[Any]]:
        """Everything the brand holds on the member, by section."""

        async def read(cursor: str) -> pb.ExportPage:
            return (await self._stub.ExportMyData(pb.ExportMyDataRequest(cursor=cursor))).page

        return await collected(read)

    # At an acceptor, as a guest.

    async def list_issuers(self) -> Sequence[str]:
        """The brands whose points are accepted here."""
        return (await self._stub.ListRewards(pb.ListRewardsRequest(limit=1))).issuers

    def rewards(self, *, at_most: int | None = None) -> AsyncIterator[pb.Reward]:
        """The catalogue."""

        async def read(cursor: str) -> tuple[Sequence[pb.Reward], str]:
            page = await self._stub.ListRewards(pb.ListRewardsRequest(limit=PAGE, cursor=cursor))
            return page.rewards, page.next_cursor

        return walk(read, at_most=at_most)

    async def quote_reward(
        self, *, issuer: str, reward_id: str, quantity: int = 1
    ) -> pb.GetQuoteResponse:
        """A firm price, in the issuer's points, for pieces of a reward."""
        return await self._stub.GetQuote(
            pb.GetQuoteRequest(issuer=issuer, reward_id=reward_id, quantity=quantity)
        )

    async def quote_exchange(self, *, issuer: str, acceptor_points: int) -> pb.GetQuoteResponse:
        """A firm price, in the issuer's points, for points of this brand."""
        return await self._stub.GetQuote(
            pb.GetQuoteRequest(issuer=issuer, acceptor_points=acceptor_points)
        )

    async def redeem(
        self,
        *,
        quote: bytes,
        seal: bytes,
        pickup_key: bytes,
        mandate: SignedMandate,
        reward_salt: bytes,
        reward_id: str = "",
        quantity: int = 0,
        destination_account: str = "",
        destination_salt: bytes = b"",
        timeout_s: float = REDEEM_TIMEOUT_S,
    ) -> pb.Redemption:
        """Take the reward. PENDING means undecided: repeat with exactly the same arguments."""
        request = pb.RedeemRequest(
            quote=quote,
            seal=seal,
            pickup_key=pickup_key,
            mandate=mandate,
            reward_salt=reward_salt,
            reward_id=reward_id,
            quantity=quantity,
            destination_account=destination_account,
            destination_salt=destination_salt,
        )
        return await self.send(request, timeout_s=timeout_s)

    async def send(
        self, request: pb.RedeemRequest, *, timeout_s: float = REDEEM_TIMEOUT_S
    ) -> pb.Redemption:
        """As `redeem`, from a request that was kept."""
        return (await self._stub.Redeem(request, timeout=timeout_s)).redemption

    async def get_redemption(
        self, redemption_id: str, *, pickup_key: bytes, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> pb.Redemption:
        """What became of a redemption, for whoever holds its pickup key."""
        request = pb.GetRedemptionRequest(redemption_id=redemption_id, pickup_key=pickup_key)
        return (await self._stub.GetRedemption(request, timeout=timeout_s)).redemption
