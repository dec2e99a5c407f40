"""What a person reads, and a script gets, when a command does not succeed.

A failure is one red sentence, what to do about it where there is more to say than the sentence
says, and an exit code:

    0    done
    1    refused: a rule says no, and will say no again
    2    wrong usage, or a value the server finds malformed
    3    no such thing
    4    not allowed: no valid key or certificate, or not for this caller
    5    undecided or unavailable: nothing is lost, repeat the same command
    6    conflict: the id was used for something else
    7    a ledger which must not be served
    8    a verification failed
    9    unexpected; with COMITY_DEBUG=1 the whole story is shown
    130  interrupted
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from comity import errors
from comity.errors import ComityError

DONE: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
UNDECIDED: Final = 5
VERIFICATION: Final = 8
UNEXPECTED: Final = 9
INTERRUPTED: Final = 130

EXIT_CODES: Final[Mapping[type[ComityError], int]] = {
    errors.ComityError: UNEXPECTED,
    errors.Malformed: USAGE,
    errors.BadStatement: VERIFICATION,
    errors.Unauthenticated: 4,
    errors.Forbidden: 4,
    errors.NotFound: 3,
    errors.Conflict: 6,
    errors.Refused: REFUSED,
    errors.Unavailable: UNDECIDED,
    errors.LedgerFault: 7,
}
"""By class; a class without a row has that of the nearest one above it."""

ADVICE: Final[Mapping[type[ComityError], str]] = {
    errors.Unavailable: "Nothing was decided. Repeat the same command; `comity doctor` says why "
    "a server cannot be reached.",
    errors.Overloaded: "Wait a moment and repeat the same command.",
    errors.NotHeard: "The organisations have not heard of each other yet. Wait a moment and "
    "repeat the same command.",
    errors.Unauthenticated: "Check that the key is registered at this server; `comity doctor` "
    "tests the connection.",
    errors.Forbidden: "Use the key of somebody who may do this.",
    errors.Conflict: "Use a new id for a new request, or repeat the first one unchanged.",
    errors.InsufficientPoints: "`comity member balance` shows what can be spent.",
    errors.OutOfStock: "`comity member rewards` shows what is left.",
    errors.QuoteExpired: "Ask for a new quote; nothing was spent.",
    errors.HoldExpired: "Ask for a new quote; the points come back by themselves.",
    errors.AgreementInactive: "`comity merchant agreement list` shows what is in force.",
    errors.CapExceeded: "The issuer has to settle, or the operator has to raise its cap.",
    errors.Suspended: "Ask the network's operator.",
    errors.MemberLocked: "Ask the brand to unlock the account.",
    errors.BadStatement: "Do not rely on it. Keep the file: it may be evidence.",
    errors.MissingLedger: "Restore the ledger, or make a new one with `init`.",
    errors.ShorterLedger: "Restore the newest copy, or for clearing run `comity clearing recover`.",
    errors.ForkedLedger: "Stop, keep both copies, and restore the one which others know.",
    errors.LeaseHeld: "Stop the other process first.",
}
"""What to do, for those errors where a command is of more help than the sentence itself."""

CONNECTION: Final[Mapping[str, str]] = {
    "connection refused": "The server cannot be reached: nothing listens at its address.",
    "certificate": "The server cannot be reached: one side does not accept the certificate of "
    "the other.",
    "socket closed": "The server closed the connection at once.",
    "dns": "The server cannot be reached: its name leads to no address.",
    "deadline": "The server did not answer in time.",
    "failed to connect": "The server cannot be reached.",
}
"""What the transport says, by what its text contains, in words."""


def exit_code(error: ComityError) -> int:
    """The exit code of the nearest class which has one."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def sentence(error: ComityError) -> str:
    """The error in one sentence; what gRPC says of a connection is put into words."""
    if isinstance(error, errors.Unavailable):
        for sign, words in CONNECTION.items():
            if sign in error.message.lower():
                return words
    return f"{error.message} ({error.field})" if error.field else error.message


def advice(error: ComityError) -> str:
    """What to do next, or an empty text."""
    for kind in type(error).__mro__:
        if kind in ADVICE:
            return ADVICE[kind]
    return ""
