"""Quantities: exact, canonical as upstream answers them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.objects import quantity
from oarlock.cluster.objects.quantity import Format, Quantity, QuantityError


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"),
        ("1", "1"),
        ("100m", "100m"),
        ("1500m", "1500m"),
        ("1000m", "1"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("5.", "5"),
        ("1000", "1k"),
        ("1000k", "1M"),
        ("1.5Gi", "1536Mi"),
        ("1024Ki", "1Mi"),
        ("1000Ki", "1000Ki"),
        ("0.5Ki", "512"),
        ("1e3", "1e3"),
        ("1E2", "100"),
        ("12e6", "12e6"),
        ("-1.5", "-1500m"),
        ("+2", "2"),
        ("0.1n", "1n"),
        ("1E", "1E"),
        ("12E", "9223372036854775807"),
        ("1e99999999", "9223372036854775807"),
        ("1e-99999999", "1e-9"),
        (2, "2"),
        (0.5, "500m"),
    ],
)
def test_canonical_form(text: str | float, canonical: str) -> None:
    assert quantity.canonical(text) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "quantities must match the regular expression"),
        ("1 Gi", "quantities must match the regular expression"),
        ("abc", "quantities must match the regular expression"),
        ("1KB", "quantities must match the regular expression"),
        ("1K", "unable to parse quantity's suffix"),
        ("1mm", "unable to parse quantity's suffix"),
        ("1e", "unable to parse quantity's suffix"),
        ("1.2.3", "unable to parse quantity's numeric part"),
        (".", "unable to parse quantity's numeric part"),
    ],
)
def test_refusals_are_worded_as_upstream(text: str, message: str) -> None:
    with pytest.raises(QuantityError, match=message.replace("(", r"\(")):
        quantity.parse(text)


def test_rounds_up_to_what_is_asked_for() -> None:
    assert quantity.milli("100u") == 1
    assert quantity.milli("1.0001") == 1001
    assert quantity.whole("1500m") == 2
    assert quantity.whole("-1500m") == -2
    assert quantity.whole("1Ki") == 1024


def test_compares_and_adds_exactly() -> None:
    assert quantity.parse("1Gi") > quantity.parse("1G")
    assert quantity.parse("1000m") == quantity.parse("1")
    assert str(quantity.parse("1Gi") + quantity.parse("512Mi")) == "1536Mi"
    assert str(quantity.parse("1") - quantity.parse("100m")) == "900m"
    assert str(-quantity.parse("2k")) == "-2k"
    assert not quantity.ZERO
    assert quantity.format(Fraction(1, 3)) == "333333334n"


@given(st.integers(min_value=-(2**62), max_value=2**62), st.sampled_from(list(Format)))
def test_canonical_form_is_stable(nano: int, style: Format) -> None:
    text = str(Quantity(nano, style))
    read = quantity.parse(text)
    assert read.nano == nano
    # A binary quantity that no power of 1024 divides has no suffix, and so is read as a decimal one.
    assert str(Quantity(read.nano, style)) == text
    assert style is Format.BINARY_SI or str(read) == text


@pytest.mark.parametrize(
    ("nano", "text"), [(125_000 * 10**9, "125000"), (2**20 * 10**9, "1Mi"), (2000 * 10**9 + 1, "2000000000001n")]
)
def test_binary_quantities_lose_nothing(nano: int, text: str) -> None:
    assert str(Quantity(nano, Format.BINARY_SI)) == text


@given(st.integers(min_value=0, max_value=2**62))
def test_decimal_text_keeps_the_amount(nano: int) -> None:
    assert quantity.parse(str(Quantity(nano))).nano == nano


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = quantity.parse(text)
    except QuantityError:
        return
    assert abs(found.value) <= 2**63 - 1
