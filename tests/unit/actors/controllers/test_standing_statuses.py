"""A status that stands is told whatever else of its object has changed; one that doesn't, only on the same version."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from harness.controllers import DEPLOYMENT, DEPLOYMENTS, cluster

from oarlock.actors.controllers.actions import Outcome, Performer, UpdateStatus
from oarlock.cluster.objects.status import ApiError

STATUS = {"observedGeneration": 1, "replicas": 3}


async def _tell(here: Any, decided_on: dict[str, Any], *, stands: bool) -> None:
    performer = Performer(here.client, None, "test")  # type: ignore[arg-type]  # nothing is recorded
    await performer.perform([UpdateStatus({**decided_on, "status": STATUS}, stands=stands)], Outcome())


def test_changes_meanwhile_are_kept_beside_it() -> None:
    async def scenario() -> None:
        async with cluster() as here:
            path = f"{DEPLOYMENTS}/{DEPLOYMENT['metadata']['name']}"
            decided_on = await here.client.create(DEPLOYMENTS, DEPLOYMENT)
            change = {"metadata": {"annotations": {"note": "mine"}}, "spec": {"replicas": 7}}
            await here.client.patch(path, change)
            await _tell(here, decided_on, stands=True)
            found = await here.client.get(path)
            assert found["status"] == STATUS
            assert found["spec"]["replicas"] == 7
            assert found["metadata"]["annotations"]["note"] == "mine"

    asyncio.run(scenario())


def test_one_that_does_not_stand_wants_the_same_version() -> None:
    async def scenario() -> None:
        async with cluster() as here:
            path = f"{DEPLOYMENTS}/{DEPLOYMENT['metadata']['name']}"
            decided_on = await here.client.create(DEPLOYMENTS, DEPLOYMENT)
            await here.client.patch(path, {"spec": {"replicas": 7}})
            with pytest.raises(ApiError) as refused:
                await _tell(here, decided_on, stands=False)
            assert refused.value.code == 409

    asyncio.run(scenario())


def test_it_is_not_told_of_another_object_of_that_name() -> None:
    async def scenario() -> None:
        async with cluster() as here:
            path = f"{DEPLOYMENTS}/{DEPLOYMENT['metadata']['name']}"
            decided_on = await here.client.create(DEPLOYMENTS, DEPLOYMENT)
            await here.client.delete(path)
            await here.client.create(DEPLOYMENTS, DEPLOYMENT)
            with pytest.raises(ApiError):
                await _tell(here, decided_on, stands=True)
            assert "replicas" not in (await here.client.get(path))["status"]

    asyncio.run(scenario())
