"""An operator that uses most of what kopf offers, over a kind of its own: databases.example.com.

What it does is all to be seen in the API: a Secret with each database's credentials, a ConfigMap while its agent runs,
and the object's status. Run with DATABASES_OPERATOR, a name that it signs with.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import kopf
import kr8s
from kr8s.asyncio.objects import ConfigMap, Secret

SELF = os.environ.get("DATABASES_OPERATOR", "one")
KIND = ("example.com", "v1", "databases")


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.persistence.finalizer = "example.com/databases"
    settings.peering.lifetime = 3
    settings.watching.server_timeout = 5  # several watches in a test's time, each going on from the last


@kopf.index(*KIND)
def by_owner(spec: kopf.Spec, name: str, **_: Any) -> dict[str, str]:
    """The databases of each owner, kept by kopf from its watch."""
    return {spec["owner"]: name}


@kopf.on.create(*KIND)
async def created(body: kopf.Body, name: str, namespace: str, patch: kopf.Patch, **_: Any) -> dict[str, str]:
    await credentials(body, name, namespace)
    patch.status["signed"] = SELF
    kopf.event(body, type="Normal", reason="Provisioned", message=f"credentials are in {name}-credentials")
    return {"secret": f"{name}-credentials"}


async def credentials(body: Any, name: str, namespace: str) -> None:
    data = {"metadata": {"name": f"{name}-credentials", "labels": {"database": name}}, "stringData": {"user": name}}
    kopf.adopt(data, owner=body)
    secret = await Secret(data, namespace=namespace)
    if not await secret.exists():
        await secret.create()


@kopf.on.update(*KIND, field="spec.engine")
def moved(old: str, new: str, patch: kopf.Patch, **_: Any) -> None:
    patch.status["moved"] = f"{old} to {new}"


@kopf.on.field(*KIND, field="spec.gibibytes")
def sized(old: int | None, new: int | None, status: kopf.Status, patch: kopf.Patch, **_: Any) -> None:
    if new is not None:
        patch.status["gibibytes"] = new
        patch.status["sizes"] = [*status.get("sizes", []), [old, new]]


@kopf.on.resume(*KIND)
def resumed(status: kopf.Status, patch: kopf.Patch, **_: Any) -> None:
    patch.status["resumed"] = status.get("resumed", 0) + 1


@kopf.on.delete(*KIND, backoff=0.2)
async def deleted(name: str, namespace: str, retry: int, **_: Any) -> None:
    """Fail once, as things do; the finalizer holds the object until the second try."""
    if retry == 0:
        raise kopf.TemporaryError("the backup isn't complete", delay=0.2)
    await (await ConfigMap({"metadata": {"name": f"{name}-backup"}}, namespace=namespace)).create()


@kopf.timer(*KIND, interval=0.3)
def counted(spec: kopf.Spec, by_owner: kopf.Index, status: kopf.Status, patch: kopf.Patch, **_: Any) -> None:
    """Keep up to date how many databases the owner has, by the index."""
    count = len(by_owner.get(spec["owner"], []))
    if status.get("ofThisOwner") != count:
        patch.status["ofThisOwner"] = count


@kopf.daemon(*KIND, cancellation_timeout=2.0)
async def agent(body: kopf.Body, name: str, namespace: str, stopped: kopf.DaemonStopped, **_: Any) -> None:
    """Be at work for as long as the database and the operator are."""
    mark = await ConfigMap({"metadata": {"name": f"{name}-agent"}, "data": {"by": SELF}}, namespace=namespace)
    try:
        await mark.create()
    except kr8s.ServerError as failure:
        if failure.response is None or failure.response.status_code != 409:
            raise
    await stopped.wait()
    await mark.delete()


@kopf.on.event("v1", "secrets", labels={"database": kopf.PRESENT})
async def mended(event: kopf.RawEvent, name: str, labels: kopf.Labels, namespace: str, **_: Any) -> None:
    """Make credentials that somebody deleted anew, unless the database goes too."""
    if event["type"] != "DELETED":
        return
    databases = kr8s.asyncio.objects.new_class("Database", "example.com/v1", namespaced=True)
    try:
        owner = await databases.get(labels["database"], namespace=namespace)
    except kr8s.NotFoundError:
        return
    if not owner.metadata.get("deletionTimestamp"):
        await asyncio.shield(credentials(owner.raw, owner.name, namespace))
