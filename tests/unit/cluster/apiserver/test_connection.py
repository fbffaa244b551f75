"""What a connection remembers of its client, and what it lets go while a watch lasts."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.apiserver.connection import read_peer


@pytest.mark.parametrize(
    ("certificate", "peer"),
    [
        (
            {"subject": ((("organizationName", "a"),), (("organizationName", "b"),), (("commonName", "me"),))},
            ("me", ("a", "b")),
        ),
        ({"subject": ((("organizationName", "a"), ("commonName", "me")),), "serialNumber": "1"}, ("me", ("a",))),
        ({"serialNumber": "1"}, ("", ())),
        ({}, None),
        (None, None),
    ],
)
def test_a_certificate_is_read_once_and_not_kept(certificate: Any, peer: Any) -> None:
    assert read_peer(certificate) == peer
    assert not certificate
