"""Discovery tells what is served, in both forms alike."""

from __future__ import annotations

from oarlock.cluster.objects import discovery
from oarlock.cluster.objects.resources import RESOURCES


def test_both_forms_list_the_same() -> None:
    legacy = set()
    for one in RESOURCES:
        document = discovery.legacy_resources(one.group, one.version)
        assert document is not None
        legacy |= {(document["groupVersion"], row["name"]) for row in document["resources"]}
    listed = set()
    for core in (True, False):
        for group in discovery.aggregated(core=core)["items"]:
            for version in group["versions"]:
                name = "/".join(part for part in (group["metadata"].get("name"), version["version"]) if part)
                for row in version["resources"]:
                    listed.add((name, row["resource"]))
                    listed |= {(name, f"{row['resource']}/{sub['subresource']}") for sub in row.get("subresources", ())}
    assert legacy == listed


def test_pods_in_the_legacy_form() -> None:
    document = discovery.legacy_resources("", "v1")
    assert document is not None
    rows = {row["name"]: row for row in document["resources"]}
    assert (rows["pods"]["shortNames"], rows["pods"]["storageVersionHash"]) == (["po"], "xPOwRZ+Yhw8=")
    assert (rows["pods/eviction"]["group"], rows["pods/eviction"]["kind"]) == ("policy", "Eviction")
    assert "group" not in rows["pods/status"]


def test_groups_prefer_their_first_version() -> None:
    group = discovery.legacy_group("autoscaling")
    assert group is not None
    assert group["preferredVersion"] == {"groupVersion": "autoscaling/v2", "version": "v2"}
    assert discovery.legacy_group("nope") is None
    assert discovery.legacy_resources("apps", "v9") is None
    assert "" not in [one["name"] for one in discovery.legacy_groups()["groups"]]
