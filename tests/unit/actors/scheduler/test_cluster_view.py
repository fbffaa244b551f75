"""What the scheduler believes after changes, in whatever order they come."""

from __future__ import annotations

from typing import Any

from oarlock.actors.scheduler.cluster_view import ClusterView
from oarlock.actors.scheduler.facts import pod_facts
from oarlock.actors.scheduler.plugins import FILTERS
from oarlock.actors.scheduler.queue import SchedulingQueue


def view() -> tuple[ClusterView, SchedulingQueue]:
    queue = SchedulingQueue(FILTERS, clock=lambda: 0.0)
    return ClusterView({"default-scheduler"}, queue), queue


def node(name: str = "n0") -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "9"}}}


def pod(node_name: str = "", phase: str = "Pending", **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": {"cpu": "1"}}}
    return {
        "metadata": {"name": "p", "namespace": "default", "uid": "u"},
        "spec": {"containers": [container], "nodeName": node_name, **spec},
        "status": {"phase": phase},
    }


def test_a_pod_seen_before_its_node_counts_once_the_node_comes() -> None:
    seen, queue = view()
    seen.on_pod("ADDED", None, pod("n0"))
    assert "default/p" not in queue
    seen.on_node("ADDED", None, node())
    assert seen.snapshot.nodes["n0"].requested["cpu"] == 1000
    seen.on_node("DELETED", node(), None)
    seen.on_node("ADDED", None, node())
    assert seen.snapshot.nodes["n0"].requested["cpu"] == 1000


def test_an_assumed_pod_counts_and_is_not_queued_again() -> None:
    seen, queue = view()
    seen.on_node("ADDED", None, node())
    seen.on_pod("ADDED", None, pod())
    queue.remove("default/p")
    seen.assume(pod_facts(pod()), "n0")
    assert seen.snapshot.nodes["n0"].requested["cpu"] == 1000
    seen.on_pod("MODIFIED", pod(), pod("n0"))
    assert seen.snapshot.nodes["n0"].requested["cpu"] == 1000
    assert "default/p" not in queue
    assert seen.forget(pod_facts(pod())) is False


def test_a_forgotten_assumption_frees_the_node() -> None:
    seen, _ = view()
    seen.on_node("ADDED", None, node())
    seen.on_pod("ADDED", None, pod())
    seen.assume(pod_facts(pod()), "n0")
    assert seen.forget(pod_facts(pod())) is True
    assert seen.snapshot.nodes["n0"].requested["cpu"] == 0


def test_bound_elsewhere_than_assumed() -> None:
    seen, _ = view()
    for name in ("n0", "n1"):
        seen.on_node("ADDED", None, node(name))
    seen.on_pod("ADDED", None, pod())
    seen.assume(pod_facts(pod()), "n0")
    seen.on_pod("MODIFIED", pod(), pod("n1"))
    assert [state.requested["cpu"] for state in seen.snapshot] == [0, 1000]


def test_finished_pods_and_foreign_schedulers_are_left_alone() -> None:
    seen, queue = view()
    seen.on_node("ADDED", None, node())
    seen.on_pod("ADDED", None, pod(schedulerName="other"))
    assert not len(queue)
    seen.on_pod("DELETED", pod(schedulerName="other"), None)
    seen.on_pod("ADDED", None, pod())
    seen.on_pod("MODIFIED", pod(), pod("n0"))
    seen.on_pod("MODIFIED", pod("n0"), pod("n0", phase="Succeeded"))
    assert not seen.snapshot.nodes["n0"].pods


def test_a_foreign_pod_counts_once_it_has_a_node() -> None:
    seen, queue = view()
    seen.on_node("ADDED", None, node())
    waiting, bound = pod(schedulerName="other"), pod("n0", schedulerName="other")
    seen.on_pod("ADDED", None, waiting)
    seen.on_pod("MODIFIED", waiting, bound)
    assert seen.snapshot.nodes["n0"].requested["cpu"] == 1000
    seen.on_pod("DELETED", bound, None)
    assert seen.snapshot.nodes["n0"].requested["cpu"] == 0
    assert not len(queue)


def test_a_new_configuration_takes_over_what_waits_for_another_scheduler() -> None:
    seen, queue = view()
    mine, gone, ended = pod(schedulerName="second"), pod(schedulerName="second"), pod(schedulerName="second")
    gone["metadata"]["name"], ended["metadata"]["name"] = "gone", "ended"
    for one in (mine, gone, ended):
        seen.on_pod("ADDED", None, one)
    seen.on_pod("DELETED", gone, None)
    seen.on_pod("MODIFIED", ended, {**ended, "status": {"phase": "Failed"}})
    seen.scheduler_names = {"second"}
    seen.requeue()
    assert "default/p" in queue
    assert len(queue) == 1
    assert seen.is_pending(pod_facts(mine))
