"""What a connection remembers of its client, and what it lets go while a watch lasts."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.apiserver.connection import read_peer

MAPS = "/api/v1/namespaces/default/configmaps"


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


def test_a_connection_is_used_again_after_a_watch_and_closed_if_idle(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        async with api.watch(f"{MAPS}?watch=1&resourceVersion=1&timeoutSeconds=1") as event:
            (connection,) = api.server._front._connections.connections
            assert connection._keepalive_handle is None, "a watch may last longer than a connection may be idle"
            assert await event() is None
        for _ in range(2):  # the second is answered when the first is over for the server too
            code, _ = await api("GET", MAPS)
            assert code == 200
        assert list(api.server._front._connections.connections) == [connection]
        assert connection._keepalive_handle is not None

    with_api(scenario)
