"""A KubeSchedulerConfiguration file: profiles, their plugins and weights, back-off, extenders.

Source: upstream's kubescheduler.config.k8s.io/v1. What concerns its processes alone (leader election, connections,
metrics) is accepted and has no effect here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from oarlock.actors.scheduler.arguments import BUILT_IN, Parts, with_arguments
from oarlock.actors.scheduler.extender_settings import ExtenderSettings, extenders
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.guarding import Guarded
from oarlock.actors.scheduler.loading import Plugins
from oarlock.actors.scheduler.located import Broken, Section, document
from oarlock.actors.scheduler.plugin import has
from oarlock.actors.scheduler.plugins import DEFAULT
from oarlock.actors.scheduler.plugins.node_resources_fit import NodeResourcesFit
from oarlock.actors.scheduler.profile import DEFAULT_NAME, Profile

API_VERSION, KIND = "kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration"
_ELSEWHERE = (
    "parallelism",
    "leaderElection",
    "clientConnection",
    "delayCacheUntilActive",
    "enableProfiling",
    "enableContentionProfiling",
)
_POINTS = {
    "preEnqueue": "gate",
    "queueSort": "sort",
    "preFilter": "filter",
    "filter": "filter",
    "postFilter": "preemption",
    "preScore": "score",
    "score": "score",
    "reserve": "step",
    "permit": "step",
    "preBind": "step",
    "bind": "step",
    "postBind": "step",
}
"""Upstream's extension points, and which part of a plugin each turns on or off."""

Order = Callable[[PodFacts], Any]


@dataclass(frozen=True)
class Configuration:
    """What the scheduler runs by. `order` sorts waiting pods."""

    profiles: Mapping[str, Profile]
    backoff_s: float = 1.0
    backoff_max_s: float = 10.0
    order: Order | None = None
    extenders: tuple[ExtenderSettings, ...] = ()


def default(name: str = DEFAULT_NAME) -> Configuration:
    """Return the configuration without a file."""
    return Configuration({name: replace(DEFAULT, name=name)})


def read(source: str, text: str, plugins: Plugins) -> Configuration:
    """Read a configuration file; `plugins` are those of one's own by name. Raises Broken."""
    root = document(source, text)
    if root.get("apiVersion", str, "") != API_VERSION:
        raise root.broken("apiVersion", f"must be {API_VERSION}")
    if root.get("kind", str, "") != KIND:
        raise root.broken("kind", f"must be {KIND}")
    for name in _ELSEWHERE:
        root.get(name, object, None)
    percent = _percent(root)
    backoff, backoff_max = root.get("podInitialBackoffSeconds", int, 1), root.get("podMaxBackoffSeconds", int, 10)
    if backoff < 1:
        raise root.broken("podInitialBackoffSeconds", "must be at least 1")
    if backoff_max < backoff:
        raise root.broken("podMaxBackoffSeconds", "must not be less than podInitialBackoffSeconds")
    reader = _Profiles(plugins, percent)
    for section in root.sections("profiles"):
        reader.add(section)
    asked = extenders(list(root.sections("extenders")))
    root.done()
    profiles = reader.profiles or dict(default().profiles)
    ignored = frozenset(name for one in asked for name in one.ignored_by_scheduler)
    if ignored:
        profiles = {name: _ignoring(profile, ignored) for name, profile in profiles.items()}
    return Configuration(profiles, backoff, backoff_max, reader.order, asked)


def _ignoring(profile: Profile, resources: frozenset[str]) -> Profile:
    """Return the profile that leaves these resources to extenders."""
    filters = (one.ignoring(resources) if isinstance(one, NodeResourcesFit) else one for one in profile.filters)
    return replace(profile, filters=tuple(filters))


def _percent(section: Section, default_percent: int = 0) -> int:
    percent = section.get("percentageOfNodesToScore", int, default_percent)
    if not 0 <= percent <= 100:
        raise section.broken("percentageOfNodesToScore", "must be from 0 to 100")
    return percent


class _Profiles:
    """Reads one profile after the other; all of them share one order of waiting pods."""

    def __init__(self, plugins: Plugins, percent: int) -> None:
        self.profiles: dict[str, Profile] = {}
        self.order: Order | None = None
        self._plugins, self._percent = plugins, percent
        self._sorter: str | None = None

    def add(self, section: Section) -> None:
        """Read one more. Raises Broken."""
        name = section.get("schedulerName", str, DEFAULT_NAME)
        if name in self.profiles:
            raise section.broken("schedulerName", f"{name!r} is another profile's too")
        enabled = _Enabled(section.section("plugins"), self._plugins)
        parts = self._parts(section, enabled)
        self._sort(section, [one for one in enabled.at("sort") if one != "PrioritySort"], parts)
        filters = [parts[one].filter for one in enabled.at("filter")]
        preemption = next((parts[one].preemption for one in enabled.at("preemption") if parts[one].preemption), None)
        self.profiles[name] = Profile(
            name,
            tuple(one for one in filters if one is not None),
            tuple(
                (s, w) for one in enabled.at("score") if (s := parts[one].score) and (w := enabled.weight(one, parts))
            ),
            tuple(step for one in enabled.at("step") if (step := parts[one].step) is not None),
            preemption,
            nodes_percent=_percent(section, self._percent),
            releases="DynamicResources" in enabled.at("preemption"),
            gates=tuple(gate for one in enabled.at("gate") if (gate := parts[one].gate) is not None),
            rescues=tuple(one for name in enabled.at("preemption") if (one := parts[name].rescue) is not None),
            guarded=any(one in self._plugins for one in enabled.names),
        )
        section.done()

    def _parts(self, section: Section, enabled: _Enabled) -> dict[str, Parts]:
        arguments: dict[str, Section | None] = {}
        for one in section.sections("pluginConfig"):
            name = one.get("name", str, "")
            if name not in BUILT_IN and name not in self._plugins:
                raise one.broken("name", f"{name!r} is no plugin")
            if name in arguments:
                raise one.broken("name", f"{name!r} is configured twice")
            arguments[name] = one.section("args")
            one.done()
        return {name: self._made(name, arguments.get(name), section) for name in enabled.names}

    def _made(self, name: str, args: Section | None, section: Section) -> Parts:
        if name in BUILT_IN:
            return BUILT_IN[name] if args is None else with_arguments(name, BUILT_IN[name], args)
        kind = self._plugins[name]
        try:
            plugin = kind({} if args is None else args.values())
        except Exception as error:
            where = args or section
            raise Broken(where.source, where.line, f"plugin {name!r}: {type(error).__name__}: {error}") from error
        guarded = Guarded(plugin)
        return Parts(
            guarded if has(kind, "filter") else None,
            guarded if has(kind, "score") else None,
            plugin.weight,
            plugin,
            gate=guarded.gate if has(kind, "preEnqueue") else None,
            rescue=guarded.rescue if has(kind, "postFilter") else None,
            order=guarded.order if has(kind, "queueSort") else None,
        )

    def _sort(self, section: Section, sorters: Iterable[str], parts: Mapping[str, Parts]) -> None:
        own = [one for one in sorters if one in self._plugins and has(self._plugins[one], "queueSort")]
        sorter = own[0] if own else "PrioritySort"
        if len(own) > 1 or (self._sorter or sorter) != sorter:
            raise section.broken("plugins", "must name one queueSort plugin, the same in every profile")
        self._sorter = sorter
        if own:
            self.order = parts[sorter].order


class _Enabled:
    """Which plugins a profile has at each point: the defaults, less what it disables, and what it enables."""

    def __init__(self, section: Section | None, plugins: Plugins) -> None:
        self._plugins = plugins
        self._weights: dict[str, int] = {}
        everywhere, never = self._set(section, "multiPoint")
        kept = [] if "*" in never else [name for name in BUILT_IN if name not in never]
        self._everywhere = [*kept, *(name for name in everywhere if name not in kept)]
        self._points: dict[str, tuple[list[str], set[str]]] = {}
        for point, part in _POINTS.items():
            enabled, disabled = self._set(section, point)
            had, gone = self._points.get(part, ([], set()))
            self._points[part] = ([*had, *enabled], gone | disabled)
        if section is not None:
            section.done()

    @property
    def names(self) -> list[str]:
        named = [name for enabled, _ in self._points.values() for name in enabled]
        return list(dict.fromkeys((*self._everywhere, *named)))

    def at(self, part: str) -> list[str]:
        """Return the plugins that have a say there, those named for that very point first."""
        enabled, disabled = self._points[part]
        rest = [] if "*" in disabled else [name for name in self._everywhere if name not in disabled]
        return list(dict.fromkeys((*enabled, *rest)))

    def weight(self, name: str, parts: Mapping[str, Parts]) -> int:
        return self._weights.get(name) or parts[name].weight

    def _set(self, section: Section | None, point: str) -> tuple[list[str], set[str]]:
        found = None if section is None else section.section(point)
        if found is None:
            return [], set()
        enabled: list[str] = []
        for one in found.sections("enabled"):
            name = one.get("name", str, "")
            if name not in BUILT_IN and name not in self._plugins:
                raise one.broken("name", f"{name!r} is no plugin")
            if name in enabled:
                raise one.broken("name", f"{name!r} is enabled twice")
            weight = one.get("weight", int, 0)
            if not 0 <= weight <= 100:
                raise one.broken("weight", "must be from 0 to 100")
            if weight:
                self._weights[name] = weight
            one.done()
            enabled.append(name)
        disabled = set()
        for one in found.sections("disabled"):
            disabled.add(one.get("name", str, ""))
            one.get("weight", int, 0)
            one.done()
        found.done()
        return enabled, disabled
