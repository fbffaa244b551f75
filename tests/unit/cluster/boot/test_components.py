"""What the shells host when a setting divides the controllers: everything once, nothing twice."""

from __future__ import annotations

import pytest

from oarlock.actors.controllers.component import ControllerSettings, names
from oarlock.actors.controllers.sharding import hosted
from oarlock.cluster.boot.components import components, is_component_lease, parse_groups
from oarlock.cluster.boot.errors import BootError


def test_without_a_setting_there_is_one_of_each() -> None:
    assert [(one.name, one.lease) for one in components(())] == [
        ("scheduler", "kube-scheduler"),
        ("controllers", "kube-controller-manager"),
    ]


def test_groups_and_shards_have_leases_of_their_own() -> None:
    found = components(parse_groups(["batch=job,cronjob", "sets=replicaset:2:uid"]))
    assert [one.lease for one in found[1:]] == [
        "kube-controller-manager",
        "kube-controller-manager-batch",
        "kube-controller-manager-sets-1",
        "kube-controller-manager-sets-2",
    ]
    assert all(is_component_lease(one.lease) for one in found)
    assert {one.kind for one in found[1:]} == {"kube-controller-manager"}
    assert found[4].settings == {"controllers": ["replicaset"], "shard": 2, "shards": 2, "shard_by": "uid"}


def test_every_controller_acts_in_exactly_one_group() -> None:
    found = components(parse_groups(["batch=job,cronjob", "sets=replicaset,deployment:3"]))
    acting = []
    for one in found[1:]:
        settings = ControllerSettings.of(one.settings)
        if settings.shard.number == 1:
            acting += hosted(settings.controllers, names())
    assert sorted(acting) == sorted(names())


@pytest.mark.parametrize(
    "texts",
    [
        ["batch"],
        ["batch=nothing"],
        ["a=job", "b=job"],
        ["a=job", "a=cronjob"],
        ["a=job:0"],
        ["a=job:2:name"],
        ["A=job"],
    ],
)
def test_a_division_that_makes_no_sense_is_refused(texts: list[str]) -> None:
    with pytest.raises(BootError, match="--controllers"):
        parse_groups(texts)
