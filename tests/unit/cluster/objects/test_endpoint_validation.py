"""EndpointSlices and Endpoints that are refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from harness.judging import Told, changed, created, new, updated

Obj = dict[str, Any]
SLICES, ENDPOINTS = "discovery.k8s.io/v1/endpointslices", "v1/endpoints"
SLICE: Obj = {
    "addressType": "IPv4",
    "endpoints": [
        {
            "addresses": ["10.1.2.3"],
            "nodeName": "n",
            "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "n"}]},
        }
    ],
    "ports": [{"port": 80}],
}
OLDER: Obj = {"subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]}
HINTS = "endpoints[0].hints"


def test_what_is_right_may_be_made_and_written_again() -> None:
    for path, body in ((SLICES, SLICE), (ENDPOINTS, OLDER)):
        assert created(path, body) == []
        assert updated(path, body, body) == []


def test_no_protocol_means_tcp_where_upstream_can_tell() -> None:
    empty = changed(OLDER, "subsets/0/ports/0/protocol", "")
    assert new(ENDPOINTS, empty)["subsets"][0]["ports"][0]["protocol"] == "TCP"
    told = created(SLICES, changed(SLICE, "ports/0/protocol", ""))
    assert told == [("ports[0].protocol", 'Unsupported value: "": supported values: "SCTP", "TCP", "UDP"')]


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("addressType", None, [("addressType", "Required value")]),
        ("endpoints/0/addresses", [], [("endpoints[0].addresses", "Required value: must contain at least 1 address")]),
        (
            "endpoints/0/hints/forZones",
            [{"name": "z"}, {"name": "z"}],
            [(f"{HINTS}.forZones[1].name", 'Duplicate value: "z"')],
        ),
        (
            "endpoints/0/hints/forNodes",
            [{"name": f"n{number}"} for number in range(9)],
            [(f"{HINTS}.forNodes", "Too many: 9: must have at most 8 items")],
        ),
        ("ports", [{}, {}], [("ports[1].name", 'Duplicate value: ""')]),
        ("ports/0/port", 0, [("ports[0].port", "Invalid value: 0: must be between 1 and 65535, inclusive")]),
    ],
)
def test_slices(place: str, value: Any, expected: Told) -> None:
    assert created(SLICES, changed(SLICE, place, value)) == expected


def test_a_slice_keeps_its_kind_of_addresses() -> None:
    other = {"addressType": "FQDN", "endpoints": [{"addresses": ["a.example.com"]}]}
    assert updated(SLICES, SLICE, other) == [("addressType", 'Invalid value: "FQDN": field is immutable')]
