"""What an API server says of itself to others: the groups it serves, whom it trusts, since when it tracks tokens.

Source: upstream's pkg/controlplane/apiserver (API services) and pkg/controlplane/controller
(clusterauthenticationtrust, legacytokentracking).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from oarlock.cluster.apiserver import clock
from oarlock.cluster.objects.discovery import PRIORITIES
from oarlock.cluster.objects.tokens import TRACKING

Obj = dict[str, Any]
Made = tuple[tuple[str, str, str], Obj]
"""The group, version and plural name of an object, and the object."""
_CONFIG_MAPS: Final = ("", "v1", "configmaps")


def api_services(now: datetime) -> Iterator[Made]:
    """Yield an APIService for each group and version served here, with the status that it is to have."""
    condition = {
        "type": "Available",
        "status": "True",
        "lastTransitionTime": clock.text(now),
        "reason": "Local",
        "message": "Local APIServices are always available",
    }
    for (group, version), (group_rank, version_rank) in PRIORITIES.items():
        spec: Obj = {"version": version, "groupPriorityMinimum": group_rank, "versionPriority": version_rank}
        if group:
            spec["group"] = group
        labels = {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
        metadata = {"name": f"{version}.{group}", "labels": labels}
        made = {"metadata": metadata, "spec": spec, "status": {"conditions": [condition]}}
        yield ("apiregistration.k8s.io", "v1", "apiservices"), made


def token_tracking(now: datetime) -> Made:
    """Return the config map that tells since when the use of old tokens is looked at."""
    metadata = {"name": TRACKING, "namespace": "kube-system"}
    return _CONFIG_MAPS, {"metadata": metadata, "data": {"since": f"{now:%Y-%m-%d}"}}


def authentication(client_ca_pem: str) -> Made:
    """Return the config map that tells API servers beside this one whom it trusts."""
    metadata = {"name": "extension-apiserver-authentication", "namespace": "kube-system"}
    return _CONFIG_MAPS, {"metadata": metadata, "data": {"client-ca-file": client_ca_pem}}
