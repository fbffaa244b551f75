"""A conversion webhook that fails holds up what needs it, and nothing else: neither collection nor other deletions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from harness.authority import Authority
from harness.controllers import acting, cluster
from harness.conversion import definition, honest, plug, serving

from oarlock.actors.controllers import monitors

Object = dict[str, Any]
MAPS = "/api/v1/namespaces/{}/configmaps"
PLUGS = "/apis/example.com/v1/namespaces/{}/plugs"


def config(name: str, owner: Object | None = None) -> Object:
    metadata: Object = {"name": name}
    if owner is not None:
        named = {key: owner[key] for key in ("apiVersion", "kind")}
        metadata["ownerReferences"] = [{**named, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def test_a_namespace_waits_for_its_webhook_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitors, "_SYNC_TIMEOUT_S", 1.0)

    async def broken(_: Object) -> web.StreamResponse:
        return web.Response(status=500, text="down")

    async def working(review: Object) -> web.StreamResponse:
        return web.json_response(honest(review))

    async def main() -> None:
        async with cluster() as here, serving(Authority(tmp_path)) as webhook:
            webhook.answering = broken
            definitions = here.watch("apiextensions.k8s.io", "v1", "customresourcedefinitions")
            maps, namespaces = here.watch("", "v1", "configmaps"), here.watch("", "v1", "namespaces")
            here.informers.start()
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            await here.client.create(path, definition(webhook.conversion()))

            def served() -> bool:
                found = definitions.get("plugs.example.com") or {}
                conditions = (found.get("status") or {}).get("conditions") or ()
                return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)

            def failing() -> bool:
                conditions = ((namespaces.get("doomed") or {}).get("status") or {}).get("conditions") or ()
                told = "conversion webhook for example.com/v1, Kind=Plug failed"
                return any(one["status"] == "True" and told in one["message"] for one in conditions)

            await here.until(served)
            await here.client.create(
                "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "doomed"}}
            )
            await here.client.create(PLUGS.format("doomed"), plug("a"))
            await here.client.create(MAPS.format("doomed"), config("gone"))
            async with acting(here):
                await here.client.delete("/api/v1/namespaces/doomed")
                await here.until(failing)
                assert maps.get("doomed/gone") is None
                owner = await here.client.create(MAPS.format("default"), config("owner"))
                await here.client.create(MAPS.format("default"), config("owned", owner))
                await here.until(lambda: maps.get("default/owned") is not None)
                await here.client.delete(MAPS.format("default") + "/owner")
                await here.until(lambda: maps.get("default/owned") is None)
                webhook.answering = working
                await here.until(lambda: namespaces.get("doomed") is None)

    asyncio.run(main())
