"""HTTP extenders: webhooks that rule nodes out, rank them, bind, or choose who makes room.

Source: upstream's extender/v1 and HTTPExtender. On the wire fields are named as Go names them; those of answers may be
spelled in any case, as Go's decoder takes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from oarlock.actors.scheduler.extender_settings import ExtenderSettings
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.objects.status import ApiError

_GRADE_MAX = 10
"""What an extender's best grade is; it is stretched to ours."""
Object = Mapping[str, Any]
Spared = dict[str, tuple[list[str], int]]
Victims = Mapping[str, tuple[Sequence[PodFacts], int]]
"""Pods that would have to go, and how many budgets that breaks, by node."""


class ExtenderFailed(Exception):
    """An extender that can't be ignored gave no answer; the message is for the pod's owner."""


class Extender:
    """Asks one extender."""

    def __init__(self, settings: ExtenderSettings) -> None:
        self.settings = settings
        self._client = ApiClient(settings.client())

    def wants(self, pod: PodFacts) -> bool:
        """Whether the pod asks for any resource that the extender manages, if it manages any."""
        managed = self.settings.resources
        return not managed or any(pod.requests.get(name) for name in managed)

    async def filter(self, pod: Object, nodes: Sequence[Object]) -> tuple[list[str], dict[str, str], dict[str, str]]:
        """Return (names of nodes that pass, reasons against others, reasons against which preemption can't help).

        Raises ExtenderFailed.
        """
        names = [node["metadata"]["name"] for node in nodes]
        if not self.settings.filter_verb:
            return names, {}, {}
        answer = await self._unless_ignorable(self.settings.filter_verb, self._about(pod, nodes))
        if answer is None:
            return names, {}, {}
        said = _folded(answer)
        passed = said.get("nodenames") if self.settings.names_only else None
        if passed is None:
            passed = [node["metadata"]["name"] for node in _folded(said.get("nodes") or {}).get("items") or ()]
        for name in passed:
            if name not in names:
                claims = f'claims a filtered node "{name}" which is not found in the input node list'
                raise ExtenderFailed(f'extender "{self.settings.url}" {claims}')
        failed, unresolvable = said.get("failednodes") or {}, said.get("failedandunresolvablenodes") or {}
        return [name for name in names if name in set(passed)], dict(failed), dict(unresolvable)

    async def grade(self, pod: Object, nodes: Sequence[Object]) -> dict[str, int]:
        """Return points to add for each node; none if the extender doesn't answer, as upstream takes that."""
        if not self.settings.prioritize_verb:
            return {}
        try:
            answer = await self._post(self.settings.prioritize_verb, self._about(pod, nodes))
        except ExtenderFailed:
            return {}
        factor = self.settings.weight * (100 // _GRADE_MAX)
        grades = [_folded(one) for one in answer or ()]
        return {one["host"]: int(one["score"]) * factor for one in grades}

    async def spare(self, pod: Object, victims: Victims, pods: Mapping[str, Object]) -> Spared:
        """Return the nodes where room may be made: uids of those who go there, and how many budgets that breaks.

        `pods` are the objects by key. An extender that may be ignored agrees if it doesn't answer.
        Raises ExtenderFailed.
        """
        agreed = {node: ([one.uid for one in some], broken) for node, (some, broken) in victims.items()}
        body: dict[str, Any] = {"Pod": pod, "NodeNameToVictims": None, "NodeNameToMetaVictims": None}
        if self.settings.names_only:
            body["NodeNameToMetaVictims"] = {
                node: {"Pods": [{"UID": uid} for uid in uids], "NumPDBViolations": broken}
                for node, (uids, broken) in agreed.items()
            }
        else:
            body["NodeNameToVictims"] = {
                node: {"Pods": [pods[one.key] for one in some if one.key in pods], "NumPDBViolations": broken}
                for node, (some, broken) in victims.items()
            }
        answer = await self._unless_ignorable(self.settings.preempt_verb, body)
        if answer is None:
            return agreed
        given: Spared = {}
        for node, one in (_folded(answer).get("nodenametometavictims") or {}).items():
            told = _folded(one or {})
            uids = [_folded(pod)["uid"] for pod in told.get("pods") or ()]
            if uids:
                given[node] = (uids, int(told.get("numpdbviolations") or 0))
            elif not self.settings.ignorable:
                raise ExtenderFailed(f'expected at least one victim pod on node "{node}"')
        return given

    async def bind(self, pod: PodFacts, node: str) -> bool:
        """Have the extender bind the pod; False if it is not its business. Raises ExtenderFailed."""
        if not self.settings.bind_verb or not self.wants(pod):
            return False
        body = {"PodName": pod.name, "PodNamespace": pod.namespace, "PodUID": pod.uid, "Node": node}
        return await self._unless_ignorable(self.settings.bind_verb, body) is not None

    async def close(self) -> None:
        await self._client.close()

    def _about(self, pod: Object, nodes: Iterable[Object]) -> dict[str, Any]:
        if self.settings.names_only:
            return {"Pod": pod, "Nodes": None, "NodeNames": [node["metadata"]["name"] for node in nodes]}
        return {"Pod": pod, "Nodes": {"metadata": {}, "items": list(nodes)}, "NodeNames": None}

    async def _unless_ignorable(self, verb: str, body: Mapping[str, Any]) -> Any:
        """Return the answer, None if there is none although that doesn't matter. Raises ExtenderFailed."""
        try:
            answer = await self._post(verb, body) or {}
            if error := _folded(answer).get("error"):
                raise ExtenderFailed(str(error))
        except ExtenderFailed:
            if self.settings.ignorable:
                return None
            raise
        return answer

    async def _post(self, verb: str, body: Mapping[str, Any]) -> Any:
        url = f"{self.settings.url}/{verb}"
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                return await self._client.create(f"/{verb}", body)
        except ApiError as error:
            raise ExtenderFailed(f"failed {verb} with extender at URL {url}, code {error.code}") from error
        except TimeoutError:
            why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            raise ExtenderFailed(f'Post "{url}": {why}') from None
        except Unreachable as error:
            raise ExtenderFailed(f'Post "{url}": {error}') from error


def _folded(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields by their names in lower case."""
    return {name.lower(): value for name, value in given.items()}
