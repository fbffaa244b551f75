"""HTTP extenders: webhooks that rule nodes out, rank them, or bind. Source: upstream's extender/v1 and HTTPExtender."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.located import Section
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.settings import ClientSettings
from oarlock.cluster.objects.status import ApiError

_GRADE_MAX = 10
"""What an extender's best grade is; it is stretched to ours."""
_TIMEOUT_S = 5.0
Object = Mapping[str, Any]


class ExtenderFailed(Exception):
    """An extender that can't be ignored gave no answer; the message is for the pod's owner."""


@dataclass(frozen=True, slots=True)
class ExtenderSettings:
    """Where an extender is and what it is asked: a verb that is empty isn't. `resources`, if any, tell which pods."""

    url: str
    filter_verb: str = ""
    prioritize_verb: str = ""
    bind_verb: str = ""
    weight: int = 1
    timeout_s: float = _TIMEOUT_S
    names_only: bool = False
    ignorable: bool = False
    resources: frozenset[str] = frozenset()
    ignored_by_scheduler: frozenset[str] = frozenset()


def extender(section: Section) -> ExtenderSettings:
    """Read one extender of the configuration. Raises Broken."""
    url = section.get("urlPrefix", str, "")
    if not url.startswith(("http://", "https://")):
        raise section.broken("urlPrefix", "must be an http or https URL")
    weight = section.get("weight", int, 1)
    if weight < 1:
        raise section.broken("weight", "must be positive")
    if section.get("preemptVerb", str, ""):
        raise section.broken("preemptVerb", "is not supported")
    if section.get("enableHTTPS", bool, default=False) or section.section("tlsConfig") is not None:
        raise section.broken("tlsConfig", "is not supported: only certificates of public authorities are")
    resources: set[str] = set()
    ignored: set[str] = set()
    for one in section.sections("managedResources"):
        name = one.get("name", str, "")
        resources.add(name)
        if one.get("ignoredByScheduler", bool, default=False):
            ignored.add(name)
        one.done()
    made = ExtenderSettings(
        url.rstrip("/"),
        section.get("filterVerb", str, ""),
        section.get("prioritizeVerb", str, ""),
        section.get("bindVerb", str, ""),
        weight,
        section.seconds("httpTimeout", _TIMEOUT_S),
        section.get("nodeCacheCapable", bool, default=False),
        section.get("ignorable", bool, default=False),
        frozenset(resources),
        frozenset(ignored),
    )
    section.done()
    return made


class Extender:
    """Asks one extender."""

    def __init__(self, settings: ExtenderSettings) -> None:
        self.settings = settings
        self._client = ApiClient(ClientSettings(settings.url, timeout_s=settings.timeout_s))

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
        answer = await self._ask(self.settings.filter_verb, pod, nodes)
        if answer is None:
            return names, {}, {}
        if answer.get("error"):
            raise ExtenderFailed(str(answer["error"]))
        passed = answer.get("nodenames")
        if passed is None:
            passed = [node["metadata"]["name"] for node in (answer.get("nodes") or {}).get("items") or ()]
        return (
            [name for name in names if name in set(passed)],
            dict(answer.get("failedNodes") or {}),
            dict(answer.get("failedAndUnresolvableNodes") or {}),
        )

    async def grade(self, pod: Object, nodes: Sequence[Object]) -> dict[str, int]:
        """Return points to add for each node; none if the extender doesn't answer, as upstream takes that."""
        if not self.settings.prioritize_verb:
            return {}
        try:
            answer = await self._ask(self.settings.prioritize_verb, pod, nodes)
        except ExtenderFailed:
            return {}
        grades: Any = answer or ()
        factor = self.settings.weight * (100 // _GRADE_MAX)
        return {one["host"]: int(one["score"]) * factor for one in grades}

    async def bind(self, pod: PodFacts, node: str) -> bool:
        """Have the extender bind the pod; False if it is not its business. Raises ExtenderFailed."""
        if not self.settings.bind_verb or not self.wants(pod):
            return False
        body = {"podName": pod.name, "podNamespace": pod.namespace, "podUID": pod.uid, "node": node}
        answer = await self._post(self.settings.bind_verb, body)
        if answer.get("error"):
            raise ExtenderFailed(str(answer["error"]))
        return True

    async def close(self) -> None:
        await self._client.close()

    async def _ask(self, verb: str, pod: Object, nodes: Sequence[Object]) -> Any:
        if self.settings.names_only:
            what: dict[str, Any] = {"nodenames": [node["metadata"]["name"] for node in nodes]}
        else:
            what = {"nodes": {"apiVersion": "v1", "kind": "NodeList", "items": list(nodes)}}
        try:
            return await self._post(verb, {"pod": pod, **what})
        except ExtenderFailed:
            if self.settings.ignorable:
                return None
            raise

    async def _post(self, verb: str, body: Mapping[str, Any]) -> Any:
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                return await self._client.create(f"/{verb}", body)
        except (ApiError, Unreachable, TimeoutError) as error:
            raise ExtenderFailed(f"extender {self.settings.url} failed: {error or type(error).__name__}") from error
