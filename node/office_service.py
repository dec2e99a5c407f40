"""comity.v1.OfficeService: how managers operate the programme.

Nothing is decided here: requests become commands or reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from comity.clock import Clock
from comity.errors import ComityError, Malformed, NotFound
from comity.ledger.command import Answer, Command
from comity.ledger.queue import CommandQueue
from comity.ledger.runner import Runner
from comity.rpc.caller import Caller
from comity.rpc.tokens import ServerSecret
from comity.v1 import office_pb2 as pb
from comity.v1.common_pb2 import Failure
from node.adjustments import DecideAdjustment, ProposeAdjustment
from node.book import Rules
from node.claims import WAITING, DecideClaim
from node.commands import RecordPurchase
from node.desk_store import DeskStore
from node.enrolment import AdmitApplicant, RefuseApplicant, check_birth_date
from node.export import Export
from node.freeze import SetBurnFreeze
from node.imports import ImportMember
from node.invitations import CreateInvitations, RevokeInvitation
from node.member_service import session_key
from node.office_store import OfficeStore
from node.vouchers import read_code
from node.webhooks.endpoints import (
    AddWebhook,
    RemoveWebhook,
    RotateWebhook,
    SetWebhook,
    check_url,
)
from node.webhooks.signing import EndpointKeys


class OfficeService:
    """What managers may do to operate the programme, one method for each RPC."""

    def __init__(
        self,
        *,
        rules: Rules,
        store: OfficeStore,
        desk: DeskStore,
        export: Export,
        queue: CommandQueue,
        read: Runner,
        clock: Clock,
        secret: ServerSecret,
        webhooks_changed: Callable[[], None],
    ) -> None:
        self._rules = rules
        self._store = store
        self._desk = desk
        self._export = export
        self._queue = queue
        self._read = read
        self._clock = clock
        self._secret = secret
        self._webhooks_changed = webhooks_changed

    # --- who joins --------------------------------------------------------------------

    async def create_invitations(
        self, caller: Caller, request: pb.CreateInvitationsRequest
    ) -> pb.CreateInvitationsResponse:
        command = CreateInvitations(
            caller=caller.name,
            id=request.id,
            count=request.count,
            valid_days=request.valid_days,
        )
        answer = await self._queue.submit(command)
        return pb.CreateInvitationsResponse.FromString(answer.body)

    async def list_invitations(
        self, caller: Caller, request: pb.ListInvitationsRequest
    ) -> pb.ListInvitationsResponse:
        now_us, limit, cursor = self._clock(), request.limit, request.cursor
        page = await self._read(lambda: self._store.invitations(now_us, limit=limit, cursor=cursor))
        return pb.ListInvitationsResponse(invitations=page.items, next_cursor=page.next_cursor)

    async def revoke_invitation(
        self, caller: Caller, request: pb.RevokeInvitationRequest
    ) -> pb.RevokeInvitationResponse:
        command = RevokeInvitation(caller=caller.name, id=request.id, code=read_code(request.code))
        answer = await self._queue.submit(command)
        return pb.RevokeInvitationResponse.FromString(answer.body)

    async def list_applications(
        self, caller: Caller, request: pb.ListApplicationsRequest
    ) -> pb.ListApplicationsResponse:
        limit, cursor = request.limit, request.cursor
        page = await self._read(lambda: self._store.applications(limit=limit, cursor=cursor))
        return pb.ListApplicationsResponse(applications=page.items, next_cursor=page.next_cursor)

    async def admit_applicant(
        self, caller: Caller, request: pb.AdmitApplicantRequest
    ) -> pb.AdmitApplicantResponse:
        command = AdmitApplicant(caller=caller.name, id=request.id, account=request.account)
        answer = await self._queue.submit(command)
        return pb.AdmitApplicantResponse.FromString(answer.body)

    async def refuse_applicant(
        self, caller: Caller, request: pb.RefuseApplicantRequest
    ) -> pb.RefuseApplicantResponse:
        command = RefuseApplicant(
            caller=caller.name,
            id=request.id,
            account=request.account,
            reason_code=request.reason_code,
        )
        answer = await self._queue.submit(command)
        return pb.RefuseApplicantResponse.FromString(answer.body)

    async def confirm_payment(
        self, caller: Caller, request: pb.ConfirmPaymentRequest
    ) -> pb.ConfirmPaymentResponse:
        command = AdmitApplicant(
            caller=caller.name,
            id=request.id,
            account=request.account,
            payment=request.reference,
            currency=request.amount.currency,
            minor=request.amount.minor,
        )
        answer = await self._queue.submit(command)
        return pb.ConfirmPaymentResponse.FromString(answer.body)

    # --- points by hand ---------------------------------------------------------------

    async def propose_adjustment(
        self, caller: Caller, request: pb.ProposeAdjustmentRequest
    ) -> pb.ProposeAdjustmentResponse:
        command = ProposeAdjustment(
            caller=caller.name,
            id=request.id,
            acting_key=session_key(caller),
            account=request.account,
            points=request.points,
            reason_code=request.reason_code,
        )
        answer = await self._queue.submit(command)
        return pb.ProposeAdjustmentResponse.FromString(answer.body)

    async def approve_adjustment(
        self, caller: Caller, request: pb.ApproveAdjustmentRequest
    ) -> pb.ApproveAdjustmentResponse:
        command = DecideAdjustment(
            caller=caller.name,
            id=request.id,
            acting_key=session_key(caller),
            adjustment_id=request.adjustment_id,
            approved=True,
        )
        answer = await self._queue.submit(command)
        return pb.ApproveAdjustmentResponse.FromString(answer.body)

    async def reject_adjustment(
        self, caller: Caller, request: pb.RejectAdjustmentRequest
    ) -> pb.RejectAdjustmentResponse:
        command = DecideAdjustment(
            caller=caller.name,
            id=request.id,
            acting_key=session_key(caller),
            adjustment_id=request.adjustment_id,
            approved=False,
        )
        answer = await self._queue.submit(command)
        return pb.RejectAdjustmentResponse.FromString(answer.body)

    async def list_adjustments(
        self, caller: Caller, request: pb.ListAdjustmentsRequest
    ) -> pb.ListAdjustmentsResponse:
        now_us = self._clock()
        page = await self._read(
            lambda: self._desk.adjustments(
                now_us, waiting=request.waiting, limit=request.limit, cursor=request.cursor
            )
        )
        return pb.ListAdjustmentsResponse(adjustments=page.items, next_cursor=page.next_cursor)

    async def set_burn_freeze(
        self, caller: Caller, request: pb.SetBurnFreezeRequest
    ) -> pb.SetBurnFreezeResponse:
        command = SetBurnFreeze(
            caller=caller.name,
            id=request.id,
            frozen=request.frozen,
            reason_code=request.reason_code,
        )
        answer = await self._queue.submit(command)
        return pb.SetBurnFreezeResponse.FromString(answer.body)

    async def get_burn_freeze(
        self, caller: Caller, request: pb.GetBurnFreezeRequest
    ) -> pb.GetBurnFreezeResponse:
        row = await self._read(self._desk.burn_freeze)
        by_programme = self._rules.at(self._clock()).burn_frozen
        by_staff = row is not None and bool(row["is_on"])
        return pb.GetBurnFreezeResponse(
            frozen=by_programme or by_staff,
            by_programme=by_programme,
            by_staff=by_staff,
            reason_code=row["reason_code"] if row else "",
            changed_by=row["changed_by"] if row else "",
            changed_at_us=row["changed_at_us"] if row else 0,
        )

    # --- single members ---------------------------------------------------------------

    async def list_claims(
        self, caller: Caller, request: pb.ListClaimsRequest
    ) -> pb.ListClaimsResponse:
        page = await self._read(
            lambda: self._desk.waiting_claims(limit=request.limit, cursor=request.cursor)
        )
        return pb.ListClaimsResponse(claims=page.items, next_cursor=page.next_cursor)

    async def confirm_claim(
        self, caller: Caller, request: pb.ConfirmClaimRequest
    ) -> pb.ConfirmClaimResponse:
        """The purchase earns under its own id, then the claim ends; both in one batch."""
        row = await self._read(lambda: self._desk.claim(request.claim_id))
        if row is None:
            raise NotFound(f"There is no claim {request.claim_id} here.", field="claim_id")
        decide = DecideClaim(
            caller=caller.name, id=request.id, claim_id=request.claim_id, confirmed=True
        )
        commands: list[Command] = [decide]
        if row["state"] == WAITING:
            purchase = RecordPurchase(
                purchase_id=row["purchase_id"],
                account=row["account"],
                currency=request.amount.currency,
                minor=request.amount.minor,
                occurred_at_us=row["occurred_at_us"],
            )
            commands.insert(0, purchase)
        *earned, decided = await self._queue.submit_all(commands)
        for outcome in (*earned, decided):
            if isinstance(outcome, ComityError):
                raise outcome
        assert isinstance(decided, Answer)
        return pb.ConfirmClaimResponse.FromString(decided.body)

    async def reject_claim(
        self, caller: Caller, request: pb.RejectClaimRequest
    ) -> pb.RejectClaimResponse:
        command = DecideClaim(
            caller=caller.name,
            id=request.id,
            claim_id=request.claim_id,
            confirmed=False,
            reason_code=request.reason_code,
        )
        answer = await self._queue.submit(command)
        return pb.RejectClaimResponse.FromString(answer.body)

    async def export_member(
        self, caller: Caller, request: pb.ExportMemberRequest
    ) -> pb.ExportMemberResponse:
        page = await self._read(lambda: self._export.page(request.account, request.cursor))
        return pb.ExportMemberResponse(page=page)

    async def import_members(
        self, caller: Caller, request: pb.ImportMembersRequest
    ) -> pb.ImportMembersResponse:
        results = [pb.MemberImported() for _ in request.members]
        commands: list[Command] = []
        places: list[int] = []
        for at, one in enumerate(request.members):
            try:
                check_birth_date(one.profile.birth_date)
            except Malformed as error:
                results[at].failure.CopyFrom(_failure(error))
                continue
            places.append(at)
            commands.append(
                ImportMember(
                    reference=one.reference,
                    account=one.account,
                    name=one.profile.name,
                    email=one.profile.email,
                    birth_date=one.profile.birth_date,
                    region=one.profile.region,
                    points=one.points,
                )
            )
        for at, outcome in zip(places, await self._queue.submit_all(commands), strict=True):
            if isinstance(outcome, ComityError):
                results[at].failure.CopyFrom(_failure(outcome))
            else:
                results[at].CopyFrom(pb.MemberImported.FromString(outcome.body))
        return pb.ImportMembersResponse(results=results)

    # --- webhooks ---------------------------------------------------------------------

    async def add_webhook(
        self, caller: Caller, request: pb.AddWebhookRequest
    ) -> pb.AddWebhookResponse:
        check_url(request.url)
        command = AddWebhook(
            caller=caller.name,
            id=request.id,
            name=request.name,
            url=request.url,
            kinds=tuple(request.kinds),
            from_index=request.from_index if request.HasField("from_index") else None,
        )
        answer = await self._queue.submit(command)
        self._webhooks_changed()
        return pb.AddWebhookResponse(keys=self._keys(request.name, answer.body))

    async def list_webhooks(
        self, caller: Caller, request: pb.ListWebhooksRequest
    ) -> pb.ListWebhooksResponse:
        rows, size = await self._read(self._store.webhooks)
        return pb.ListWebhooksResponse(webhooks=[self._webhook(row, size) for row in rows])

    async def set_webhook(
        self, caller: Caller, request: pb.SetWebhookRequest
    ) -> pb.SetWebhookResponse:
        command = SetWebhook(
            caller=caller.name,
            id=request.id,
            name=request.name,
            paused=request.paused,
            from_index=request.from_index if request.HasField("from_index") else None,
        )
        answer = await self._queue.submit(command)
        self._webhooks_changed()
        return pb.SetWebhookResponse.FromString(answer.body)

    async def rotate_webhook(
        self, caller: Caller, request: pb.RotateWebhookRequest
    ) -> pb.RotateWebhookResponse:
        command = RotateWebhook(caller=caller.name, id=request.id, name=request.name)
        answer = await self._queue.submit(command)
        self._webhooks_changed()
        return pb.RotateWebhookResponse(keys=self._keys(request.name, answer.body))

    async def remove_webhook(
        self, caller: Caller, request: pb.RemoveWebhookRequest
    ) -> pb.RemoveWebhookResponse:
        command = RemoveWebhook(caller=caller.name, id=request.id, name=request.name)
        answer = await self._queue.submit(command)
        self._webhooks_changed()
        return pb.RemoveWebhookResponse.FromString(answer.body)

    def _keys(self, name: str, salt: bytes) -> pb.WebhookKeys:
        keys = EndpointKeys.of(self._secret, name, salt)
        return pb.WebhookKeys(secret=keys.secret_text, public_key=keys.public_text)

    def _webhook(self, row: Mapping[str, Any], size: int) -> pb.Webhook:
        keys = EndpointKeys.of(self._secret, row["name"], row["salt"])
        return pb.Webhook(
            name=row["name"],
            url=row["url"],
            kinds=row["kinds"].split(),
            state=_WEBHOOK_STATES[row["state"]],
            next_index=row["next_index"],
            log_size=size,
            failures=row["failures"],
            failing_since_us=row["failing_since_us"],
            retry_at_us=row["retry_at_us"],
            last_error=row["last_error"],
            keys=pb.WebhookKeys(public_key=keys.public_text),
        )


def _failure(error: ComityError) -> Failure:
    return Failure(
        code=error.code, message=error.message, field=error.field, metadata=error.metadata
    )


_WEBHOOK_STATES: Final[Mapping[str, pb.WebhookState.ValueType]] = {
    "ACTIVE": pb.WEBHOOK_STATE_ACTIVE,
    "PAUSED": pb.WEBHOOK_STATE_PAUSED,
    "FAILED": pb.WEBHOOK_STATE_FAILED,
}
