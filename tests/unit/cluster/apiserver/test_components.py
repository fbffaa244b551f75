"""ComponentStatuses: who holds a lease is well."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.model import MemberStatus, Unavailable

PATH = "/api/v1/componentstatuses"


def told(answer: Any) -> dict[str, tuple[str, str]]:
    """Each component's status, and its message or error."""
    rows = {one["metadata"]["name"]: one["conditions"][0] for one in answer["items"]}
    return {name: (row["status"], row.get("message") or row.get("error")) for name, row in rows.items()}


def test_components_are_as_their_leases_and_the_store(with_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(api: Any) -> None:
        _, none = await api("GET", PATH)
        assert told(none) == {
            "controller-manager": ("Unknown", "nobody holds the lease kube-controller-manager"),
            "etcd-0": ("True", "ok"),
            "scheduler": ("Unknown", "nobody holds the lease kube-scheduler"),
        }
        await api("POST", "/oarlock/v1/leases/kube-scheduler/acquire", {"identity": "me", "ttlMillis": 60_000})
        code, one = await api("GET", f"{PATH}/scheduler")
        assert (code, one["kind"]) == (200, "ComponentStatus")
        assert one["conditions"] == [{"type": "Healthy", "status": "True", "message": "ok"}]
        _, selected = await api("GET", f"{PATH}?fieldSelector=metadata.name%3Dscheduler")
        assert told(selected) == {"scheduler": ("True", "ok")}
        _, table = await api("GET", PATH, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        assert [row["cells"] for row in table["rows"]][2] == ["scheduler", "Healthy", "ok", ""]
        assert (await api("GET", f"{PATH}/other"))[0] == 404

        async def unreachable(self: MemoryStore) -> list[MemberStatus]:
            raise Unavailable("no leader")

        monkeypatch.setattr(MemoryStore, "status", unreachable)
        assert told((await api("GET", PATH))[1])["etcd-0"] == ("Unknown", "no leader")

    with_api(scenario)
