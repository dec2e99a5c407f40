"""Clearing with real rules, database and endpoints, between brands that are only their logs.

A brand here does nothing by itself: a test says what its log holds, true or not, and what it
sends. So a liar costs a test one line.
"""

from __future__ import annotations

import hashlib
import random as seeded
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from sqlalchemy import Engine

from clearing import tables
from clearing.build import LEDGER, Clearing, Surroundings, build, origin_of
from clearing.rules import Rules
from comity.clock import DAY, HOUR, MINUTE
from comity.keys import SigningKey
from comity.ledger import entries, guard, statements
from comity.ledger.engine import writer
from comity.ledger.runner import inline
from comity.ledger.signer import LogSigner
from comity.log.history import rotation_message
from comity.log.merkle import leaf_hash
from comity.log.note import VerifierKey
from comity.log.tiles import TileTree
from comity.rpc import authority as authorities
from comity.rpc import tls
from comity.rpc.caller import Credentials
from comity.rpc.channel import Channel, LocalChannel, stub
from comity.rpc.logging import get_logger
from comity.rpc.metrics import Metrics
from comity.rpc.tokens import ServerSecret
from comity.terms import agreements, quotes
from comity.v1 import clearing_pb2 as pb
from comity.v1 import common_pb2, entry_pb2, operator_pb2
from comity.v1.clearing_pb2_grpc import ClearingServiceStub
from comity.v1.operator_pb2_grpc import OperatorServiceStub

NETWORK = "comity.example"
ORIGIN = origin_of(NETWORK)
START_US = 1_700_000_000_000_000

REWARD = common_pb2.REDEMPTION_KIND_REWARD
EXCHANGE = common_pb2.REDEMPTION_KIND_EXCHANGE
ACCRUAL = common_pb2.REDEMPTION_KIND_ACCRUAL


@dataclass(slots=True)
class Ticking:
    """A clock that tests move."""

    now_us: int = START_US

    def __call__(self) -> int:
        return self.now_us


def terms(**changed: Any) -> common_pb2.AgreementTerms:
    """One cent a point, no fee, grocery's points at fuel; with whatever a test changes."""
    plain: dict[str, Any] = {
        "agreement_id": "agr_grocery-fuel",
        "version": 1,
        "issuer": "grocery",
        "acceptor": "fuel",
        "conversion": common_pb2.Ratio(numerator=1, denominator=1),
        "points_rounding": common_pb2.ROUNDING_HALF_UP,
        "price": common_pb2.Ratio(numerator=1, denominator=1),
        "currency": "EUR",
        "amount_rounding": common_pb2.ROUNDING_HALF_UP,
        "fee_payer": common_pb2.FEE_PAYER_ACCEPTOR,
        "minimum_points": 1,
        "maximum_points": 1_000_000,
        "quote_life_us": 5 * MINUTE,
        "claim_grace_us": 10 * MINUTE,
        "deliver_within_us": HOUR,
        "valid_from_us": START_US - DAY,
        "valid_until_us": START_US + 365 * DAY,
        "kinds": [REWARD, EXCHANGE, ACCRUAL],
        "salt": bytes(16),
    }
    return common_pb2.AgreementTerms(**(plain | changed))


def redemption_id(name: str) -> str:
    """An id that says the same each time."""
    return f"rdm_{hashlib.sha256(name.encode()).hexdigest()[:32]}"


@dataclass(slots=True)
class Brand:
    """A brand's log and TLS identity; it signs whatever it is told."""

    name: str
    clock: Ticking
    certificate: bytes = b""
    clearing_note: bytes = b""
    leaves: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    rotated: LogSigner | None = None
    """Signs instead of `key` alone, once the log's key was exchanged."""

    @property
    def origin(self) -> str:
        return f"{NETWORK}/{self.name}"

    @property
    def key(self) -> SigningKey:
        return SigningKey(hashlib.sha256(self.name.encode()).digest())

    @property
    def signer(self) -> LogSigner:
        return self.rotated or LogSigner(self.origin, self.key)

    def tree(self, leaves: Sequence[bytes] | None = None) -> TileTree:
        tree = TileTree(0, lambda level, index: b"")
        tree.append(list(map(leaf_hash, self.leaves if leaves is None else leaves)))
        return tree

    def append(self, body: Message) -> int:
        """Write an entry; returns its index."""
        self.leaves.append(entries.encode(body, origin=self.origin, at_us=self.clock()))
        self.sizes.append(len(self.leaves))
        return len(self.leaves) - 1

    def checkpoint(self) -> bytes:
        tree = self.tree()
        return self.signer.sign(tree.size, tree.root())

    def statement(self, index: int) -> common_pb2.Statement:
        tree = self.tree()
        return statements.make(
            self.leaves[index],
            index=index,
            hashes=tree.inclusion(index),
            checkpoint=self.signer.sign(tree.size, tree.root()),
        )

    def state(self, body: Message) -> common_pb2.Statement:
        """Write an entry and show it."""
        return self.statement(self.append(body))

    def cite(self, index: int) -> common_pb2.Citation:
        return entries.cite(self.origin, index, self.leaves[index])

    def heads(self, *, links: bool = True) -> common_pb2.HeadExchange:
        """This brand's side of an exchange, linking every head it ever signed."""
        exchange = common_pb2.HeadExchange(known=self.clearing_note, now_us=self.clock())
        if self.leaves:
            exchange.checkpoint = self.checkpoint()
            tree = self.tree()
            for size in [size for size in self.sizes if size < tree.size][-60:] if links else []:
                exchange.links.add(from_size=size, hashes=tree.consistency(size))
        return exchange


@dataclass(slots=True)
class Purchase:
    """A redemption before its claim: the quote and the issuer's hold, each as a test wants it."""

    quote: entry_pb2.Quote
    hold: entry_pb2.Hold

    def sealed(self) -> Purchase:
        """The hold names the quote as it stands now."""
        self.hold.quote_digest = quotes.digest(entries.canonical(self.quote))
        return self


class World:
    """One clearing service and the brands it has admitted."""

    def __init__(
        self, engine: Engine, *, rules: Rules | None = None, seed: int = 1, fresh: bool = True
    ) -> None:
        self.engine = engine
        self.clock = Ticking()
        self.rules = rules or Rules(report_grace_us=0)
        self.random = seeded.Random(seed).randbytes
        self.authority = authorities.create_ca(NETWORK, clock=self.clock)
        self.signer = LogSigner(ORIGIN, SigningKey(hashlib.sha256(b"clearing").digest()))
        self.config = operator_pb2.NetworkConfig(
            network=NETWORK, clearing_origin=ORIGIN, clearing_vkey=self.signer.vkey
        )
        self.brands: dict[str, Brand] = {}
        self.channels: dict[str, Channel] = {}
        self.ids = 0
        if fresh:
            with writer(engine).begin() as connection:
                tables.metadata.create_all(connection)
            guard.init_ledger(
                engine,
                ledger=LEDGER,
                network=NETWORK,
                signer=self.signer,
                now_us=self.clock(),
            )
        self.metrics = Metrics()
        self.clearing = self.start()
        self.operator = stub(
            OperatorServiceStub,
            LocalChannel(self.clearing.peer, Credentials(certificate_pem=self._operator())),
        )

    def start(self) -> Clearing:
        """Clearing as after a start: it has heard nobody."""
        lease = guard.open_ledger(
            self.engine,
            ledger=LEDGER,
            network=NETWORK,
            signer=self.signer,
            holder="test",
            now_us=self.clock(),
            is_dead=lambda _: True,
        )
        return build(
            self.config,
            self.rules,
            Surroundings(
                engine=self.engine,
                lease=lease,
                signer=self.signer,
                authority=self.authority,
                secret=ServerSecret(hashlib.sha256(b"secret").digest()),
                clock=self.clock,
                random=self.random,
                write=inline,
                read=inline,
                peers=lambda name: self.channels[name],
                log=get_logger(),
                metrics=self.metrics,
            ),
        )

    def restart(self) -> None:
        """Start clearing again on the same database."""
        self.metrics = Metrics()
        self.clearing = self.start()
        self.operator = stub(
            OperatorServiceStub,
            LocalChannel(self.clearing.peer, Credentials(certificate_pem=self._operator())),
        )

    # --- set-up -----------------------------------------------------------------------

    async def admit(self, name: str, *, cap_minor: int = 100_000) -> Brand:
        """Admit a brand, which is heard at once."""
        brand = Brand(name, self.clock)
        request = authorities.create_request(
            tls.brand(NETWORK, name), tls.new_tls_key(), log_key=brand.key
        )
        response = await self.operator.AdmitParticipant(
            operator_pb2.AdmitParticipantRequest(
                id=self.new_id(),
                certificate_request=request.pem,
                vkey=brand.signer.vkey,
                binding=request.binding,
                peer_address="127.0.0.1:7400",
                caps=[euros(cap_minor)],
            )
        )
        brand.certificate = response.certificate
        self.brands[name] = brand
        await self.pulse(brand)
        return brand

    async def agree(self, wanted: common_pb2.AgreementTerms) -> common_pb2.Statement:
        """Both brands sign the terms and the acceptor registers them."""
        issuer, acceptor = self.brands[wanted.issuer], self.brands[wanted.acceptor]
        proposed = issuer.append(entry_pb2.Propose(terms=wanted))
        accepted = acceptor.append(
            entry_pb2.Accept(propose=issuer.cite(proposed), terms_digest=agreements.digest(wanted))
        )
        response: pb.RegisterAgreementResponse = await self.at(acceptor).RegisterAgreement(
            pb.RegisterAgreementRequest(
                heads=acceptor.heads(),
                propose=issuer.statement(proposed),
                accept=acceptor.statement(accepted),
            )
        )
        await self.pulse(issuer)
        return response.agreement

    def new_id(self) -> str:
        self.ids += 1
        return f"op-{self.ids}"

    # --- calling ----------------------------------------------------------------------

    def at(self, brand: Brand) -> Any:
        """Clearing's service as this brand calls it."""
        credentials = Credentials(certificate_pem=brand.certificate)
        return stub(ClearingServiceStub, LocalChannel(self.clearing.peer, credentials))

    async def pulse(self, brand: Brand, **links: bool) -> pb.PulseResponse:
        response: pb.PulseResponse = await self.at(brand).Pulse(
            pb.PulseRequest(heads=brand.heads(**links))
        )
        brand.clearing_note = response.heads.checkpoint
        return response

    async def claim(self, brand: Brand, *items: pb.ClaimItem) -> list[pb.ClaimResult]:
        response: pb.ClaimResponse = await self.at(brand).Claim(
            pb.ClaimRequest(heads=brand.heads(), claims=items)
        )
        return list(response.results)

    async def one(self, brand: Brand, item: pb.ClaimItem) -> pb.ClaimResult:
        (result,) = await self.claim(brand, item)
        return result

    def _operator(self) -> bytes:
        subject = tls.operator(NETWORK, "olga")
        return authorities.issue_certificate(
            self.authority,
            authorities.create_request(subject, tls.new_tls_key(), log_key=None),
            expect=subject,
            log_key=None,
            clock=self.clock,
        )

    # --- redemptions ------------------------------------------------------------------

    def purchase(
        self,
        name: str = "first",
        *,
        points: int = 100,
        under: common_pb2.AgreementTerms | None = None,
        kind: common_pb2.RedemptionKind.ValueType = REWARD,
        mandate: str = "",
    ) -> Purchase:
        """An honest quote, and the hold that answers it."""
        agreed = under or terms()
        now_us = self.clock()
        quote = entry_pb2.Quote(
            network=NETWORK,
            issuer=agreed.issuer,
            acceptor=agreed.acceptor,
            redemption_id=redemption_id(name),
            kind=kind,
            agreement_id=agreed.agreement_id,
            agreement_version=agreed.version,
            acceptor_points=points,
            points=agreements.issuer_points(agreed, points),
            amount=agreements.amounts(agreed, agreements.issuer_points(agreed, points)).amount,
            reward=hashlib.sha256(b"reward").digest(),
            issued_at_us=now_us,
            expires_at_us=now_us + agreed.quote_life_us,
        )
        hold = entry_pb2.Hold(
            network=NETWORK,
            acceptor=quote.acceptor,
            redemption_id=quote.redemption_id,
            kind=kind,
            agreement_id=quote.agreement_id,
            agreement_version=quote.agreement_version,
            mandate_digest=hashlib.sha256((mandate or f"mandate {name}").encode()).digest(),
            points=quote.points,
            amount=quote.amount,
            expires_at_us=quote.expires_at_us + agreed.claim_grace_us,
        )
        return Purchase(quote, hold).sealed()

    def hold_claim(self, made: Purchase, *, issuer: Brand) -> pb.ClaimItem:
        """The issuer writes the hold; the claim shows it with the quote."""
        return pb.ClaimItem(
            hold=pb.HoldClaim(hold=issuer.state(made.hold), quote=entries.canonical(made.quote))
        )

    async def commit(
        self, name: str = "first", *, linked: bool = True, **wanted: Any
    ) -> pb.Decided:
        """Carry an honest redemption to its decision; its issuer links its head, or not."""
        made = self.purchase(name, **wanted)
        issuer, acceptor = self.brands[made.quote.issuer], self.brands[made.quote.acceptor]
        result = await self.one(acceptor, self.hold_claim(made, issuer=issuer))
        assert outcome(result) == "COMMITTED", result
        if linked:
            await self.pulse(issuer)
        return result.decided

    def deliver(self, acceptor: Brand, decided: pb.Decided) -> int:
        """The acceptor writes its DELIVERY; returns its index."""
        decision = decision_of(decided)
        return acceptor.append(
            entry_pb2.Delivery(
                issuer=decision.issuer,
                redemption_id=decision.redemption_id,
                decision=cited(decided),
                seq=decision.acceptor_seq,
                quote_digest=decision.quote_digest,
                reward=hashlib.sha256(b"reward").digest(),
            )
        )

    async def report(self, acceptor: Brand, *indices: int) -> list[pb.ReportResult]:
        response: pb.ReportResponse = await self.at(acceptor).Report(
            pb.ReportRequest(
                heads=acceptor.heads(), deliveries=[acceptor.statement(one) for one in indices]
            )
        )
        return list(response.results)

    def giving_back(
        self, acceptor: Brand, decided: pb.Decided, *, cumulative: int, delivery: int = 0
    ) -> pb.ClaimItem:
        """The acceptor writes a RETURN; the claim shows it."""
        decision = decision_of(decided)
        return pb.ClaimItem(
            returned=pb.ReturnClaim(
                returned=acceptor.state(
                    entry_pb2.Return(
                        issuer=decision.issuer,
                        redemption_id=decision.redemption_id,
                        delivery_index=delivery,
                        decision=cited(decided),
                        cumulative_points=cumulative,
                        reason_code="RETURNED",
                    )
                )
            )
        )

    def positions(self) -> dict[str, int]:
        """Everybody's running position in EUR, `operator` and `drift` among them."""
        return {
            name: money.minor
            for name, held in self.clearing.store.positions().items()
            for money in held
            if money.currency == "EUR"
        }

    async def stand(
        self, participant: str, status: entry_pb2.ParticipantStatus.ValueType
    ) -> common_pb2.Statement:
        """Suspend, freeze or resume."""
        response: operator_pb2.SetStandingResponse = await self.operator.SetStanding(
            operator_pb2.SetStandingRequest(
                id=self.new_id(), participant=participant, status=status, reason="test"
            )
        )
        return response.standing

    async def rotate(self, participant: str, *, last_size: int | None = None) -> int:
        """Exchange a brand's log key for one made from its name; it signs by it at once."""
        brand = self.brands[participant]
        history = brand.signer.history
        new = SigningKey(hashlib.sha256(f"{brand.name} {history}".encode()).digest())
        vkey = VerifierKey.of(brand.origin, new.public)
        message = rotation_message(str(history.current), str(vkey))
        answer: operator_pb2.RotateParticipantKeyResponse = (
            await self.operator.RotateParticipantKey(
                operator_pb2.RotateParticipantKeyRequest(
                    id=self.new_id(),
                    participant=participant,
                    vkey=str(vkey),
                    new_signature=new.sign(message),
                    old_signature=brand.key.sign(message),
                    last_size=last_size,
                )
            )
        )
        known = {key.public: key for key in (brand.key, new)}
        brand.rotated = LogSigner(brand.origin, brand.key, find=known.get)
        brand.rotated.learn(history.rotated(vkey, answer.last_size))
        return int(answer.last_size)

    async def revoke(self, participant: str, **changed: str) -> common_pb2.Statement:
        """End a brand's part in the network."""
        plain = {"id": f"revoke-{participant}", "participant": participant, "reason": "it lied"}
        answer: operator_pb2.RevokeParticipantResponse = await self.operator.RevokeParticipant(
            operator_pb2.RevokeParticipantRequest(**(plain | changed))
        )
        return answer.revoke

    async def cap(self, participant: str, minor: int) -> None:
        """Set a net debit cap in EUR."""
        await self.operator.SetCap(
            operator_pb2.SetCapRequest(
                id=self.new_id(), participant=participant, net_debit_cap=euros(minor)
            )
        )

    async def close(self, window: int) -> operator_pb2.CloseWindowResponse:
        response: operator_pb2.CloseWindowResponse = await self.operator.CloseWindow(
            operator_pb2.CloseWindowRequest(id=self.new_id(), window=window)
        )
        return response

    async def settle(self, window: int) -> operator_pb2.SettleWindowResponse:
        response: operator_pb2.SettleWindowResponse = await self.operator.SettleWindow(
            operator_pb2.SettleWindowRequest(id=self.new_id(), window=window)
        )
        return response


async def trading(engine: Engine) -> World:
    """Three brands which were admitted, and their agreements."""
    made = World(engine)
    for name in ("grocery", "fuel", "hotel"):
        await made.admit(name)
    await made.agree(terms())
    await made.agree(terms(agreement_id="agr_fuel-grocery", issuer="fuel", acceptor="grocery"))
    await made.agree(terms(agreement_id="agr_hotel-fuel", issuer="hotel"))
    return made


def decision_of(decided: pb.Decided) -> entry_pb2.Decision:
    """The decision in an answer."""
    return entries.decode(decided.decision.entry, origin=ORIGIN).decision


def cited(decided: pb.Decided) -> common_pb2.Citation:
    """The name of the decision in an answer."""
    return entries.cite(ORIGIN, decided.decision.index, decided.decision.entry)


def outcome(result: pb.ClaimResult) -> str:
    """`COMMITTED`, `ABORTED CAP_EXCEEDED`, or `failure FORBIDDEN`."""
    if result.HasField("failure"):
        return f"failure {result.failure.code}"
    decision = decision_of(result.decided)
    name = entry_pb2.Outcome.Name(decision.outcome).removeprefix("OUTCOME_")
    return f"{name} {decision.reason}".strip()


def euros(minor: int) -> common_pb2.Money:
    """So many cents."""
    return common_pb2.Money(currency="EUR", minor=minor)
