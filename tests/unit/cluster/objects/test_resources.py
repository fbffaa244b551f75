"""The table of resources."""

from __future__ import annotations

from oarlock.cluster.objects import resources
from oarlock.cluster.objects.resources import RESOURCES, by_kind, lookup


def test_lookup_by_path_and_by_kind_agree() -> None:
    for one in RESOURCES:
        assert lookup(one.group, one.version, one.plural) is one
        assert by_kind(one.group, one.version, one.kind) is one
    assert lookup("apps", "v9", "deployments") is None


def test_a_deployment() -> None:
    deployment = lookup("apps", "v1", "deployments")
    assert deployment is not None
    assert (deployment.api_version, deployment.qualified, deployment.list_kind) == (
        "apps/v1",
        "deployments.apps",
        "DeploymentList",
    )
    assert deployment.key("default", "web") == b"/registry/apps/deployments/default/web"
    assert deployment.path("default", "web", "scale") == "/apis/apps/v1/namespaces/default/deployments/web/scale"
    assert deployment.subresources["scale"].api_version == "autoscaling/v1"
    assert deployment.subresources["status"].kind == "Deployment"


def test_cluster_scoped_keys_have_no_namespace() -> None:
    node = lookup("", "v1", "nodes")
    assert node is not None
    assert node.key("ignored", "n1") == b"/registry/core/nodes/n1"
    assert node.path("", "n1") == "/api/v1/nodes/n1"


def test_views_of_the_same_objects_share_their_keys() -> None:
    core, other = lookup("", "v1", "events"), lookup("events.k8s.io", "v1", "events")
    assert core is not None
    assert other is not None
    assert core.key_prefix == other.key_prefix
    assert resources.storage_of(other) is core


def test_no_other_two_resources_share_keys() -> None:
    prefixes = [one.key_prefix for one in RESOURCES if resources.storage_of(one) is one]
    assert len(prefixes) == len(set(prefixes))
