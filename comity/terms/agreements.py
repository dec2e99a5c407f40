"""Agreement arithmetic: from terms to points, amounts and fees.

    issuer points = acceptor points × conversion           rounded by `points_rounding`
    amount        = issuer points × price                  rounded by `amount_rounding`
    fee           = amount × basis points + fixed part     rounded by `amount_rounding`

Rounding happens once per redemption, on whole minor units, never after netting. A reversal
takes back round(cumulative) minus what was reversed before, so any way of reversing in parts
ends where reversing at once would.
"""

from __future__ import annotations

import hashlib
from math import gcd
from typing import Final

from comity.errors import AgreementInactive, LimitExceeded, Malformed, NotReversible
from comity.ledger.entries import canonical
from comity.points import Ratio, Rounding, checked, divide, scale
from comity.v1 import common_pb2, entry_pb2

DIGEST_DOMAIN: Final = b"comity-agreement/v1\n"
BASIS: Final = 10_000

ROUNDINGS: Final = {
    common_pb2.ROUNDING_DOWN: Rounding.DOWN,
    common_pb2.ROUNDING_UP: Rounding.UP,
    common_pb2.ROUNDING_HALF_UP: Rounding.HALF_UP,
    common_pb2.ROUNDING_HALF_EVEN: Rounding.HALF_EVEN,
}


def digest(terms: common_pb2.AgreementTerms) -> bytes:
    """What stands for these terms in clearing's log."""
    return hashlib.sha256(DIGEST_DOMAIN + canonical(terms)).digest()


def check_terms(terms: common_pb2.AgreementTerms) -> None:
    """Raises Malformed, naming the field, for terms that no brand may offer."""
    if terms.issuer == terms.acceptor:
        raise Malformed("Issuer and acceptor must be two brands.", field="terms.acceptor")
    for name in (terms.issuer, terms.acceptor):
        if name in ("operator", "drift", "clearing"):
            raise Malformed(f"{name} is a reserved name.", field="terms.issuer")
    if terms.maximum_points < max(terms.minimum_points, 1):
        raise Malformed("The maximum is below the minimum.", field="terms.maximum_points")
    if terms.valid_until_us <= terms.valid_from_us:
        raise Malformed("The agreement ends before it begins.", field="terms.valid_until_us")
    if terms.floor_limit_points:
        raise Malformed(
            "Delivering while clearing is unreachable is not offered: set the floor limit to 0.",
            field="terms.floor_limit_points",
        )
    if not terms.kinds or len(set(terms.kinds)) != len(terms.kinds):
        raise Malformed("Name each kind the agreement covers once.", field="terms.kinds")
    amounts(terms, terms.maximum_points)


def check_active(terms: common_pb2.AgreementTerms, at_us: int) -> None:
    """Raises AgreementInactive unless `at_us` lies in the half-open validity."""
    if not terms.valid_from_us <= at_us < terms.valid_until_us:
        raise AgreementInactive(
            f"Agreement {terms.agreement_id} version {terms.version} is not valid at that time."
        )


def check_kind(terms: common_pb2.AgreementTerms, kind: common_pb2.RedemptionKind.ValueType) -> None:
    """Raises AgreementInactive if the agreement does not cover this kind of redemption."""
    if kind not in terms.kinds:
        raise AgreementInactive(
            f"Agreement {terms.agreement_id} does not cover {common_pb2.RedemptionKind.Name(kind)}."
        )


def check_points(terms: common_pb2.AgreementTerms, points: int) -> None:
    """Raises LimitExceeded outside minimum, maximum and multiple, in issuer points."""
    if points < terms.minimum_points:
        raise LimitExceeded(f"The agreement asks for at least {terms.minimum_points} points.")
    if points > terms.maximum_points:
        raise LimitExceeded(f"The agreement allows at most {terms.maximum_points} points.")
    if terms.multiple_points > 1 and points % terms.multiple_points:
        raise LimitExceeded(f"The agreement asks for a multiple of {terms.multiple_points} points.")


def issuer_points(terms: common_pb2.AgreementTerms, acceptor_points: int) -> int:
    """The price in issuer points of what costs `acceptor_points` at the acceptor."""
    return scale(
        acceptor_points,
        Ratio(terms.conversion.numerator, terms.conversion.denominator),
        ROUNDINGS[terms.points_rounding],
    )


def price(terms: common_pb2.AgreementTerms, points: int) -> common_pb2.Money:
    """The amount among `amounts` of a redemption alone. Raises as they do."""
    return common_pb2.Money(currency=terms.currency, minor=_whole(terms, points)[0])


def amounts(
    terms: common_pb2.AgreementTerms,
    points: int,
    kind: common_pb2.RedemptionKind.ValueType = common_pb2.REDEMPTION_KIND_REWARD,
) -> entry_pb2.Amounts:
    """What committing `points` moves; negative for an ACCRUAL, in which the acceptor pays.

    Raises Overflow, or LimitExceeded where the points are worth less than one minor unit.
    """
    whole = _whole(terms, points)
    direction = -1 if kind == common_pb2.REDEMPTION_KIND_ACCRUAL else 1
    return _message(terms, points, amount=direction * whole[0], fee=whole[1])


def reversal_amounts(
    terms: common_pb2.AgreementTerms,
    *,
    committed: int,
    before: int,
    cumulative: int,
    kind: common_pb2.RedemptionKind.ValueType = common_pb2.REDEMPTION_KIND_REWARD,
) -> entry_pb2.Amounts:
    """What raising the reversed points of a redemption from `before` to `cumulative` moves back.

    Figures are the negatives of what was committed. The fixed part of a fee comes back with the
    last point. Raises NotReversible unless before < cumulative <= committed.
    """
    if not 0 <= before < cumulative <= committed:
        raise NotReversible(
            f"{before} of {committed} points are reversed already; {cumulative} is not a "
            "possible total.",
            metadata={"committed": str(committed), "reversed": str(before)},
        )
    earlier = _reversed_figures(terms, committed, before)
    later = _reversed_figures(terms, committed, cumulative)
    direction = -1 if kind == common_pb2.REDEMPTION_KIND_ACCRUAL else 1
    return _message(
        terms,
        cumulative - before,
        amount=direction * (earlier[0] - later[0]),
        fee=earlier[1] - later[1],
    )


def _whole(terms: common_pb2.AgreementTerms, points: int) -> tuple[int, int]:
    """As `_figures`, of points which are worth something and can be stated exactly."""
    checked(points * terms.price.numerator)
    whole = _figures(terms, points)
    if points > 0 and whole[0] < 1:
        raise LimitExceeded("These points are worth less than one minor unit; take more.")
    return whole


def _figures(terms: common_pb2.AgreementTerms, points: int) -> tuple[int, int]:
    """Amount and fee of so many points, whole minor units."""
    rounding = ROUNDINGS[terms.amount_rounding]
    amount = divide(points * terms.price.numerator, terms.price.denominator, rounding)
    fee = divide(amount * terms.fee_basis_points, BASIS, rounding) + terms.fee_fixed_minor
    return amount, checked(fee)


def _reversed_figures(
    terms: common_pb2.AgreementTerms, committed: int, cumulative: int
) -> tuple[int, int]:
    """Amount and fee that are back once `cumulative` of `committed` points are reversed."""
    whole = _figures(terms, committed)
    if cumulative == committed:
        return whole
    amount, fee = _figures(terms, cumulative)
    return min(amount, whole[0]), min(fee - terms.fee_fixed_minor, whole[1])


def _message(
    terms: common_pb2.AgreementTerms, points: int, *, amount: int, fee: int
) -> entry_pb2.Amounts:
    numerator = checked(points * terms.price.numerator)
    common = gcd(numerator, terms.price.denominator)
    return entry_pb2.Amounts(
        exact=common_pb2.Ratio(
            numerator=numerator // common, denominator=terms.price.denominator // common
        ),
        amount=common_pb2.Money(currency=terms.currency, minor=amount),
        fee=common_pb2.Money(currency=terms.currency, minor=fee),
        fee_payer=terms.fee_payer,
        drift=common_pb2.Money(currency=terms.currency),
    )
