"""Validate the workload kinds of apps and ReplicationController.

Source: upstream's `pkg/apis/apps/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import metadata_validation, names, pod_validation
from oarlock.cluster.objects.causes import forbidden, invalid, not_supported, required
from oarlock.cluster.objects.gostructs import Struct
from oarlock.cluster.objects.resource_validation import NOT_NEGATIVE
from oarlock.cluster.objects.scheduling_validation import label_selector
from oarlock.cluster.objects.selector_match import is_empty, selects
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.volume_validation import claim_spec

Obj = Mapping[str, Any]
IMMUTABLE: Final = metadata_validation.IMMUTABLE
MISMATCH: Final = "`selector` does not match template `labels`"
_RETENTION: Final = ("Retain", "Delete")
_STATEFUL_SET_CHANGEABLE: Final = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def counts(spec: Obj, path: str, *fields: str) -> list[Cause]:
    """What is wrong with counts that may not be negative."""
    return [invalid(f"{path}.{name}", spec[name], NOT_NEGATIVE) for name in fields if (spec.get(name) or 0) < 0]


def selector_of(spec: Obj, kind: str) -> list[Cause]:
    """What is wrong with the selector of a workload's spec."""
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")]
    causes = label_selector(selector, "spec.selector", check_values=kind != "statefulset")
    if is_empty(selector):
        shown = Struct("meta.v1.LabelSelector", selector)
        causes.append(invalid("spec.selector", shown, f"empty selector is invalid for {kind}"))
    return causes


def template_of(spec: Obj, path: str = "spec.template", unfit: str = "invalid label selector") -> list[Cause]:
    """What is wrong with a workload's pod template: it must fit the selector and its pods must always restart.

    `unfit` is what is said of a selector that can't be used.
    """
    template = spec.get("template")
    if not template:
        return [required(path)]
    if label_selector(spec.get("selector") or {}, ""):
        return [invalid("spec.selector", Struct("meta.v1.LabelSelector", spec["selector"]), unfit)]
    causes = mismatch(spec.get("selector"), template, path)
    causes += pod_validation.template(_with_claims(spec, template), path)
    return causes + always_restarts(template, path)


def mismatch(selector: Obj | None, template: Obj, path: str) -> list[Cause]:
    """The cause for a selector that does not select its own template; no selector selects nothing."""
    labels = template.get("metadata", {}).get("labels")
    if selector is not None and (is_empty(selector) or selects(selector, labels or {})):
        return []
    return [invalid(f"{path}.metadata.labels", labels, MISMATCH)]


def _with_claims(spec: Obj, template: Obj) -> Obj:
    """The template of a StatefulSet as its pods will be: its claim templates are volumes of theirs."""
    claims = [one.get("metadata", {}).get("name", "") for one in spec.get("volumeClaimTemplates", ())]
    if not claims:
        return template
    inner = template.get("spec", {})
    added = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
    own = [one for one in inner.get("volumes", ()) if one.get("name") not in claims]
    return {**template, "spec": {**inner, "volumes": [*added, *own]}}


def always_restarts(template: Obj, path: str) -> list[Cause]:
    """What is wrong with the restart policy and the deadline of pods that run for ever."""
    causes: list[Cause] = []
    policy = template.get("spec", {}).get("restartPolicy", "")
    if policy != "Always":
        causes.append(not_supported(f"{path}.spec.restartPolicy", policy, ("Always",)))
    if "activeDeadlineSeconds" in template.get("spec", {}):
        why = "activeDeadlineSeconds in ReplicaSet is not Supported"
        causes.append(forbidden(f"{path}.spec.activeDeadlineSeconds", why))
    return causes


def int_or_percent(value: int | str, path: str) -> list[Cause]:
    """What is wrong with a count that may be a percentage."""
    if isinstance(value, str):
        return [invalid(path, value, why) for why in names.percent(value)]
    return [] if value >= 0 else [invalid(path, value, NOT_NEGATIVE)]


def _at_most_all(value: int | str, path: str) -> list[Cause]:
    if isinstance(value, str) and not names.percent(value) and int(value[:-1]) > 100:
        return [invalid(path, value, "must not be greater than 100%")]
    return []


def _is_zero(value: int | str | None) -> bool:
    if isinstance(value, str):
        return bool(names.percent(value)) or int(value[:-1]) == 0
    return not value


def deployment(obj: Obj) -> list[Cause]:
    """What is wrong with a Deployment beyond its metadata."""
    spec = obj["spec"]
    causes = counts(spec, "spec", "replicas")
    causes += selector_of(spec, "deployment")
    causes += template_of(spec)
    causes += _deployment_strategy(spec.get("strategy", {}), "spec.strategy")
    causes += counts(spec, "spec", "minReadySeconds", "revisionHistoryLimit")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        causes += counts(spec, "spec", "progressDeadlineSeconds")
        if deadline <= spec.get("minReadySeconds", 0):
            causes.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return causes


def _deployment_strategy(strategy: Obj, path: str) -> list[Cause]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            why = "may not be specified when strategy `type` is 'Recreate'"
            return [forbidden(f"{path}.rollingUpdate", why)]
        return []
    if kind != "RollingUpdate":
        return [not_supported(path, Struct("apps.v1.DeploymentStrategy", strategy), ("Recreate", "RollingUpdate"))]
    if rolling is None:
        return [required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")]
    return _rolling(rolling, f"{path}.rollingUpdate", "may not be 0 when `maxSurge` is 0")


def _rolling(rolling: Obj, path: str, both_zero: str) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("maxUnavailable", "maxSurge"):
        causes += int_or_percent(rolling.get(name, 0), f"{path}.{name}")
    if _is_zero(rolling.get("maxUnavailable")) and _is_zero(rolling.get("maxSurge")):
        causes.append(invalid(f"{path}.maxUnavailable", rolling.get("maxUnavailable", 0), both_zero))
    return causes + _at_most_all(rolling.get("maxUnavailable", 0), f"{path}.maxUnavailable")


def deployment_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a Deployment that replaces `old`."""
    return deployment(new) + immutable(new, old, "selector")


def immutable(new: Obj, old: Obj, *fields: str) -> list[Cause]:
    """The fields of the spec that changed and may not."""
    return [
        invalid(f"spec.{name}", shown_field(name, new["spec"].get(name)), IMMUTABLE)
        for name in fields
        if new["spec"].get(name) != old["spec"].get(name)
    ]


def shown_field(name: str, value: Any) -> Any:
    """A field of a spec as a message shows it."""
    type_name = _SHOWN.get(name)
    return value if type_name is None or value is None else Struct(type_name, value)


#: The types of fields that are structs and may not change.
_SHOWN: Final = {
    "selector": "meta.v1.LabelSelector",
    "podFailurePolicy": "batch.v1.PodFailurePolicy",
    "successPolicy": "batch.v1.SuccessPolicy",
}


def replica_set(obj: Obj) -> list[Cause]:
    """What is wrong with a ReplicaSet beyond its metadata."""
    spec = obj["spec"]
    causes = counts(spec, "spec", "replicas", "minReadySeconds")
    causes += selector_of(spec, "deployment")
    return causes + template_of(spec)


def replica_set_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a ReplicaSet that replaces `old`."""
    return replica_set(new) + immutable(new, old, "selector")


def replication_controller(obj: Obj) -> list[Cause]:
    """What is wrong with a ReplicationController beyond its metadata; its selector is a map."""
    spec = obj["spec"]
    causes = counts(spec, "spec", "minReadySeconds")
    selector = spec.get("selector", {})
    if not selector:
        causes.append(required("spec.selector"))
    causes += counts(spec, "spec", "replicas")
    template = spec.get("template")
    if template is None:
        return [*causes, required("spec.template")]
    labels = template.get("metadata", {}).get("labels")
    if selector and not selects({"matchLabels": selector}, labels or {}):
        causes.append(invalid("spec.template.metadata.labels", labels, MISMATCH))
    causes += pod_validation.template(template, "spec.template")
    return causes + always_restarts(template, "spec.template")


def daemon_set(obj: Obj) -> list[Cause]:
    """What is wrong with a DaemonSet beyond its metadata."""
    spec = obj["spec"]
    selector, template = spec.get("selector"), spec.get("template", {})
    causes = label_selector(selector or {}, "spec.selector")
    if not causes:
        causes += mismatch(selector, template, "spec.template")
    if selector is not None and is_empty(selector):
        shown = Struct("meta.v1.LabelSelector", selector)
        causes.append(invalid("spec.selector", shown, "empty selector is invalid for daemonset"))
    causes += pod_validation.template(template, "spec.template")
    causes += always_restarts(template, "spec.template")
    causes += counts(spec, "spec", "minReadySeconds")
    causes += _daemon_strategy(spec.get("updateStrategy", {}), "spec.updateStrategy")
    return causes + counts(spec, "spec", "revisionHistoryLimit")


def _daemon_strategy(strategy: Obj, path: str) -> list[Cause]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        shown = Struct("apps.v1.DaemonSetUpdateStrategy", strategy)
        return [not_supported(path, shown, ("RollingUpdate", "OnDelete"))]
    if rolling is None:
        return [required(f"{path}.rollingUpdate")]
    place = f"{path}.rollingUpdate"
    causes: list[Cause] = []
    for name in ("maxUnavailable", "maxSurge"):
        causes += int_or_percent(rolling.get(name, 0), f"{place}.{name}")
        causes += _at_most_all(rolling.get(name, 0), f"{place}.{name}")
    zero = [_is_zero(rolling.get(name)) for name in ("maxUnavailable", "maxSurge")]
    if all(zero):
        causes.append(required(f"{place}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    elif not any(zero):
        causes.append(
            invalid(f"{place}.maxSurge", rolling["maxSurge"], "may not be set when maxUnavailable is non-zero")
        )
    return causes


def daemon_set_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a DaemonSet that replaces `old`."""
    return immutable(new, old, "selector") + daemon_set(new)


def stateful_set(obj: Obj) -> list[Cause]:
    """What is wrong with a new StatefulSet beyond its metadata."""
    return _claim_templates(obj["spec"]) + _stateful_spec(obj["spec"])


def _stateful_spec(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    policy = spec.get("podManagementPolicy", "")
    if policy not in {"OrderedReady", "Parallel"}:
        why = "must be 'OrderedReady' or 'Parallel'"
        causes.append(
            invalid("spec.podManagementPolicy", policy, why) if policy else required("spec.podManagementPolicy")
        )
    causes += _stateful_strategy(spec.get("updateStrategy", {}), "spec.updateStrategy")
    retention = spec.get("persistentVolumeClaimRetentionPolicy", {})
    for name in ("whenDeleted", "whenScaled"):
        value = retention.get(name)
        if value is not None and value not in _RETENTION:
            place = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
            causes.append(not_supported(place, value, _RETENTION))
    causes += counts(spec, "spec", "replicas", "minReadySeconds")
    start = spec.get("ordinals", {}).get("start", 0)
    if start < 0:
        causes.append(invalid("spec.ordinals.start", start, NOT_NEGATIVE))
    causes += selector_of(spec, "statefulset")
    name = spec.get("serviceName", "")
    if name:
        causes += [invalid("spec.serviceName", name, why) for why in names.dns_label(name)]
    return causes + template_of(spec, unfit="") + _labels_again(spec.get("template", {}).get("metadata", {}))


def _labels_again(metadata: Obj) -> list[Cause]:
    """A StatefulSet's template has its labels and annotations looked at twice, and clients see the causes twice."""
    causes = metadata_validation.labels(metadata.get("labels", {}), "spec.template.labels")
    return causes + metadata_validation.annotations(metadata.get("annotations", {}), "spec.template.annotations")


def _claim_templates(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    for index, claim in enumerate(spec.get("volumeClaimTemplates", ())):
        causes += claim_spec(claim.get("spec", {}), f"spec.volumeClaimTemplates[{index}].spec")
    return causes


def _stateful_strategy(strategy: Obj, path: str) -> list[Cause]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    if not kind:
        return [required(f"{path}.type")]
    if kind == "OnDelete":
        if rolling is None:
            return []
        why = "only allowed for updateStrategy 'RollingUpdate'"
        return [invalid(f"{path}.rollingUpdate", Struct("apps.v1.RollingUpdateStatefulSetStrategy", rolling), why)]
    if kind != "RollingUpdate":
        shown = Struct("apps.v1.StatefulSetUpdateStrategy", strategy)
        return [invalid(path, shown, "must be 'RollingUpdate' or 'OnDelete'")]
    return counts(rolling or {}, f"{path}.rollingUpdate", "partition")


_STATEFUL_FREE: Final = frozenset(
    {
        *("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds"),
        "persistentVolumeClaimRetentionPolicy",
    }
)


def stateful_set_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a StatefulSet that replaces `old`."""
    causes = _stateful_spec(new["spec"])
    kept = [{name: value for name, value in one["spec"].items() if name not in _STATEFUL_FREE} for one in (new, old)]
    if kept[0] != kept[1]:
        causes.append(forbidden("spec", _STATEFUL_SET_CHANGEABLE))
    return causes


def pod_template(obj: Obj) -> list[Cause]:
    """What is wrong with a PodTemplate beyond its metadata."""
    return pod_validation.template(obj.get("template", {}), "template")


def controller_revision(obj: Obj) -> list[Cause]:
    """What is wrong with a ControllerRevision beyond its metadata."""
    causes: list[Cause] = []
    if obj.get("data") is None:
        causes.append(required("data", "data is mandatory"))
    elif not isinstance(obj["data"], dict):
        causes.append(required("data", "data must be a valid JSON object"))
    return causes + _revision_number(obj)


def controller_revision_update(new: Obj, old: Obj) -> list[Cause]:
    """A revision's data never changes."""
    causes = _revision_number(new)
    if new.get("data") != old.get("data"):
        causes.append(invalid("data", new.get("data"), IMMUTABLE))
    return causes


def _revision_number(obj: Obj) -> list[Cause]:
    number = obj.get("revision") or 0
    return [invalid("revision", number, NOT_NEGATIVE)] if number < 0 else []
