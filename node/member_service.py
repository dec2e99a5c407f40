"""comity.v1.MemberService: the member at the own brand, and the guest at an acceptor.

Nothing is decided here: requests become commands or reads. What a guest asks goes to the
redemption desk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from comity.clock import Clock
from comity.ledger.queue import CommandQueue
from comity.ledger.runner import Runner
from comity.rpc.caller import Caller
from comity.v1 import member_pb2 as pb
from node.claims import ClaimPurchase
from node.commands import AddDevice, Enrol, RevokeDevice
from node.desk_store import DeskStore
from node.enrolment import check_birth_date
from node.export import Export
from node.members import check_possession, key_name
from node.office_store import OfficeStore
from node.sessions import Sessions
from node.store import NodeStore
from node.vouchers import read_code

if TYPE_CHECKING:
    from node.acceptor_service import RedemptionDesk


class MemberService:
    """What members may do, one method for each RPC."""

    def __init__(
        self,
        *,
        origin: str,
        store: NodeStore,
        office: OfficeStore,
        members_desk: DeskStore,
        export: Export,
        queue: CommandQueue,
        read: Runner,
        clock: Clock,
        desk: RedemptionDesk,
        sessions: Sessions,
    ) -> None:
        self._origin = origin
        self._store = store
        self._office = office
        self._members_desk = members_desk
        self._export = export
        self._queue = queue
        self._read = read
        self._clock = clock
        self._desk = desk
        self._sessions = sessions

    # --- joining, and devices ---------------------------------------------------------

    async def enrol(self, caller: Caller, request: pb.EnrolRequest) -> pb.EnrolResponse:
        check_possession(
            self._origin,
            id_=request.id,
            public_key=request.public_key,
            signature=request.signature,
        )
        command = Enrol(
            id=request.id,
            public_key=request.public_key,
            name=request.profile.name,
            email=request.profile.email,
            birth_date=request.profile.birth_date,
            region=request.profile.region,
            invitation=request.invitation and read_code(request.invitation, field="invitation"),
        )
        check_birth_date(command.birth_date)
        answer = await self._queue.submit(command)
        return pb.EnrolResponse.FromString(answer.body)

    async def get_enrolment(
        self, caller: Caller, request: pb.GetEnrolmentRequest
    ) -> pb.GetEnrolmentResponse:
        check_possession(
            self._origin,
            id_=request.id,
            public_key=request.public_key,
            signature=request.signature,
        )
        key_id = key_name(request.public_key)
        return await self._read(lambda: self._office.enrolment(request.id, key_id))

    async def add_device(
        self, caller: Caller, request: pb.AddDeviceRequest
    ) -> pb.AddDeviceResponse:
        check_possession(
            self._origin,
            id_=request.id,
            public_key=request.public_key,
            signature=request.signature,
        )
        command = AddDevice(
            caller=caller.name,
            id=request.id,
            account=caller.id,
            acting_key=session_key(caller),
            public_key=request.public_key,
        )
        answer = await self._queue.submit(command)
        return pb.AddDeviceResponse.FromString(answer.body)

    async def list_devices(
        self, caller: Caller, request: pb.ListDevicesRequest
    ) -> pb.ListDevicesResponse:
        device = session_key(caller)
        devices = await self._read(lambda: self._store.devices(caller.id, device=device))
        return pb.ListDevicesResponse(devices=devices)

    async def revoke_device(
        self, caller: Caller, request: pb.RevokeDeviceRequest
    ) -> pb.RevokeDeviceResponse:
        command = RevokeDevice(
            caller=caller.name,
            id=request.id,
            account=caller.id,
            acting_key=session_key(caller),
            key_id=request.key_id,
        )
        answer = await self._queue.submit(command)
        self._sessions.changed()
        return pb.RevokeDeviceResponse.FromString(answer.body)

    # --- the account ------------------------------------------------------------------

    async def get_balance(
        self, caller: Caller, request: pb.GetBalanceRequest
    ) -> pb.GetBalanceResponse:
        device, now_us = session_key(caller), self._clock()
        balances = await self._read(lambda: self._store.balances(caller.id, now_us, device=device))
        return pb.GetBalanceResponse(account=caller.id, balances=balances)

    async def list_lots(self, caller: Caller, request: pb.ListLotsRequest) -> pb.ListLotsResponse:
        device, now_us = session_key(caller), self._clock()
        page = await self._read(
            lambda: self._store.lots(
                caller.id,
                now_us=now_us,
                limit=request.limit,
                cursor=request.cursor,
                device=device,
            )
        )
        return pb.ListLotsResponse(lots=page.items, next_cursor=page.next_cursor)

    async def list_activity(
        self, caller: Caller, request: pb.ListActivityRequest
    ) -> pb.ListActivityResponse:
        device = session_key(caller)
        page = await self._read(
            lambda: self._store.activity(
                caller.id, limit=request.limit, cursor=request.cursor, device=device
            )
        )
        return pb.ListActivityResponse(activities=page.items, next_cursor=page.next_cursor)

    async def get_issuer_receipt(
        self, caller: Caller, request: pb.GetIssuerReceiptRequest
    ) -> pb.GetIssuerReceiptResponse:
        return await self._desk.get_issuer_receipt(caller, request)

    # --- missed purchases, and what is known ------------------------------------------

    async def claim_purchase(
        self, caller: Caller, request: pb.ClaimPurchaseRequest
    ) -> pb.ClaimPurchaseResponse:
        command = ClaimPurchase(
            caller=caller.name,
            id=request.id,
            account=caller.id,
            purchase_id=request.purchase_id,
            currency=request.amount.currency,
            minor=request.amount.minor,
            occurred_at_us=request.occurred_at_us,
        )
        answer = await self._queue.submit(command)
        return pb.ClaimPurchaseResponse.FromString(answer.body)

    async def list_my_claims(
        self, caller: Caller, request: pb.ListMyClaimsRequest
    ) -> pb.ListMyClaimsResponse:
        found = await self._read(lambda: self._members_desk.claims_of(caller.id))
        return pb.ListMyClaimsResponse(claims=found)

    async def export_my_data(
        self, caller: Caller, request: pb.ExportMyDataRequest
    ) -> pb.ExportMyDataResponse:
        page = await self._read(lambda: self._export.page(caller.id, request.cursor))
        return pb.ExportMyDataResponse(page=page)

    # --- at an acceptor ---------------------------------------------------------------

    async def list_rewards(
        self, caller: Caller, request: pb.ListRewardsRequest
    ) -> pb.ListRewardsResponse:
        now_us = self._clock()
        page = await self._read(
            lambda: self._store.rewards(limit=request.limit, cursor=request.cursor)
        )
        issuers = await self._read(lambda: self._store.issuers(now_us))
        return pb.ListRewardsResponse(
            rewards=page.items, next_cursor=page.next_cursor, issuers=issuers
        )

    async def get_quote(self, caller: Caller, request: pb.GetQuoteRequest) -> pb.GetQuoteResponse:
        return await self._desk.get_quote(caller, request)

    async def redeem(self, caller: Caller, request: pb.RedeemRequest) -> pb.RedeemResponse:
        return await self._desk.redeem(caller, request)

    async def get_redemption(
        self, caller: Caller, request: pb.GetRedemptionRequest
    ) -> pb.GetRedemptionResponse:
        return await self._desk.get_redemption(caller, request)


def session_key(caller: Caller) -> str:
    """The id of the key with which the caller opened its session."""
    assert caller.key_hash is not None, "members come with a session"
    return f"key_{caller.key_hash[:8].hex()}"
