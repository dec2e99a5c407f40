"""A log recomputed from its entries: bytes, leaf hashes, root, signature, and the whole replay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, repeat

from google.protobuf.message import DecodeError

from comity.errors import BadStatement
from comity.ledger import entries as entry_bytes
from comity.ledger.replay import BRAND_KINDS, Findings, Replay
from comity.log.checkpoint import Checkpoint, open_checkpoint, read_checkpoint
from comity.log.history import KeyHistory
from comity.log.merkle import leaf_hash
from comity.log.note import VerifierKey
from comity.log.tiles import TileKey, TileTree
from comity.terms.decision_replay import DecisionReplay
from comity.v1.entry_pb2 import EntryOpening
from comity.verify.report import AnyReplay, Check, Report, refused

PAGE = 1_024
"""Entries taken at a time: whole tiles of 256."""

CLEARING = "clearing"


class LogPass:
    """One pass over a log from its first entry, in pages; nothing but the right edge is kept.

    `replay` is the fold so far, `tree` the hashes, `findings` what contradicts, `page` the kind
    and time of each entry taken last, None for one that is no entry.
    """

    def __init__(self, origin: str, *, opened: bool) -> None:
        self.origin = origin
        self.findings = Findings()
        self.tree = TileTree(0, lambda level, index: b"")
        self._is_clearing = origin.partition("/")[2] == CLEARING
        self._opened = opened
        self.page: list[tuple[str, int] | None] = []
        kind = DecisionReplay if self._is_clearing else Replay
        self.replay: AnyReplay = kind(origin, opened=opened, findings=self.findings)

    @property
    def size(self) -> int:
        """How many entries were taken."""
        return self.tree.size

    def add(
        self, bodies: Sequence[bytes], openings: Iterable[bytes | None]
    ) -> tuple[list[bytes], dict[TileKey, bytes]]:
        """Take the next entries; returns their leaf hashes and the tiles these changed."""
        index = self.tree.size
        leaves = [leaf_hash(body) for body in bodies]
        self.page = [
            self._read(index, *one)
            for index, one in enumerate(zip(bodies, leaves, openings, strict=False), index)
        ]
        return leaves, self.tree.append(leaves)

    def _read(
        self, index: int, data: bytes, leaf: bytes, opening: bytes | None
    ) -> tuple[str, int] | None:
        try:
            entry = entry_bytes.decode_but_legs(data, origin=self.origin)
        except BadStatement as error:
            self._wrong("entries", index, f"is none: {error.message}")
            return None
        kind = entry.WhichOneof("body")
        if kind is None or (kind in BRAND_KINDS) is self._is_clearing:
            self._wrong("entries", index, f"is a {kind}, which has no place in this log.")
            return None
        secret = None
        if self._opened:
            try:
                secret = EntryOpening.FromString(opening or b"")
            except DecodeError:
                self._wrong("openings", index, "has an opening that does not parse.")
        self.replay.add(index, entry, kind=kind, leaf=leaf, opening=secret)
        return kind, entry.at_us

    def checks(self, *, final: bool = False) -> tuple[Check, ...]:
        """What the entries alone say."""
        own = self.findings.check("entries", good=f"{self.size} entries, each byte for byte.")
        if isinstance(self.replay, Replay):
            return (own, *self.replay.checks(final=final))
        return (own, *self.replay.checks())

    def _wrong(self, rule: str, index: int, text: str) -> None:
        self.findings.add(rule, f"Entry {index} of {self.origin} {text}")


def check_head(tree: TileTree, head: Checkpoint) -> Check:
    """Whether the entries lead to the signed root."""
    if tree.size != head.size:
        detail = f"There are {tree.size} entries and the signed head says {head.size}."
    elif tree.root() != head.root:
        detail = f"The entries do not lead to the signed root of size {head.size}."
    else:
        return Check("root", passed=True, detail=f"{head.size} entries lead to the signed root.")
    return Check("root", passed=False, detail=detail)


def log(
    entries: Iterable[bytes],
    checkpoint: bytes,
    verifier: KeyHistory | VerifierKey,
    openings: Iterable[bytes | None] | None = None,
    *,
    final: bool = False,
) -> Report:
    """Verify a whole log against its signed checkpoint.

    With `openings` (bytes of EntryOpening in the order of the entries) balances and lots are
    replayed too. `final` says that nothing is under way, so that every hold must have ended.
    """
    taken = LogPass(verifier.name, opened=openings is not None)
    source = iter(entries)
    secrets = repeat(None) if openings is None else iter(openings)
    while page := list(islice(source, PAGE)):
        taken.add(page, list(islice(secrets, len(page))))
    return Report(
        subject=verifier.name,
        checks=(*_head_checks(taken, checkpoint, verifier), *taken.checks(final=final)),
        figures={"entries": taken.size},
        replay=taken.replay,
        note=checkpoint,
    )


def _head_checks(
    taken: LogPass, note: bytes, verifier: KeyHistory | VerifierKey
) -> tuple[Check, ...]:
    try:
        head = open_checkpoint(note, origin=verifier.name, verifier=verifier)
    except BadStatement as error:
        signature = refused("signature", error)
        try:
            head = read_checkpoint(note)
        except BadStatement:
            return (signature,)
    else:
        signature = Check(
            "signature", passed=True, detail=f"The head is signed by {verifier.name}."
        )
    return (signature, check_head(taken.tree, head))
