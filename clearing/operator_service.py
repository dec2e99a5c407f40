"""comity.v1.OperatorService: what the operator's staff ask of clearing.

Every write carries the id of whoever asks and is recorded under the operator's name, so that a
repeated request gets the first answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from clearing import commands, record, window_reports
from clearing.answers import Statements
from clearing.claims import read_terms
from clearing.desk import Desk
from clearing.liveness import Liveness
from clearing.reconcile import Reconciliation
from clearing.roster import Roster
from clearing.store import ClearingStore, book_row
from comity.clock import Clock
from comity.errors import Malformed
from comity.keys import PublicKey
from comity.ledger import entries
from comity.ledger.command import Answer, Command
from comity.ledger.heads import HeadKeeper
from comity.ledger.runner import Runner
from comity.log.note import VerifierKey
from comity.rpc import authority as authorities
from comity.rpc import tls
from comity.rpc.authority import LOCAL_NAMES, Authority, CertificateRequest
from comity.rpc.caller import Caller
from comity.v1 import operator_pb2 as pb
from comity.v1.entry_pb2 import Admit, ParticipantStatus, SettlementTable

LIST_LIMIT = 100


class OperatorService:
    """The use cases of the operator."""

    def __init__(
        self,
        *,
        config: pb.NetworkConfig,
        authority: Authority,
        desk: Desk,
        heads: HeadKeeper,
        roster: Roster,
        liveness: Liveness,
        statements: Statements,
        store: ClearingStore,
        reconciliation: Reconciliation,
        clock: Clock,
        read: Runner,
        acknowledge_within_us: int,
    ) -> None:
        self._config = config
        self._authority = authority
        self._desk = desk
        self._heads = heads
        self._roster = roster
        self._liveness = liveness
        self._statements = statements
        self._store = store
        self._reconciliation = reconciliation
        self._clock = clock
        self._read = read
        self._acknowledge_within_us = acknowledge_within_us

    # --- roster -----------------------------------------------------------------------

    async def admit_participant(
        self, caller: Caller, request: pb.AdmitParticipantRequest
    ) -> pb.AdmitParticipantResponse:
        """Admit a brand and issue its certificate; again, under the same log key, to renew it."""
        self._liveness.require_someone()
        body, certificate = self._certify(request)
        command = commands.Admit(
            caller=caller.id,
            id=request.id,
            admit=body,
            caps=tuple((cap.currency, cap.minor) for cap in request.caps),
            certificate=certificate,
        )
        answer = await self._change_roster(command)
        return pb.AdmitParticipantResponse(
            certificate=record.tail_of(answer.body), network=self._config
        )

    def _certify(self, request: pb.AdmitParticipantRequest) -> tuple[Admit, bytes]:
        """The ADMIT and the certificate for a request which its log key has signed."""
        key = VerifierKey.parse(request.vkey)
        network, _, participant = key.name.partition("/")
        if network != self._config.network or not participant:
            raise Malformed(
                f"The key is of the log {key.name}; a brand's log here is "
                f"{self._config.network}/<brand>.",
                field="vkey",
            )
        subject = tls.brand(network, participant)
        asked = CertificateRequest(pem=request.certificate_request, binding=request.binding)
        hosts = {
            address.rpartition(":")[0].strip("[]")
            for address in (request.peer_address, request.public_address)
            if address
        }
        certificate = authorities.issue_certificate(
            self._authority,
            asked,
            expect=subject,
            log_key=key.public,
            clock=self._clock,
            names=tuple(dict.fromkeys((*LOCAL_NAMES, *sorted(hosts)))),
        )
        identity = tls.identity_from_certificate(certificate)
        return Admit(
            participant=participant,
            origin=key.name,
            vkey=request.vkey,
            tls_key_hash=identity.spki_sha256,
            display_name=request.display_name,
            peer_address=request.peer_address,
            public_address=request.public_address,
        ), certificate

    async def rotate_participant_key(
        self, caller: Caller, request: pb.RotateParticipantKeyRequest
    ) -> pb.RotateParticipantKeyResponse:
        """Exchange a log key; from now on heads above the last size count under the new one."""
        self._liveness.require_someone()
        answer = await self._change_roster(
            commands.RotateKey(
                caller=caller.id,
                id=request.id,
                participant=request.participant,
                vkey=request.vkey,
                new_signature=request.new_signature,
                old_signature=request.old_signature,
                last_size=request.last_size if request.HasField("last_size") else None,
            )
        )
        return pb.RotateParticipantKeyResponse(
            rotate=await self._statements.one(answer.body),
            last_size=int.from_bytes(record.tail_of(answer.body), "big"),
        )

    async def revoke_participant(
        self, caller: Caller, request: pb.RevokeParticipantRequest
    ) -> pb.RevokeParticipantResponse:
        """End a participant; its very next call is refused."""
        self._liveness.require_someone()
        answer = await self._change_roster(
            commands.RevokeParticipant(
                caller=caller.id,
                id=request.id,
                participant=request.participant,
                reason=request.reason,
            )
        )
        return pb.RevokeParticipantResponse(revoke=await self._statements.one(answer.body))

    async def _change_roster(self, command: Command) -> Answer:
        """Commit a change of the roster and act by it, even if the caller has gone meanwhile."""
        return await asyncio.shield(asyncio.ensure_future(self._learn_after(command)))

    async def _learn_after(self, command: Command) -> Answer:
        answer = await self._desk.submit(command)
        for row in await self._read(self._store.participants):
            self._roster.learn(row)
        if isinstance(command, commands.RotateKey | commands.RevokeParticipant):
            self._heads.recheck(self._roster.member(command.participant).origin)
        return answer

    async def set_standing(
        self, caller: Caller, request: pb.SetStandingRequest
    ) -> pb.SetStandingResponse:
        self._liveness.require_someone()
        answer = await self._desk.submit(
            commands.SetStanding(
                caller=caller.id,
                id=request.id,
                participant=request.participant,
                status=request.status,
                reason=request.reason,
            )
        )
        return pb.SetStandingResponse(standing=await self._statements.one(answer.body))

    async def set_cap(self, caller: Caller, request: pb.SetCapRequest) -> pb.SetCapResponse:
        self._liveness.require_someone()
        answer = await self._desk.submit(
            commands.SetCap(
                caller=caller.id,
                id=request.id,
                participant=request.participant,
                currency=request.net_debit_cap.currency,
                cap_minor=request.net_debit_cap.minor,
            )
        )
        return pb.SetCapResponse(cap=await self._statements.one(answer.body))

    async def list_participants(
        self, caller: Caller, request: pb.ListParticipantsRequest
    ) -> pb.ListParticipantsResponse:
        return await self._read(self._participants)

    def _participants(self) -> pb.ListParticipantsResponse:
        caps, positions = self._store.caps(), self._store.positions()
        response = pb.ListParticipantsResponse()
        for row in self._store.participants():
            name = row["participant"]
            head = self._heads.known(row["origin"])
            keys = self._roster.member(name).keys
            response.participants.add(
                participant=name,
                display_name=row["display_name"],
                origin=row["origin"],
                vkey=str(keys.keys[-1]),
                keys=str(keys),
                revoked=keys.current is None,
                peer_address=row["peer_address"],
                public_address=row["public_address"],
                status=ParticipantStatus.ValueType(row["status"]),
                caps=caps.get(name, ()),
                positions=positions.get(name, ()),
                seq=row["seq"],
                head_size=head.size if head is not None else 0,
                heard_at_us=self._liveness.heard_us.get(name, 0),
            )
        return response

    async def list_agreements(
        self, caller: Caller, request: pb.ListAgreementsRequest
    ) -> pb.ListAgreementsResponse:
        rows = await self._read(self._store.agreements)
        return pb.ListAgreementsResponse(
            agreements=[read_terms(row["terms"]) for row in rows if row["terms"]]
        )

    async def admit_auditor(
        self, caller: Caller, request: pb.AdmitAuditorRequest
    ) -> pb.AdmitAuditorResponse:
        key_id = f"key_{PublicKey.from_bytes(request.public_key).key_id}"
        await self._desk.submit(
            commands.AdmitAuditor(
                caller=caller.id,
                id=request.id,
                auditor=request.auditor,
                key_id=key_id,
                public_key=request.public_key,
            )
        )
        return pb.AdmitAuditorResponse(key_id=key_id)

    async def revoke_auditor(
        self, caller: Caller, request: pb.RevokeAuditorRequest
    ) -> pb.RevokeAuditorResponse:
        """End an auditor's key; tokens that were bought with it are refused at once."""
        await self._desk.submit(
            commands.RevokeAuditor(caller=caller.id, id=request.id, key_id=request.key_id)
        )
        return pb.RevokeAuditorResponse()

    # --- windows ----------------------------------------------------------------------

    async def close_window(
        self, caller: Caller, request: pb.CloseWindowRequest
    ) -> pb.CloseWindowResponse:
        self._liveness.require_someone()
        answer = await self._desk.submit(
            commands.CloseWindow(caller=caller.id, id=request.id, window=request.window)
        )
        statement = await self._statements.one(answer.body)
        closed = entries.decode(statement.entry).window
        return pb.CloseWindowResponse(window=statement, decisions=closed.decisions)

    async def settle_window(
        self, caller: Caller, request: pb.SettleWindowRequest
    ) -> pb.SettleWindowResponse:
        self._liveness.require_someone()
        answer = await self._desk.submit(
            commands.SettleWindow(
                caller=caller.id,
                id=request.id,
                window=request.window,
                acknowledge_within_us=self._acknowledge_within_us,
            )
        )
        statement = await self._statements.one(answer.body)
        row = await self._read(lambda: self._store.window(request.window))
        assert row is not None, "a window that was settled is there"
        return pb.SettleWindowResponse(
            settlement=statement, table=SettlementTable.FromString(row["settlement"])
        )

    async def list_windows(
        self, caller: Caller, request: pb.ListWindowsRequest
    ) -> pb.ListWindowsResponse:
        limit = request.limit or LIST_LIMIT
        found = await self._read(
            lambda: window_reports.summaries(self._store, before=request.before, limit=limit)
        )
        return pb.ListWindowsResponse(windows=found)

    async def reconcile_window(
        self, caller: Caller, request: pb.ReconcileWindowRequest
    ) -> pb.ReconcileWindowResponse:
        return await self._reconciliation.window(request.window)

    async def read_participant_window(
        self, caller: Caller, request: pb.ReadParticipantWindowRequest
    ) -> pb.ReadParticipantWindowResponse:
        self._roster.member(request.participant)
        return pb.ReadParticipantWindowResponse(
            statement=await window_reports.window_statement(
                request.window,
                request.participant,
                store=self._store,
                statements=self._statements,
                read=self._read,
            )
        )

    # --- decisions --------------------------------------------------------------------

    async def list_decisions(
        self, caller: Caller, request: pb.ListDecisionsRequest
    ) -> pb.ListDecisionsResponse:
        limit = request.limit or LIST_LIMIT
        rows = await self._read(lambda: self._store.decisions_from(request.from_index, limit))
        shown = await self._decisions([row["entry_index"] for row in rows])
        for one, row in zip(shown, rows, strict=True):
            one.row.CopyFrom(book_row(row, row["issuer"]))
            one.at_us = row["at_us"]
        following = rows[-1]["entry_index"] + 1 if rows else request.from_index
        return pb.ListDecisionsResponse(decisions=shown, next_index=following)

    async def _decisions(self, indices: Sequence[int]) -> list[pb.ListedDecision]:
        _, proven = await self._statements.prove(indices)
        return [
            pb.ListedDecision(index=index, decision=entries.decode(proven[index].entry).decision)
            for index in indices
        ]
