"""Real kubectl with a custom kind of two versions and its webhook: as docs/operations.md tells, to the letter."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.authority import Authority
from harness.conversion import Webhook, definition, plug, serving
from harness.kubectl import kubectl_beside_a_server

ALONE: dict[str, Any] = {"disabled_plugins": ("ServiceAccount",)}
SWITCH = """[
  {"op": "replace", "path": "/spec/versions/0/storage", "value": false},
  {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]"""
DROP = '[{"op": "remove", "path": "/spec/versions/0"}]'
STORED = '{"status": {"storedVersions": ["v2"]}}'
CRD = "plugs.example.com"


@contextmanager
def webhook_beside(folder: Path) -> Iterator[Webhook]:
    """Serve an honest webhook from a thread of its own."""
    ready, found, finish = threading.Event(), [], []

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with serving(Authority(folder)) as webhook:
            found.append(webhook)
            finish.append(lambda: loop.call_soon_threadsafe(stop.set))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(20), "the webhook did not start"
    try:
        yield found[0]
    finally:
        finish[0]()
        thread.join(20)


def test_a_storage_version_is_given_up(tool: Callable[[str], str], tmp_path: Path) -> None:
    with (
        kubectl_beside_a_server(tool("kubectl"), tmp_path / "api", **ALONE) as kubectl,
        webhook_beside(tmp_path / "hook") as webhook,
    ):
        kubectl("create", "-f", "-", given=json.dumps(definition(webhook.conversion())))
        kubectl("wait", "--for=condition=Established", f"crd/{CRD}")
        old, new = plug("a", address="h:1", note="n"), plug("b", "v2", host="i", port=2)
        kubectl("apply", "-f", "-", given=json.dumps({"kind": "List", "apiVersion": "v1", "items": [old, new]}))
        assert kubectl.json("get", "plugs.v2.example.com", "a")["spec"] == {"host": "h", "port": 1, "note": "n"}
        assert kubectl.json("get", "plugs.v1.example.com", "b")["spec"] == {"address": "i:2"}
        new["spec"]["port"] = 3
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=json.dumps(new))
        assert kubectl("explain", "plugs.spec", "--api-version=example.com/v1").count("address") == 1
        kubectl("patch", "crd", CRD, "--type", "json", "-p", SWITCH)
        assert kubectl.json("get", "crd", CRD)["status"]["storedVersions"] == ["v1", "v2"]
        refused = kubectl.run("patch", "crd", CRD, "--type", "json", "-p", DROP)
        assert refused.returncode != 0
        assert "v1 was previously a storage version" in refused.stderr
        kubectl("replace", "-f", "-", given=kubectl("get", "plugs.v2.example.com", "-A", "-o", "json"))
        kubectl("patch", "crd", CRD, "--subresource", "status", "--type", "merge", "-p", STORED)
        kubectl("patch", "crd", CRD, "--type", "json", "-p", DROP)
        asked = len(webhook.reviews)
        shown = kubectl.json("get", "plugs", "-A")["items"]
        assert [one["spec"] for one in shown] == [{"host": "h", "port": 1, "note": "n"}, {"host": "i", "port": 3}]
        assert len(webhook.reviews) == asked, "what has been written again needs no webhook any more"
