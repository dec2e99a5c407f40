"""Whole-number arithmetic for points and minor units: signed 64 bits, exact, no floats.

Every result is checked to fit the range that ledgers, rows and messages have; leaving it raises
`Overflow`. Between, Python's integers are exact at any size, so only the result can overflow.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from comity.errors import Malformed, Overflow

MIN = -(2**63)
MAX = 2**63 - 1


def checked(value: int) -> int:
    """`value`, if it fits signed 64 bits; `Overflow` otherwise."""
    if not MIN <= value <= MAX:
        raise Overflow("The amount leaves the signed 64-bit range; use smaller amounts.")
    return value


def add(*values: int) -> int:
    """The sum."""
    return checked(sum(values))


def subtract(left: int, right: int) -> int:
    """`left` minus `right`."""
    return checked(left - right)


def multiply(left: int, right: int) -> int:
    """The product."""
    return checked(left * right)


def total(values: Iterable[int]) -> int:
    """The sum of many; only the end result has to fit."""
    return checked(sum(values))


class Rounding(enum.Enum):
    """What becomes of a fraction. Every rule treats a value and its negative alike (symmetric),
    so what was rounded one way is taken back the same way."""

    DOWN = "down"
    """Towards zero."""
    UP = "up"
    """Away from zero."""
    HALF_UP = "half_up"
    """To the nearest; a half goes away from zero."""
    HALF_EVEN = "half_even"
    """To the nearest; a half goes to the even neighbour."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A positive ratio of int64 numbers, kept in lowest terms: 2/4 equals 1/2."""

    numerator: int
    denominator: int

    def __post_init__(self) -> None:
        if self.numerator < 1 or self.denominator < 1:
            raise Malformed("Both numbers of a ratio are at least 1.")
        divisor = math.gcd(self.numerator, self.denominator)
        object.__setattr__(self, "numerator", checked(self.numerator // divisor))
        object.__setattr__(self, "denominator", checked(self.denominator // divisor))

    def inverse(self) -> Ratio:
        """The ratio turned over."""
        return Ratio(self.denominator, self.numerator)

    def times(self, other: Ratio) -> Ratio:
        """The exact product, in lowest terms; `Overflow` if those leave int64."""
        return Ratio(self.numerator * other.numerator, self.denominator * other.denominator)

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}"


def scale(value: int, ratio: Ratio, rounding: Rounding) -> int:
    """`value` times `ratio`, rounded once; `scale(-v) == -scale(v)` for every rule."""
    return divide(value * ratio.numerator, ratio.denominator, rounding)


def divide(numerator: int, denominator: int, rounding: Rounding) -> int:
    """`numerator / denominator` rounded, for any `numerator` and a positive `denominator`."""
    if denominator < 1:
        raise ValueError("The denominator is at least 1.")
    quotient, remainder = divmod(abs(numerator), denominator)
    if _rounds_up(quotient, remainder, denominator, rounding):
        quotient += 1
    return checked(quotient if numerator >= 0 else -quotient)


def _rounds_up(quotient: int, remainder: int, denominator: int, rounding: Rounding) -> bool:
    match rounding:
        case Rounding.DOWN:
            return False
        case Rounding.UP:
            return remainder > 0
        case Rounding.HALF_UP:
            return 2 * remainder >= denominator
        case Rounding.HALF_EVEN:
            return 2 * remainder + (quotient & 1) > denominator


def split(value: int, weights: Sequence[int]) -> tuple[int, ...]:
    """`value` in shares as `weights`, by largest remainder (Hamilton's method); sums exactly.

    Equal remainders favour the earlier share, and a negative value splits as its positive.
    Raises `Malformed` for a negative weight or weights that sum to zero.
    """
    whole = sum(weights)
    if whole < 1 or min(weights) < 0:
        raise Malformed("Weights are not negative, and one of them is positive.")
    magnitude = abs(checked(value))
    shares = [magnitude * weight // whole for weight in weights]
    remainders = [magnitude * weight % whole for weight in weights]
    order = sorted(range(len(shares)), key=lambda at: (-remainders[at], at))
    for at in order[: magnitude - sum(shares)]:
        shares[at] += 1
    return tuple(shares if value >= 0 else [-share for share in shares])
