"""comity.v1.OfficeService: how managers operate the programme.

Nothing is decided here: requests become commands or reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from comity.clock import Clock
from comity.ledger.queue import CommandQueue
from comity.ledger.runner import Runner
from comity.rpc.caller import Caller
from comity.rpc.tokens import ServerSecret
from comity.v1 import office_pb2 as pb
from node.enrolment import AdmitApplicant, RefuseApplicant
from node.invitations import CreateInvitations, RevokeInvitation
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
        store: OfficeStore,
        queue: CommandQueue,
        read: Runner,
        clock: Clock,
        secret: ServerSecret,
        webhooks_changed: Callable[[], None],
    ) -> None:
        self._store = store
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


_WEBHOOK_STATES: Final[Mapping[str, pb.WebhookState.ValueType]] = {
    "ACTIVE": pb.WEBHOOK_STATE_ACTIVE,
    "PAUSED": pb.WEBHOOK_STATE_PAUSED,
    "FAILED": pb.WEBHOOK_STATE_FAILED,
}
