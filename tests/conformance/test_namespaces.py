"""Namespaces, and what goes with them.

Stands for: "Namespaces should ensure that all pods/services are removed when a namespace is deleted", "... should patch
a Namespace", "... should apply changes to a namespace status", "... should apply an update to a Namespace", "... should
apply a finalizer to a Namespace", "ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace".
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness.kinds import TEMPLATE
from harness.rest import Object, Rest

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]
NAMESPACES = "/api/v1/namespaces"


def test_all_goes_with_the_namespace(api: Rest, namespace: str) -> None:
    path, own = f"{NAMESPACES}/{namespace}", f"{NAMESPACES}/{namespace}"
    api.create(f"{own}/pods", {"metadata": {"name": "p"}, "spec": TEMPLATE["spec"]})
    api.create(f"{own}/services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
    held = {"metadata": {"name": "held", "finalizers": ["example.com/held"]}}
    api.create(f"{own}/configmaps", held)
    answer = api.delete(path)
    assert answer["status"]["phase"] == "Terminating"
    refused = api("POST", f"{own}/configmaps", {"metadata": {"name": "late"}})
    assert (refused.code, refused.reason) == (403, "Forbidden")
    assert "because it is being terminated" in refused.message
    assert refused.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"

    def is_waiting(found: Object) -> bool:
        conditions = {one["type"]: one["status"] for one in found["status"].get("conditions", [])}
        return conditions.get("NamespaceFinalizersRemaining") == "True"

    waiting = api.until(path, is_waiting)
    conditions = {one["type"]: one for one in waiting["status"]["conditions"]}
    assert "example.com/held in 1 resource instances" in conditions["NamespaceFinalizersRemaining"]["message"]
    api.patch(f"{own}/configmaps/held", {"metadata": {"finalizers": None}})
    api.until_gone(path)
    api.create(NAMESPACES, {"metadata": {"name": namespace}})
    for plural in ("pods", "services"):
        assert api.get(f"{own}/{plural}")["items"] == []


def test_a_finalizer_holds_a_namespace(api: Rest, namespace: str) -> None:
    path = f"{NAMESPACES}/{namespace}"
    finalizer = "example.com/fake"
    updated = api.changed(path, lambda found: found["spec"].update(finalizers=["kubernetes", finalizer]), "/finalize")
    assert updated["spec"]["finalizers"] == ["kubernetes", finalizer]
    api.delete(path)
    left = api.until(path, lambda found: found["spec"]["finalizers"] == [finalizer])
    assert left["status"]["phase"] == "Terminating"
    api.changed(path, lambda found: found["spec"].update(finalizers=[]), "/finalize")
    api.until_gone(path)


def test_the_authority_is_in_every_namespace(api: Rest, core: str) -> None:
    path = f"{core}/configmaps/kube-root-ca.crt"
    first = api.until(path, lambda _: True)
    assert first["data"]["ca.crt"]
    api.delete(path)
    again = api.until(path, lambda found: found["metadata"]["uid"] != first["metadata"]["uid"])
    api.patch(path, {"data": {"ca.crt": "broken"}})
    assert api.until(path, lambda found: found["data"] == first["data"])["metadata"]["uid"] == again["metadata"]["uid"]
    account = f"{core}/serviceaccounts/default"
    gone = api.delete(account)["metadata"]["uid"]
    api.until(account, lambda found: found["metadata"]["uid"] != gone)


def test_namespaces_that_stay(api: Rest, new_namespace: Callable[[], str]) -> None:
    for name in ("default", "kube-system", "kube-public"):
        refused = api("DELETE", f"{NAMESPACES}/{name}")
        assert (refused.code, "this namespace may not be deleted" in refused.message) == (403, True)
    missing = api("POST", f"{NAMESPACES}/nowhere/pods", {"metadata": {"name": "p"}, "spec": TEMPLATE["spec"]})
    assert (missing.code, missing.message) == (404, 'namespaces "nowhere" not found')
    name = new_namespace()
    made = api.get(f"{NAMESPACES}/{name}")
    assert made["metadata"]["labels"]["kubernetes.io/metadata.name"] == name
    assert (made["status"]["phase"], made["spec"]["finalizers"]) == ("Active", ["kubernetes"])
