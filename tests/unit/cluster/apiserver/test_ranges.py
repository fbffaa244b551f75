"""Which numbers a range holds, and which band of them is given out unasked."""

from __future__ import annotations

import random

import pytest

from oarlock.cluster.apiserver.allocation.ranges import AddressRange, node_ports


@pytest.mark.parametrize(
    ("cidr", "first", "dynamic", "last"),
    [
        ("10.0.0.0/16", "10.0.0.1", "10.0.1.1", "10.0.255.254"),
        ("10.0.0.0/24", "10.0.0.1", "10.0.0.17", "10.0.0.254"),
        ("10.0.0.0/27", "10.0.0.1", "10.0.0.17", "10.0.0.30"),
        ("10.0.0.0/28", "10.0.0.1", "10.0.0.1", "10.0.0.14"),
        ("127.130.0.0/16", "127.130.0.1", "127.130.1.1", "127.130.255.254"),
        ("fd00::/112", "fd00::1", "fd00::101", "fd00::ffff"),
        ("fd00::/64", "fd00::1", "fd00::101", "fd00::ffff:ffff:ffff:ffff"),
    ],
)
def test_the_bands_of_addresses(cidr: str, first: str, dynamic: str, last: str) -> None:
    found = AddressRange.of(cidr)
    assert [found.text(one) for one in (found.span.first, found.span.dynamic.first, found.span.last)] == [
        first,
        dynamic,
        last,
    ]
    assert found.holds(first)
    assert found.holds(last)
    assert not found.holds(found.text(found.network))


@pytest.mark.parametrize("cidr", ["10.0.0.0/31", "10.0.0.0/32"])
def test_ranges_without_addresses(cidr: str) -> None:
    assert list(AddressRange.of(cidr).span.around(random.Random(1))) == []


@pytest.mark.parametrize(
    ("limits", "dynamic"),
    [((30000, 32767), 30086), ((30000, 30015), 30000), ((30000, 30063), 30016), ((1, 65535), 129)],
)
def test_the_bands_of_ports(limits: tuple[int, int], dynamic: int) -> None:
    assert node_ports(*limits).dynamic.first == dynamic


def test_every_number_comes_once_and_the_dynamic_band_first() -> None:
    span = node_ports(30000, 30063)
    found = list(span.around(random.Random(7)))
    assert sorted(found) == list(range(30000, 30064))
    assert set(found[:48]) == set(range(30016, 30064))
