"""Configuration files and plugins of one's own: what they change, and what is refused with its line."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness.scheduling import node_object, pod_object

from oarlock.actors.scheduler.configuration import Configuration, read
from oarlock.actors.scheduler.decision import Placement, Unschedulable, decide
from oarlock.actors.scheduler.facts import node_facts, pod_facts
from oarlock.actors.scheduler.framework import PluginFailed
from oarlock.actors.scheduler.guarding import limited
from oarlock.actors.scheduler.loading import found
from oarlock.actors.scheduler.located import Broken
from oarlock.actors.scheduler.plugins import FILTERS, SCORES
from oarlock.actors.scheduler.preemption import Nomination
from oarlock.actors.scheduler.queue import Rules, SchedulingQueue
from oarlock.actors.scheduler.snapshot import Snapshot
from oarlock.actors.scheduler.testing import Trial

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
PLUGIN = """
from oarlock.actors.scheduler.framework import Failure
from oarlock.actors.scheduler.plugin import Plugin


class SpotsLast(Plugin):
    name = "SpotsLast"
    local = True

    def prepare(self, pod, snapshot):
        if pod.labels.get("spot") != "never":
            return None
        return lambda node: Failure(("node(s) were spot",), final=True) if node.labels.get("spot") else None

    def grade(self, pod, snapshot, nodes):
        return {node.name: 0 if node.labels.get("spot") else 100 for node in nodes}
"""


def configured(text: str, plugins: dict[str, Any] | None = None) -> Configuration:
    return read("s.yaml", HEAD + text, plugins or {})


def snapshot(**cpus: str) -> Snapshot:
    made = Snapshot()
    for name, cpu in cpus.items():
        made.put_node(node_facts(node_object(name, cpu=cpu)))
    return made


def plugin_file(folder: Path, text: str = PLUGIN) -> str:
    path = folder / "own.py"
    path.write_text(text)
    return str(path)


def test_an_empty_configuration_is_the_default() -> None:
    (profile,) = configured("").profiles.values()
    assert (profile.name, profile.filters, profile.scores) == ("default-scheduler", FILTERS, SCORES)


def test_profiles_switch_plugins_and_weigh_them() -> None:
    made = configured(
        """
profiles:
- schedulerName: tight
  percentageOfNodesToScore: 70
  plugins:
    multiPoint:
      disabled: [{name: ImageLocality}]
    score:
      disabled: [{name: "*"}]
      enabled: [{name: NodeResourcesFit, weight: 7}]
    postFilter:
      disabled: [{name: DefaultPreemption}]
  pluginConfig:
  - name: NodeResourcesFit
    args:
      scoringStrategy: {type: MostAllocated}
- schedulerName: default-scheduler
"""
    )
    tight = made.profiles["tight"]
    assert [(score.name, weight) for score, weight in tight.scores] == [("NodeResourcesFit", 7)]
    assert tight.preemption is None
    assert tight.nodes_percent == 70
    emptier = snapshot(small="2", large="8")
    assert decide(pod_facts(pod_object(cpu="1")), emptier, profile=tight).node == "small"  # type: ignore[union-attr]
    usual = made.profiles["default-scheduler"]
    assert decide(pod_facts(pod_object(cpu="1")), emptier, profile=usual).node == "large"  # type: ignore[union-attr]


def test_without_preemption_nothing_is_said_of_it() -> None:
    (profile,) = configured("profiles: [{plugins: {postFilter: {disabled: [{name: '*'}]}}}]").profiles.values()
    refused = decide(pod_facts(pod_object(cpu="9")), snapshot(n="2"), profile=profile)
    assert isinstance(refused, Unschedulable)
    assert refused.message == "0/1 nodes are available: 1 Insufficient cpu."


BROKEN = [
    ("profiles:\n- schedulerNam: x\n", 4, "profiles[0].schedulerNam is unknown"),
    ("profiles:\n- plugins:\n    score:\n      enabled:\n      - name: Nope\n", 7, "'Nope' is no plugin"),
    ("podInitialBackoffSeconds: soon\n", 3, "podInitialBackoffSeconds must be a whole number, not 'soon'"),
    ("podMaxBackoffSeconds: 0\n", 3, "podMaxBackoffSeconds must not be less than podInitialBackoffSeconds"),
    ("percentageOfNodesToScore: 101\n", 3, "percentageOfNodesToScore must be from 0 to 100"),
    ("profiles: [\n", 4, "expected the node content"),
    ("profiles:\n- {}\n- {}\n", 5, "'default-scheduler' is another profile's too"),
    (
        "profiles:\n- pluginConfig:\n  - name: InterPodAffinity\n    args:\n      hardPodAffinityWeight: 101\n",
        7,
        "hardPodAffinityWeight must be from 0 to 100",
    ),
    (
        "profiles:\n- pluginConfig:\n  - name: NodeResourcesFit\n    args:\n      scoringStrategy: {type: Best}\n",
        7,
        "type must be LeastAllocated, MostAllocated or RequestedToCapacityRatio",
    ),
    ("extenders:\n- urlPrefix: here\n", 4, "urlPrefix must be an http or https URL"),
]


@pytest.mark.parametrize(("text", "line", "why"), BROKEN)
def test_a_broken_configuration_is_refused_with_its_line(text: str, line: int, why: str) -> None:
    with pytest.raises(Broken) as refused:
        configured(text)
    assert why in str(refused.value)
    assert refused.value.line == line
    assert str(refused.value).startswith("s.yaml:")


def test_another_kind_is_refused() -> None:
    with pytest.raises(Broken, match=r"s\.yaml:1: apiVersion must be"):
        read("s.yaml", "kind: Pod\n", {})


def test_a_plugin_from_a_file_filters_and_grades(tmp_path: Path) -> None:
    plugins = found([plugin_file(tmp_path)])
    (profile,) = configured(
        "profiles: [{plugins: {multiPoint: {enabled: [{name: SpotsLast, weight: 50}]}}}]", plugins
    ).profiles.values()
    made = Snapshot()
    made.put_node(node_facts(node_object("cheap", cpu="64", memory="64Gi", labels={"spot": "yes"})))
    made.put_node(node_facts(node_object("dear")))
    chosen = decide(pod_facts(pod_object(cpu="1")), made, profile=profile)
    assert isinstance(chosen, Placement)
    assert chosen.node == "dear"
    made.drop_node("dear")
    refused = decide(pod_facts(pod_object(labels={"spot": "never"})), made, profile=profile)
    assert isinstance(refused, Unschedulable)
    assert refused.message.startswith("0/1 nodes are available: 1 node(s) were spot.")
    assert profile.guarded


def test_the_test_helper_asks_one_plugin(tmp_path: Path) -> None:
    plugin = found([plugin_file(tmp_path)])["SpotsLast"]()
    trial = Trial(plugin, nodes=[node_object("cheap", labels={"spot": "yes"}), node_object("dear")])
    assert trial.grades(pod_object()) == {"cheap": 0, "dear": 100}
    assert trial.verdicts(pod_object(labels={"spot": "never"})) == {"cheap": ("node(s) were spot",), "dear": None}


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("import nothing.such\n", 1, "can't be loaded: ModuleNotFoundError"),
        ("x = 1\nclass Plugin(:\n", 2, "can't be read"),
        ("x = 1\n", 1, "has no class that inherits from Plugin"),
        (PLUGIN.replace('    name = "SpotsLast"\n', ""), 9, "class SpotsLast has no name"),
        (PLUGIN.replace("(self, pod, snapshot)", "(self, pod)"), 10, "prepare must take (self, pod, snapshot)"),
        (PLUGIN.replace("    def grade", "    async def grade"), 15, "grade must be def, not async def"),
    ],
)
def test_a_broken_plugin_is_refused_with_its_file_and_line(tmp_path: Path, text: str, line: int, why: str) -> None:
    path = plugin_file(tmp_path, text)
    with pytest.raises(Broken) as refused:
        found([path])
    assert str(refused.value).startswith(f"{path}:{line}: ")
    assert why in str(refused.value)


def test_arguments_that_a_plugin_refuses_are_pointed_at(tmp_path: Path) -> None:
    text = PLUGIN + '\n    def __init__(self, args):\n        raise ValueError("too dear")\n'
    with pytest.raises(Broken, match=r"s\.yaml:6: plugin 'SpotsLast': ValueError: too dear"):
        configured(
            "profiles:\n- pluginConfig:\n  - name: SpotsLast\n    args: {most: 1}\n"
            "  plugins: {score: {enabled: [{name: SpotsLast}]}}\n",
            found([plugin_file(tmp_path, text)]),
        )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("        raise KeyError('x')", "running \"SpotsLast\" score plugin: KeyError: 'x'"),
        ("        while True: pass", 'running "SpotsLast" plugin: cut off after 50 ms'),
        ("        return {node.name: 101 for node in nodes}", "grades must be whole numbers from 0 to 100"),
    ],
)
def test_a_plugin_that_raises_or_hangs_is_named(tmp_path: Path, body: str, said: str) -> None:
    path = plugin_file(tmp_path, PLUGIN.partition("        return {node.name")[0] + body + "\n")
    (profile,) = configured(
        "profiles: [{plugins: {score: {enabled: [{name: SpotsLast}]}}}]", found([path])
    ).profiles.values()
    made = snapshot(n0="4", n1="4")
    with pytest.raises(PluginFailed, match="SpotsLast|grades") as failed:
        limited(lambda: decide(pod_facts(pod_object()), made, profile=profile), 0.05 if "while" in body else 5.0)
    assert said in str(failed.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 'not before noon'", "not before noon"),
        ("raise KeyError('x')", "running \"Gate\" pre-enqueue plugin: KeyError: 'x'"),
        ("while True: pass", 'running "Gate" plugin: cut off after 300 ms'),
        ("return None", None),
    ],
)
def test_a_gate_of_ones_own_holds_back_also_when_it_fails(tmp_path: Path, body: str, said: str | None) -> None:
    gate = "from oarlock.actors.scheduler.plugin import Plugin\nclass Gate(Plugin):\n    name = 'Gate'\n"
    path = plugin_file(tmp_path, f"{gate}    def pre_enqueue(self, pod):\n        {body}\n")
    (profile,) = configured(
        "profiles: [{plugins: {preEnqueue: {enabled: [{name: Gate}]}}}]", found([path])
    ).profiles.values()
    made, pod = snapshot(n0="4"), pod_facts(pod_object())
    assert [why for one in profile.gates if (why := one(pod, made)) is not None] == ([said] if said else [])


ORDER = """
from oarlock.actors.scheduler.plugin import Plugin


class ByName(Plugin):
    name = "ByName"

    def order(self, pod):
        if pod.name == "raises":
            raise KeyError("x")
        return 7 if pod.name == "strange" else pod.name
"""


def test_an_order_of_ones_own_stops_nobody_when_it_fails(tmp_path: Path) -> None:
    order = configured(
        "profiles: [{plugins: {queueSort: {enabled: [{name: ByName}], disabled: [{name: '*'}]}}}]",
        found([plugin_file(tmp_path, ORDER)]),
    ).order
    assert order is not None
    pods = [pod_facts(pod_object(name, priority=place)) for place, name in enumerate(("b", "a", "strange", "raises"))]
    queue = SchedulingQueue(FILTERS, clock=lambda: 0.0)
    queue.use(Rules(tuple(FILTERS), order=order))
    for pod in pods:
        queue.add(pod)

    async def popped() -> list[str]:
        return [(await queue.pop())[0].name for _ in pods]

    said = asyncio.run(popped())
    assert said.index("a") < said.index("b")
    assert said.index("raises") < said.index("strange"), "those that have no place come by their priority"


RESCUE = """
from oarlock.actors.scheduler.plugin import Plugin


class Rescue(Plugin):
    name = "Rescue"

    def post_filter(self, pod, snapshot, failures):
        return "n1" if failures["n1"].reasons == ("Insufficient cpu",) and pod.name == "p" else None
"""


def test_a_plugin_makes_room_where_preemption_finds_none(tmp_path: Path) -> None:
    plugins = found([plugin_file(tmp_path, RESCUE)])
    text = "profiles: [{plugins: {postFilter: {%senabled: [{name: Rescue}]}}}]"
    for more in ("", "disabled: [{name: '*'}], "):
        (profile,) = configured(text % more, plugins).profiles.values()
        made = snapshot(n0="2", n1="2")
        refused = decide(pod_facts(pod_object(cpu="3")), made, profile=profile)
        assert isinstance(refused, Unschedulable)
        assert refused.nomination == Nomination("n1", ())
        assert refused.message == "0/2 nodes are available: 2 Insufficient cpu."
        left = decide(pod_facts(pod_object("q", cpu="3")), made, profile=profile)
        assert isinstance(left, Unschedulable)
        assert left.nomination is None


def test_preemption_comes_before_a_plugins_rescue_and_its_word_is_checked(tmp_path: Path) -> None:
    plugins = found([plugin_file(tmp_path, RESCUE.replace('return "n1" if', 'return "n9" if'))])
    (profile,) = configured(
        "profiles: [{plugins: {multiPoint: {enabled: [{name: Rescue}]}}}]", plugins
    ).profiles.values()
    made = snapshot(n0="2", n1="2")
    with pytest.raises(PluginFailed, match="there is no node 'n9'"):
        decide(pod_facts(pod_object(cpu="2", priority=9)), _full(made), profile=replace(profile, preemption=None))
    refused = decide(pod_facts(pod_object(cpu="2", priority=9)), made, profile=profile)
    assert isinstance(refused, Unschedulable)
    assert refused.nomination is not None
    assert [one.name for one in refused.nomination.victims] == ["lesser"]


def _full(made: Snapshot) -> Snapshot:
    for name in made.nodes:
        made.put_pod(pod_facts(pod_object("lesser", cpu="2")), name)
    return made


def test_a_plugin_is_found_behind_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a package that was installed offers it."""
    (tmp_path / "spots_plugin.py").write_text(PLUGIN)
    metadata = tmp_path / "spots-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: spots\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[oarlock.scheduler_plugins]\nspots = spots_plugin:SpotsLast\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert found([])["SpotsLast"].weight == 1
    (metadata / "entry_points.txt").write_text("[oarlock.scheduler_plugins]\nspots = spots_plugin:Missing\n")
    with pytest.raises(Broken, match="spots_plugin:Missing:1: can't be loaded: AttributeError"):
        found([])


@pytest.mark.parametrize(
    ("utilization", "node"),
    [
        ("{utilization: 0, score: 0}, {utilization: 100, score: 10}", "small"),
        ("{utilization: 0, score: 10}, {utilization: 100, score: 0}", "large"),
    ],
)
def test_a_line_of_ones_own_says_how_full_nodes_may_be(utilization: str, node: str) -> None:
    (profile,) = configured(
        "profiles: [{plugins: {score: {disabled: [{name: '*'}], enabled: [{name: NodeResourcesFit}]}}, pluginConfig: "
        "[{name: NodeResourcesFit, args: {scoringStrategy: {type: RequestedToCapacityRatio, "
        f"requestedToCapacityRatio: {{shape: [{utilization}]}}}}}}}}]}}]"
    ).profiles.values()
    chosen = decide(pod_facts(pod_object(cpu="1")), snapshot(small="2", large="8"), profile=profile)
    assert isinstance(chosen, Placement)
    assert chosen.node == node
