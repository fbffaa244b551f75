"""Resource quantities: exact values, parsed and written as Kubernetes does.

A quantity is kept as a whole number of nano-units: finer input is rounded up (away from zero), and larger input is
capped at 2^63-1, as upstream's resource.Quantity does.
Source: the API conventions on quantities; k8s.io/apimachinery resource.Quantity's documented canonical form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from functools import lru_cache, total_ordering

NANO = 10**9
_LIMIT_NANO = (2**63 - 1) * NANO
_EXPONENT_MAX = 100  # beyond it every value is 0, rounds up to one nano-unit or is capped: no need to compute 10**huge

_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([a-zA-Z]*[-+]?[0-9]*)\Z")
_ALLOWED = re.compile(r"[+-]?[0-9.]+[eEinumkKMGTP]*[-+]?[0-9]*\Z")
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)\Z")

_DECIMAL_SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_SUFFIXES = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_NAMES = {exponent: name for name, exponent in _DECIMAL_SUFFIXES.items()}
_BINARY_NAMES = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


class QuantityError(ValueError):
    """The text is no quantity; the message is upstream's."""


class Format(Enum):
    """How a quantity prefers to be written; it is remembered from how it was read."""

    DECIMAL_SI = "DecimalSI"
    DECIMAL_EXPONENT = "DecimalExponent"
    BINARY_SI = "BinarySI"


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """An exact amount of `nano` nano-units; equal and ordered by amount, whatever the format."""

    nano: int
    format: Format = Format.DECIMAL_SI

    @property
    def value(self) -> Fraction:
        """The amount in whole units, exact."""
        return Fraction(self.nano, NANO)

    def milli(self) -> int:
        """The amount in thousandths, rounded up."""
        return _round_up(self.nano, 10**6)

    def whole(self) -> int:
        """The amount in units, rounded up."""
        return _round_up(self.nano, NANO)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nano == other.nano

    def __lt__(self, other: Quantity) -> bool:
        return self.nano < other.nano

    def __hash__(self) -> int:
        return hash(self.nano)

    def __bool__(self) -> bool:
        return self.nano != 0

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano + other.nano, self.format if self.nano else other.format)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano - other.nano, self.format if self.nano else other.format)

    def __neg__(self) -> Quantity:
        return Quantity(-self.nano, self.format)

    def __str__(self) -> str:
        """The canonical text: no fraction, the largest suffix that keeps the number whole.

        A fraction that a binary suffix can't express is written with a decimal one.
        """
        if self.format is Format.BINARY_SI and abs(self.nano) >= 1024 * NANO and not self.nano % NANO:
            return _binary(self.nano // NANO)
        mantissa, exponent = _thousands(self.nano)
        if self.format is Format.DECIMAL_EXPONENT:
            return f"{mantissa}e{exponent}" if exponent else str(mantissa)
        return f"{mantissa}{_DECIMAL_NAMES[exponent]}"


ZERO = Quantity(0)


def parse(text: str | int | float) -> Quantity:
    """Return the quantity that a JSON string or number holds.

    Raises QuantityError with upstream's message.
    """
    return _parse(text if isinstance(text, str) else repr(text))


def milli(text: str | int | float) -> int:
    """The quantity in thousandths, rounded up (CPU time as the scheduler counts it)."""
    return parse(text).milli()


def whole(text: str | int | float) -> int:
    """The quantity in units, rounded up (bytes, pods)."""
    return parse(text).whole()


def canonical(text: str | int | float) -> str:
    """The same quantity in canonical form, as the API server answers it."""
    return _canonical(text if isinstance(text, str) else repr(text))


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    return str(_parse(text))


def format(amount: Fraction | int, style: Format = Format.DECIMAL_SI) -> str:  # noqa: A001 - the module is the namespace
    """The canonical text of `amount` units."""
    return str(Quantity(_ceil_away(Fraction(amount) * NANO), style))


@lru_cache(maxsize=4096)  # a cluster repeats the same few requests and limits over and over
def _parse(text: str) -> Quantity:
    if not _ALLOWED.match(text):
        raise QuantityError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    match = _NUMBER.match(text)
    if match is None or not (match[2] or match[3]):
        raise QuantityError("unable to parse quantity's numeric part")
    sign, units, fraction, suffix = match[1], match[2], match[3] or "", match[4]
    binary_shift, exponent, style = _suffix(suffix)
    digits = int(units + fraction) << binary_shift
    nano = _scaled(digits, exponent + 9 - len(fraction))
    return Quantity(-nano if sign == "-" else nano, style)


def _suffix(suffix: str) -> tuple[int, int, Format]:
    """(power of two, power of ten, format) of a suffix."""
    if suffix in _DECIMAL_SUFFIXES:
        return 0, _DECIMAL_SUFFIXES[suffix], Format.DECIMAL_SI
    if suffix in _BINARY_SUFFIXES:
        return _BINARY_SUFFIXES[suffix], 0, Format.BINARY_SI
    match = _EXPONENT.match(suffix)
    if match is None:
        raise QuantityError("unable to parse quantity's suffix")
    return 0, int(match[1]), Format.DECIMAL_EXPONENT


def _scaled(digits: int, exponent: int) -> int:
    """`digits` times 10^exponent as whole nano-units, rounded up, capped."""
    if not digits:
        return 0
    if exponent < 0:
        # A divisor far beyond the number of digits always rounds up to 1.
        divisor: int = 10 ** min(-exponent, _EXPONENT_MAX + len(str(digits)))
        return -(-digits // divisor)
    factor: int = 10 ** min(exponent, _EXPONENT_MAX)
    return min(digits * factor, _LIMIT_NANO)


def _round_up(nano: int, unit: int) -> int:
    """`nano` in `unit`s, away from zero."""
    return -(-nano // unit) if nano >= 0 else nano // unit


def _ceil_away(amount: Fraction) -> int:
    return _round_up(amount.numerator, amount.denominator)


def _thousands(nano: int) -> tuple[int, int]:
    """Split nano-units into a whole mantissa and the largest exponent (a multiple of 3, at most 18) of ten."""
    if not nano:
        return 0, 0
    exponent = -9
    while exponent < 18 and nano % 1000 == 0:
        nano //= 1000
        exponent += 3
    return nano, exponent


def _binary(amount: int) -> str:
    power = 0
    while power < len(_BINARY_NAMES) - 1 and amount % 1024 == 0:
        amount //= 1024
        power += 1
    return f"{amount}{_BINARY_NAMES[power]}"
