"""DefaultTolerationSeconds: a pod outlives its node's failure for five minutes, unless it says otherwise.

Source: upstream's plugin/pkg/admission/defaulttolerationseconds.
"""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver.admission.attributes import Attributes
from oarlock.cluster.apiserver.admission.view import View

Obj = dict[str, Any]
TOLERATION_S = 300
_FAILING = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def tolerate(attributes: Attributes, _: View) -> None:
    """Add the tolerations that a pod lacks, on creation and on updates."""
    if attributes.subresource:
        return
    spec = attributes.obj.setdefault("spec", {})
    tolerations = spec.get("tolerations") or []
    missing = [key for key in _FAILING if not any(_covers(one, key) for one in tolerations)]
    if missing:
        spec["tolerations"] = [*tolerations, *(_toleration(key) for key in missing)]


def _toleration(key: str) -> Obj:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_S}


def _covers(toleration: Obj, key: str) -> bool:
    return (toleration.get("key") or "") in (key, "") and (toleration.get("effect") or "") in ("NoExecute", "")
