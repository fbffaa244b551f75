"""What a fresh cluster has, with what upstream's server would say of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from harness.apiserver import start_api_server

from oarlock.cluster.apiserver import clock, defaults
from oarlock.cluster.objects import resources

PRESENT = [
    ("/apis/apiregistration.k8s.io/v1/apiservices", 21, "v1.apps"),
    ("/apis/scheduling.k8s.io/v1/priorityclasses", 2, "system-node-critical"),
    ("/api/v1/namespaces", 4, "kube-node-lease"),
]


@pytest.mark.parametrize(("path", "count", "name"), PRESENT)
def test_a_fresh_cluster_has_its_defaults(with_api: Any, path: str, count: int, name: str) -> None:
    async def scenario(api: Any) -> None:
        code, found = await api("GET", path)
        names = [one["metadata"]["name"] for one in found["items"]]
        assert (code, len(names), name in names) == (200, count, True)

    with_api(scenario)


def test_api_services_are_available(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        _, service = await api("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps")
        assert service["status"]["conditions"][0]["reason"] == "Local"
        path = "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking"
        assert len((await api("GET", path))[1]["data"]["since"]) == len("2026-01-01")

    with_api(scenario)


def test_every_group_that_is_served_says_so() -> None:
    served = {(one.group, one.version) for one in resources.RESOURCES}
    told = {(made["spec"].get("group", ""), made["spec"]["version"]) for _, made in defaults.api_services(clock.now())}
    assert told | {("apiregistration.k8s.io", "v1")} == served


def test_other_servers_learn_whom_to_trust(tmp_path: Path) -> None:
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    tokens = tmp_path / "tokens.csv"
    tokens.write_text('t,admin,1,"system:masters"\n')

    async def told() -> tuple[Any, str]:
        async with start_api_server(tmp_path, token_file=str(tokens)) as api, aiohttp.ClientSession() as session:
            headers = {"Authorization": "Bearer t"}
            async with session.get(api.url + path, headers=headers, ssl=False) as answer:
                return (await answer.json())["data"], api.admin.ca_file

    data, ca_file = asyncio.run(told())
    assert data == {"client-ca-file": Path(ca_file).read_text()}
