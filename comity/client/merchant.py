"""What a brand's tills and managers do at their node, in a session of a staff key.

Every write takes the caller's `id`: the same id and content are answered alike, for ever.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from comity.client.paging import PAGE, walk
from comity.rpc.channel import Channel, stub
from comity.v1 import merchant_pb2 as pb
from comity.v1.common_pb2 import AgreementTerms, Money
from comity.v1.member_pb2 import Redemption, Reward
from comity.v1.merchant_pb2_grpc import MerchantServiceStub

# ruff: noqa: A002  an id is called id


class MerchantClient:
    """`MerchantService`: first what tills may do, then what only managers may."""

    def __init__(self, channel: Channel) -> None:
        self._stub = stub(MerchantServiceStub, channel)

    # Tills.

    async def record_purchases(
        self, purchases: Sequence[pb.Purchase], *, timeout_s: float | None = None
    ) -> Sequence[pb.PurchaseResult]:
        """At most 1,024 purchases; results in their order, each with its own failure if any."""
        request = pb.RecordPurchasesRequest(purchases=purchases)
        return (await self._stub.RecordPurchases(request, timeout=timeout_s)).results

    async def refund_purchase(
        self, *, id: str, purchase_id: str, cumulative: Money
    ) -> pb.RefundPurchaseResponse:
        """`cumulative` is all that was refunded of the purchase so far, this refund included."""
        return await self._stub.RefundPurchase(
            pb.RefundPurchaseRequest(id=id, purchase_id=purchase_id, cumulative=cumulative)
        )

    async def record_partner_purchase(
        self, *, purchase_id: str, issuer: str, account: str, amount: Money
    ) -> pb.RecordPartnerPurchaseResponse:
        """A member of `issuer` earns there for buying here; this brand pays."""
        return await self._stub.RecordPartnerPurchase(
            pb.RecordPartnerPurchaseRequest(
                purchase_id=purchase_id, issuer=issuer, account=account, amount=amount
            )
        )

    async def refund_partner_purchase(
        self, *, id: str, purchase_id: str, cumulative: Money
    ) -> pb.RefundPartnerPurchaseResponse:
        """As `refund_purchase`, of a sale to another brand's member."""
        return await self._stub.RefundPartnerPurchase(
            pb.RefundPartnerPurchaseRequest(id=id, purchase_id=purchase_id, cumulative=cumulative)
        )

    async def pay_with_points(
        self,
        *,
        id: str,
        account: str,
        order_id: str,
        amount: Money,
        points: int = 0,
        virtual: bool = False,
    ) -> pb.PayWithPointsResponse:
        """Points pay a part of an order; 0 is as many as there are and may pay."""
        return await self._stub.PayWithPoints(
            pb.PayWithPointsRequest(
                id=id,
                account=account,
                order_id=order_id,
                amount=amount,
                points=points,
                virtual=virtual,
            )
        )

    async def refund_payment(
        self,
        *,
        id: str,
        order_id: str,
        cumulative_points: int = 0,
        cumulative: Money | None = None,
    ) -> pb.RefundPaymentResponse:
        """Points of a payment come back: so many in all, or for so much; neither is all."""
        return await self._stub.RefundPayment(
            pb.RefundPaymentRequest(
                id=id,
                order_id=order_id,
                cumulative_points=cumulative_points,
                cumulative=cumulative,
            )
        )

    async def check_voucher(self, code: str) -> pb.Voucher:
        return (await self._stub.CheckVoucher(pb.CheckVoucherRequest(code=code))).voucher

    async def use_voucher(self, *, id: str, code: str) -> pb.Voucher:
        """Takes the voucher, once."""
        return (await self._stub.UseVoucher(pb.UseVoucherRequest(id=id, code=code))).voucher

    async def reverse_redemption(
        self, *, id: str, redemption_id: str, reason_code: str, cumulative_points: int = 0
    ) -> pb.ReverseRedemptionResponse:
        """`cumulative_points` is all that was returned so far, this return included; 0 is all."""
        return await self._stub.ReverseRedemption(
            pb.ReverseRedemptionRequest(
                id=id,
                redemption_id=redemption_id,
                cumulative_points=cumulative_points,
                reason_code=reason_code,
            )
        )

    async def find_redemption(self, redemption_id: str) -> Redemption:
        request = pb.FindRedemptionRequest(redemption_id=redemption_id)
        return (await self._stub.FindRedemption(request)).redemption

    # Managers: members and the catalogue.

    async def adjust_points(self, *, id: str, account: str, points: int, reason_code: str) -> int:
        """Positive gives, negative takes; answers the index of the entry."""
        request = pb.AdjustPointsRequest(
            id=id, account=account, points=points, reason_code=reason_code
        )
        return (await self._stub.AdjustPoints(request)).index

    async def put_reward(self, *, id: str, reward: Reward) -> Reward:
        return (await self._stub.PutReward(pb.PutRewardRequest(id=id, reward=reward))).reward

    async def set_stock(self, *, id: str, reward_id: str, change: int) -> Reward:
        """Adds pieces to the free stock, or takes them off it."""
        request = pb.SetStockRequest(id=id, reward_id=reward_id, change=change)
        return (await self._stub.SetStock(request)).reward

    async def add_staff_key(self, *, id: str, role: str, name: str, public_key: bytes) -> str:
        """`role` is till, manager or auditor; answers the key id."""
        request = pb.AddStaffKeyRequest(id=id, role=role, name=name, public_key=public_key)
        return (await self._stub.AddStaffKey(request)).key_id

    async def remove_staff_key(self, *, id: str, key_id: str) -> None:
        """The key, and every session opened with it, ends at once."""
        await self._stub.RemoveStaffKey(pb.RemoveStaffKeyRequest(id=id, key_id=key_id))

    async def lock_member(self, *, id: str, account: str, locked: bool) -> None:
        """A locked member earns and does not spend."""
        await self._stub.LockMember(pb.LockMemberRequest(id=id, account=account, locked=locked))

    async def erase_member(self, *, id: str, account: str) -> None:
        """Destroys the link from person to account."""
        await self._stub.EraseMember(pb.EraseMemberRequest(id=id, account=account))

    # Managers: agreements and books.

    async def propose_agreement(self, *, id: str, terms: AgreementTerms) -> AgreementTerms:
        """Answers the terms as written into this brand's log; an empty salt is filled in."""
        request = pb.ProposeAgreementRequest(id=id, terms=terms)
        return (await self._stub.ProposeAgreement(request)).terms

    async def accept_agreement(self, *, id: str, agreement_id: str, version: int) -> None:
        await self._stub.AcceptAgreement(
            pb.AcceptAgreementRequest(id=id, agreement_id=agreement_id, version=version)
        )

    async def terminate_agreement(self, *, id: str, agreement_id: str, version: int) -> None:
        await self._stub.TerminateAgreement(
            pb.TerminateAgreementRequest(id=id, agreement_id=agreement_id, version=version)
        )

    async def list_agreements(self) -> Sequence[pb.BrandAgreement]:
        answer = await self._stub.ListBrandAgreements(pb.ListBrandAgreementsRequest())
        return answer.agreements

    def redemptions(self, *, at_most: int | None = None) -> AsyncIterator[Redemption]:
        """The redemptions this brand has accepted."""

        async def read(cursor: str) -> tuple[Sequence[Redemption], str]:
            page = await self._stub.ListRedemptions(
                pb.ListRedemptionsRequest(limit=PAGE, cursor=cursor)
            )
            return page.redemptions, page.next_cursor

        return walk(read, at_most=at_most)

    async def get_totals(self) -> pb.GetTotalsResponse:
        """The roll-forward of points, by account class."""
        return await self._stub.GetTotals(pb.GetTotalsRequest())

    async def get_window_statement(self, window: int) -> pb.GetWindowStatementResponse:
        """This brand's own figures of a window beside clearing's."""
        return await self._stub.GetWindowStatement(pb.GetWindowStatementRequest(window=window))
