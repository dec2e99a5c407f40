"""comity.v1.MerchantService: what a brand's tills and managers do.

Nothing is decided here: requests become commands or reads. What concerns other brands goes to
the redemption desk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from comity.errors import ComityError
from comity.keys import PublicKey
from comity.ledger.command import Outcome
from comity.ledger.entries import canonical
from comity.ledger.queue import CommandQueue
from comity.ledger.runner import Runner
from comity.rpc.caller import Caller
from comity.v1 import common_pb2
from comity.v1 import merchant_pb2 as pb
from node.commands import (
    AddStaffKey,
    AdjustPoints,
    EraseMember,
    LockMember,
    PutReward,
    RecordPurchase,
    RefundPurchase,
    RemoveStaffKey,
    SetStock,
    UseVoucher,
)
from node.events import attributes_of
from node.payments import PayWithPoints, RefundPayment
from node.sessions import Sessions
from node.store import NodeStore
from node.vouchers import read_code

if TYPE_CHECKING:
    from node.acceptor_service import RedemptionDesk


class MerchantService:
    """What staff may do, one method for each RPC."""

    def __init__(
        self,
        *,
        store: NodeStore,
        queue: CommandQueue,
        read: Runner,
        desk: RedemptionDesk,
        sessions: Sessions,
    ) -> None:
        self._store = store
        self._queue = queue
        self._read = read
        self._desk = desk
        self._sessions = sessions

    # --- tills ------------------------------------------------------------------------

    async def record_purchases(
        self, caller: Caller, request: pb.RecordPurchasesRequest
    ) -> pb.RecordPurchasesResponse:
        commands = [
            RecordPurchase(
                purchase_id=one.purchase_id,
                account=one.account,
                currency=one.amount.currency,
                minor=one.amount.minor,
                occurred_at_us=one.occurred_at_us,
                lines=tuple((line.amount_minor, line.category, line.product) for line in one.lines),
                store=one.store,
                attributes=attributes_of(one.attributes),
            )
            for one in request.purchases
        ]
        outcomes = await self._queue.submit_all(commands)
        return pb.RecordPurchasesResponse(results=[_purchase_result(one) for one in outcomes])

    async def refund_purchase(
        self, caller: Caller, request: pb.RefundPurchaseRequest
    ) -> pb.RefundPurchaseResponse:
        command = RefundPurchase(
            caller=caller.name,
            id=request.id,
            purchase_id=request.purchase_id,
            currency=request.cumulative.currency,
            cumulative_minor=request.cumulative.minor,
            kept_lines=tuple(request.kept_lines),
        )
        answer = await self._queue.submit(command)
        return pb.RefundPurchaseResponse.FromString(answer.body)

    async def pay_with_points(
        self, caller: Caller, request: pb.PayWithPointsRequest
    ) -> pb.PayWithPointsResponse:
        command = PayWithPoints(
            caller=caller.name,
            id=request.id,
            account=request.account,
            order_id=request.order_id,
            currency=request.amount.currency,
            amount_minor=request.amount.minor,
            points=request.points,
            virtual=request.virtual,
        )
        answer = await self._queue.submit(command)
        return pb.PayWithPointsResponse.FromString(answer.body)

    async def refund_payment(
        self, caller: Caller, request: pb.RefundPaymentRequest
    ) -> pb.RefundPaymentResponse:
        command = RefundPayment(
            caller=caller.name,
            id=request.id,
            order_id=request.order_id,
            cumulative_points=request.cumulative_points,
            currency=request.cumulative.currency,
            cumulative_minor=request.cumulative.minor,
        )
        answer = await self._queue.submit(command)
        return pb.RefundPaymentResponse.FromString(answer.body)

    async def check_voucher(
        self, caller: Caller, request: pb.CheckVoucherRequest
    ) -> pb.CheckVoucherResponse:
        code = read_code(request.code)
        voucher = await self._read(lambda: self._store.voucher(code))
        return pb.CheckVoucherResponse(voucher=voucher)

    async def use_voucher(
        self, caller: Caller, request: pb.UseVoucherRequest
    ) -> pb.UseVoucherResponse:
        command = UseVoucher(caller=caller.name, id=request.id, code=read_code(request.code))
        answer = await self._queue.submit(command)
        return pb.UseVoucherResponse.FromString(answer.body)

    # --- managers: members and the catalogue ------------------------------------------

    async def adjust_points(
        self, caller: Caller, request: pb.AdjustPointsRequest
    ) -> pb.AdjustPointsResponse:
        command = AdjustPoints(
            caller=caller.name,
            id=request.id,
            account=request.account,
            points=request.points,
            reason_code=request.reason_code,
        )
        answer = await self._queue.submit(command)
        return pb.AdjustPointsResponse.FromString(answer.body)

    async def put_reward(
        self, caller: Caller, request: pb.PutRewardRequest
    ) -> pb.PutRewardResponse:
        command = PutReward(
            caller=caller.name,
            id=request.id,
            reward_id=request.reward.reward_id,
            reward=canonical(request.reward),
        )
        answer = await self._queue.submit(command)
        self._desk.catalogue_changed()
        return pb.PutRewardResponse.FromString(answer.body)

    async def set_stock(self, caller: Caller, request: pb.SetStockRequest) -> pb.SetStockResponse:
        command = SetStock(
            caller=caller.name, id=request.id, reward_id=request.reward_id, change=request.change
        )
        answer = await self._queue.submit(command)
        return pb.SetStockResponse.FromString(answer.body)

    async def add_staff_key(
        self, caller: Caller, request: pb.AddStaffKeyRequest
    ) -> pb.AddStaffKeyResponse:
        PublicKey.from_bytes(request.public_key)  # refused here, or it would spoil a whole batch
        command = AddStaffKey(
            caller=caller.name,
            id=request.id,
            role=request.role,
            name=request.name,
            public_key=request.public_key,
        )
        answer = await self._queue.submit(command)
        return pb.AddStaffKeyResponse.FromString(answer.body)

    async def remove_staff_key(
        self, caller: Caller, request: pb.RemoveStaffKeyRequest
    ) -> pb.RemoveStaffKeyResponse:
        command = RemoveStaffKey(caller=caller.name, id=request.id, key_id=request.key_id)
        answer = await self._queue.submit(command)
        self._sessions.changed()
        return pb.RemoveStaffKeyResponse.FromString(answer.body)

    async def lock_member(
        self, caller: Caller, request: pb.LockMemberRequest
    ) -> pb.LockMemberResponse:
        command = LockMember(
            caller=caller.name, id=request.id, account=request.account, locked=request.locked
        )
        answer = await self._queue.submit(command)
        return pb.LockMemberResponse.FromString(answer.body)

    async def erase_member(
        self, caller: Caller, request: pb.EraseMemberRequest
    ) -> pb.EraseMemberResponse:
        command = EraseMember(caller=caller.name, id=request.id, account=request.account)
        answer = await self._queue.submit(command)
        self._sessions.changed()
        return pb.EraseMemberResponse.FromString(answer.body)

    async def get_totals(
        self, caller: Caller, request: pb.GetTotalsRequest
    ) -> pb.GetTotalsResponse:
        return await self._read(self._store.totals)

    # --- between brands ---------------------------------------------------------------

    async def record_partner_purchase(
        self, caller: Caller, request: pb.RecordPartnerPurchaseRequest
    ) -> pb.RecordPartnerPurchaseResponse:
        return await self._desk.record_partner_purchase(caller, request)

    async def refund_partner_purchase(
        self, caller: Caller, request: pb.RefundPartnerPurchaseRequest
    ) -> pb.RefundPartnerPurchaseResponse:
        return await self._desk.refund_partner_purchase(caller, request)

    async def reverse_redemption(
        self, caller: Caller, request: pb.ReverseRedemptionRequest
    ) -> pb.ReverseRedemptionResponse:
        return await self._desk.reverse_redemption(caller, request)

    async def find_redemption(
        self, caller: Caller, request: pb.FindRedemptionRequest
    ) -> pb.FindRedemptionResponse:
        return await self._desk.find_redemption(caller, request)

    async def list_redemptions(
        self, caller: Caller, request: pb.ListRedemptionsRequest
    ) -> pb.ListRedemptionsResponse:
        return await self._desk.list_redemptions(caller, request)

    async def propose_agreement(
        self, caller: Caller, request: pb.ProposeAgreementRequest
    ) -> pb.ProposeAgreementResponse:
        return await self._desk.propose_agreement(caller, request)

    async def accept_agreement(
        self, caller: Caller, request: pb.AcceptAgreementRequest
    ) -> pb.AcceptAgreementResponse:
        return await self._desk.accept_agreement(caller, request)

    async def terminate_agreement(
        self, caller: Caller, request: pb.TerminateAgreementRequest
    ) -> pb.TerminateAgreementResponse:
        return await self._desk.terminate_agreement(caller, request)

    async def list_brand_agreements(
        self, caller: Caller, request: pb.ListBrandAgreementsRequest
    ) -> pb.ListBrandAgreementsResponse:
        return await self._desk.list_brand_agreements(caller, request)

    async def get_window_statement(
        self, caller: Caller, request: pb.GetWindowStatementRequest
    ) -> pb.GetWindowStatementResponse:
        return await self._desk.get_window_statement(caller, request)


def _purchase_result(outcome: Outcome) -> pb.PurchaseResult:
    if isinstance(outcome, ComityError):
        return pb.PurchaseResult(failure=_failure(outcome))
    return pb.PurchaseResult.FromString(outcome.body)


def _failure(error: ComityError) -> common_pb2.Failure:
    return common_pb2.Failure(
        code=error.code, message=error.message, field=error.field, metadata=error.metadata
    )
