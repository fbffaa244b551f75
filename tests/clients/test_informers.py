"""The official client's informers, watches and elections, unchanged, over a kind of one's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness.following import Kind, Object, install_definitions
from harness.operators import Operator
from harness.threaded import ThreadedApiServer, threaded_api_server
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.informer import SharedInformer

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
NAMESPACE = "default"
PATIENCE_S = 120


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ThreadedApiServer]:
    with threaded_api_server(tmp_path, disabled_plugins=("ServiceAccount",)) as running:
        yield running


@pytest.fixture
def dynamic(server: ThreadedApiServer, tmp_path: Path) -> Iterator[DynamicClient]:
    api = config.new_client_from_config(str(server.kubeconfig))
    yield DynamicClient(api, cache_file=str(tmp_path / "discovery"))
    api.close()


@pytest.fixture
def sites(dynamic: DynamicClient) -> Kind:
    install_definitions(dynamic, [yaml.safe_load((HERE / "data" / "sites.yaml").read_text())])
    return Kind(dynamic, "web.example.com/v1", "Site", NAMESPACE)


@pytest.fixture
def pages(dynamic: DynamicClient) -> Kind:
    return Kind(dynamic, "v1", "ConfigMap", NAMESPACE)


@pytest.fixture
def candidates(server: ThreadedApiServer, sites: Kind, tmp_path: Path) -> Iterator[list[Operator]]:
    """Two of the operator's processes, the first of which runs."""
    program = str(HERE / "operator_with_informers.py")
    made = [
        Operator([program, NAMESPACE, name], server.kubeconfig, tmp_path / f"{name}.log") for name in ("ann", "bob")
    ]
    made[0].start()
    yield made
    for one in made:
        print(one.log)
        one.stop()


def observed(site: Object, by: str) -> bool:
    status = site.get("status") or {}
    return status.get("observedGeneration") == site["metadata"]["generation"] and status.get("by") == by


def test_a_reconcile_loop_keeps_up_with_what_people_do(candidates: list[Operator], sites: Kind, pages: Kind) -> None:
    sites.create("home", spec={"greeting": "hello"})
    made = sites.until_object("home", lambda one: observed(one, "ann"))
    assert made["metadata"]["finalizers"] == ["web.example.com/page"]
    assert made["metadata"]["generation"] == 1
    assert made["status"]["conflicts"] >= 1, "its first write of the status came after its own of the metadata"
    page = pages.get("home")
    assert page["data"] == {"index.html": "hello"}
    assert page["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]

    pages.delete("home")
    pages.until(lambda all_: all_ and all_[0]["metadata"]["uid"] != page["metadata"]["uid"], label_selector="site=home")
    for number in range(5):
        sites.patch("home", spec={"greeting": f"hello {number}"})
    pages.until_object("home", lambda one: one["data"] == {"index.html": "hello 4"})
    assert sites.until_object("home", lambda one: observed(one, "ann"))["metadata"]["generation"] == 6
    sites.patch("home", status={"by": "a stranger"})
    assert sites.get("home")["status"]["by"] == "ann", "the status is another resource"

    sites.delete("home")
    sites.until_gone("home")
    pages.until_gone("home")


def test_the_next_in_line_leads_when_the_leader_dies(
    candidates: list[Operator], dynamic: DynamicClient, sites: Kind, pages: Kind
) -> None:
    leases = Kind(dynamic, "coordination.k8s.io/v1", "Lease", NAMESPACE)
    first = leases.until_object("sites", lambda one: one["spec"]["holderIdentity"] == "ann")
    renewed = leases.until_object("sites", lambda one: one["spec"]["renewTime"] > first["spec"]["renewTime"])
    assert renewed["spec"]["acquireTime"] == first["spec"]["acquireTime"]
    candidates[1].start()
    sites.create("one", spec={"greeting": "hello"})
    sites.until_object("one", lambda one: observed(one, "ann"))
    candidates[0].kill()
    sites.patch("one", spec={"greeting": "anybody?"})
    leases.until_object("sites", lambda one: one["spec"]["holderIdentity"] == "bob")
    sites.until_object("one", lambda one: observed(one, "bob"))
    assert pages.get("one")["data"] == {"index.html": "anybody?"}


class Cached:
    """An informer over ConfigMaps, with what it told its handlers."""

    def __init__(self, core: client.CoreV1Api) -> None:
        self.informer = SharedInformer(core.list_namespaced_config_map, namespace=NAMESPACE)
        self.told: list[tuple[str, str]] = []
        self.failures: list[int] = []
        self._news = threading.Condition()
        for change in ("ADDED", "MODIFIED", "DELETED"):
            self.informer.add_event_handler(change, lambda one, change=change: self._hear(change, one))
        self.informer.add_event_handler("ERROR", self._fail)

    def _hear(self, change: str, one: Any) -> None:
        with self._news:
            self.told.append((change, one.metadata.name))
            self._news.notify_all()

    def _fail(self, failure: Exception) -> None:
        self.failures.append(getattr(failure, "status", 0))

    def until(self, told: tuple[str, str]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: told in self.told, PATIENCE_S), self.told


def test_an_informer_survives_a_server_that_forgot(
    server: ThreadedApiServer, dynamic: DynamicClient, pages: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = client.CoreV1Api(dynamic.client)
    pages.create("kept", data={"a": "1"})
    pages.create("dropped")
    cached = Cached(core)
    cached.informer.start()
    try:
        cached.until(("ADDED", "dropped"))
        pages.patch("kept", data={"a": "2"})
        cached.until(("MODIFIED", "kept"))
        begin = cached.informer._resource_version

        # A server that starts holds the recent past of its store, here next to nothing of it.
        monkeypatch.setattr("oarlock.cluster.apiserver.watchcache.RESUME_REVISIONS", 1)
        server.stop()
        server.start()
        for name in ("x", "y", "z"):
            Kind(dynamic, "v1", "Namespace").create(name)
        pages.delete("dropped")
        pages.create("born")
        server.stop()
        server.start()

        cached.until(("ADDED", "born"))
        cached.until(("DELETED", "dropped"))
        assert sorted(one.metadata.name for one in cached.informer.cache.list()) == ["born", "kept"]
        with pytest.raises(ApiException) as gone:
            list(watch.Watch().stream(core.list_namespaced_config_map, NAMESPACE, resource_version=begin))
        assert (gone.value.status, gone.value.reason.partition(":")[0]) == (410, "Expired")
    finally:
        threading.Thread(target=cached.informer.stop, daemon=True).start()
        server.stop()
