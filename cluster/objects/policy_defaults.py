"""Defaults of the kinds that configure the cluster: limits, webhooks, admission policies, flow control, drivers.

Source: upstream's `pkg/apis/{core,admissionregistration,flowcontrol,storage}/v1/defaults.go`.
"""

from __future__ import annotations

from typing import Final

from oarlock.cluster.objects.pod_defaults import Obj, Table, fill

_WEBHOOK: Final[Table] = (
    ("failurePolicy", "Fail"),
    ("matchPolicy", "Equivalent"),
    ("timeoutSeconds", 10),
)
_CSI_DRIVER: Final[Table] = (
    ("attachRequired", True),
    ("podInfoOnMount", False),
    ("storageCapacity", False),
    ("fsGroupPolicy", "ReadWriteOnceWithFSType"),
    ("requiresRepublish", False),
    ("seLinuxMount", False),
)


def limit_range(obj: Obj) -> None:
    """For containers: a maximum is the default limit, the default limit the default request, else the minimum."""
    spec = obj["spec"]
    spec["limits"] = spec.get("limits") or None
    for item in spec["limits"] or ():
        if item.get("type") != "Container":
            continue
        limits = dict(item.get("max", {})) | item.get("default", {})
        requests = dict(item.get("min", {})) | limits | item.get("defaultRequest", {})
        if limits:
            item["default"] = limits
        if requests:
            item["defaultRequest"] = requests


def webhooks(obj: Obj) -> None:
    """Every webhook matches everything, fails closed and waits ten seconds."""
    mutating = obj["kind"].startswith("Mutating")
    for hook in obj.get("webhooks", ()):
        fill(hook, _WEBHOOK)
        hook.setdefault("namespaceSelector", {})
        hook.setdefault("objectSelector", {})
        if mutating:
            hook.setdefault("reinvocationPolicy", "Never")
        for rule in hook.get("rules", ()):
            rule.setdefault("scope", "*")
        service = hook.setdefault("clientConfig", {}).get("service")
        if service is not None:
            service.setdefault("port", 443)


def match_resources(obj: Obj) -> None:
    """Defaults of what an admission policy or a binding matches."""
    obj.setdefault("matchPolicy", "Equivalent")
    obj.setdefault("namespaceSelector", {})
    obj.setdefault("objectSelector", {})
    for rule in (*obj.get("resourceRules", ()), *obj.get("excludeResourceRules", ())):
        rule.setdefault("scope", "*")


def admission_policy(obj: Obj) -> None:
    """A policy, of either kind, fails closed."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    if "matchConstraints" in spec:
        match_resources(spec["matchConstraints"])


def admission_binding(obj: Obj) -> None:
    """What a binding matches, where it narrows its policy."""
    spec = obj.setdefault("spec", {})
    if "matchResources" in spec:
        match_resources(spec["matchResources"])


def flow_schema(obj: Obj) -> None:
    """The middle precedence; the namespaces of a rule are always written."""
    obj["spec"].setdefault("matchingPrecedence", 1000)
    for rule in obj["spec"].get("rules") or ():
        for one in rule.get("resourceRules") or ():
            one.setdefault("namespaces", None)


def priority_level(obj: Obj) -> None:
    """Thirty shares, none lent, queues of the usual shape; what isn't there at all isn't made up."""
    spec = obj["spec"]
    if "exempt" in spec:
        fill(spec["exempt"], (("nominalConcurrencyShares", 0), ("lendablePercent", 0)))
    limited = spec.get("limited")
    if limited is None:
        return
    fill(limited, (("nominalConcurrencyShares", 30), ("lendablePercent", 0)))
    queuing = limited.setdefault("limitResponse", {}).get("queuing")
    if queuing is not None:
        fill(queuing, (("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)))


def disruption_budget(obj: Obj) -> None:
    """The counts of a budget's status are always written."""
    counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    fill(obj["status"], tuple((name, 0) for name in counts))


def csi_driver(obj: Obj) -> None:
    """A driver attaches, and mounts persistent volumes only."""
    spec = obj.setdefault("spec", {})
    fill(spec, _CSI_DRIVER)
    spec["volumeLifecycleModes"] = spec.get("volumeLifecycleModes") or ["Persistent"]
    for request in spec.get("tokenRequests") or ():
        request.setdefault("audience", "")


def csi_node(obj: Obj) -> None:
    """The lists of drivers and of their keys are always written, empty ones as null."""
    spec = obj.setdefault("spec", {})
    spec["drivers"] = spec.get("drivers") or None
    for driver in spec["drivers"] or ():
        fill(driver, (("name", ""), ("nodeID", "")))
        driver["topologyKeys"] = driver.get("topologyKeys") or None
