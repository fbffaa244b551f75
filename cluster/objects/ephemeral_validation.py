"""Validate ephemeral containers: what may be put into a running pod to look at it.

Source: upstream's `validateEphemeralContainers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects.causes import duplicate, forbidden, not_found
from oarlock.cluster.objects.container_validation import PodFacts, container, padded_images
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
#: What no service may depend on; in the order of the type's fields.
_NOT_EPHEMERAL: Final = (
    *("ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules", "livenessProbe", "readinessProbe"),
    *("startupProbe", "lifecycle"),
)
_WHY: Final = "cannot be set for an Ephemeral Container"


def ephemeral_containers(spec: Obj, path: str, facts: PodFacts) -> list[Cause]:
    """What is wrong with the ephemeral containers of a pod's spec."""
    main = {one.get("name", "") for group in ("containers", "initContainers") for one in spec.get(group) or ()}
    taken = set(main)
    causes: list[Cause] = []
    for index, one in enumerate(spec.get("ephemeralContainers") or ()):
        place, name = f"{path}[{index}]", one.get("name", "")
        causes += container(one, place, facts)
        causes += [Cause(why.reason, why.message, f"{place}.image") for why in padded_images([one], path)]
        if name in taken:
            causes.append(duplicate(f"{place}.name", name))
        taken.add(name)
        target = one.get("targetContainerName")
        if target and target not in main:
            causes.append(not_found(f"{place}.targetContainerName", target))
        causes += [forbidden(f"{place}.{field}", _WHY) for field in _NOT_EPHEMERAL if one.get(field)]
        for at, mount in enumerate(one.get("volumeMounts") or ()):
            fields = (field for field in ("subPath", "subPathExpr") if mount.get(field))
            causes += [forbidden(f"{place}.volumeMounts[{at}].{field}", _WHY) for field in fields]
    return causes
