"""PodSecurity: pods are held to their namespace's level, templates warned of, namespaces told what they would forbid.

Source: pod-security-admission admission/admission.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from oarlock.cluster.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from oarlock.cluster.apiserver.admission.pod_security import policy
from oarlock.cluster.apiserver.admission.pod_security.policy import LEVELS, Policy, Standard
from oarlock.cluster.apiserver.admission.view import View
from oarlock.cluster.objects import status
from oarlock.cluster.objects.gotext import quote

Obj = dict[str, Any]
PODS_MAX = 3000
"""How many pods of a namespace a change of its labels looks at."""
_IGNORED: Final = frozenset({"exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"})
_TEMPLATES: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("", "replicationcontrollers"): ("spec", "template"),
    ("", "podtemplates"): ("template",),
    ("apps", "replicasets"): ("spec", "template"),
    ("apps", "deployments"): ("spec", "template"),
    ("apps", "statefulsets"): ("spec", "template"),
    ("apps", "daemonsets"): ("spec", "template"),
    ("batch", "jobs"): ("spec", "template"),
    ("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
}
"""Where the kinds that make pods say what they are like."""
KINDS: Final = (("", "pods"), ("", "namespaces"), *_TEMPLATES)
_MODES: Final = ("enforce", "audit", "warn")
_SECCOMP = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class PodSecurity:
    """The plugin with what holds where no label says otherwise, and who is exempt."""

    default: Policy = Policy()
    exempt_namespaces: frozenset[str] = frozenset()
    exempt_users: frozenset[str] = frozenset()
    exempt_runtime_classes: frozenset[str] = frozenset()

    async def check(self, attributes: Attributes, view: View) -> None:
        """Refuse a pod (ApiError 403) or a namespace's labels (422), or warn."""
        if attributes.kind == ("", "namespaces"):
            self._check_namespace(attributes, view)
        elif not self._is_exempt(attributes):
            await self._check_pods(attributes, view)

    def _is_exempt(self, attributes: Attributes) -> bool:
        return attributes.namespace in self.exempt_namespaces or attributes.user.name in self.exempt_users

    async def _check_pods(self, attributes: Attributes, view: View) -> None:
        is_pod = attributes.kind == ("", "pods")
        if attributes.subresource and not (is_pod and attributes.subresource not in _IGNORED):
            return
        namespace = await view.get_live("", "namespaces", attributes.namespace)
        labels = (namespace or {"metadata": {}})["metadata"].get("labels") or {}
        asked, _ = policy.of_labels(labels, self.default)
        template = attributes.obj if is_pod else _template(attributes)
        if template is None or not any(one.level != "privileged" for one in (asked.enforce, asked.warn)):
            return
        if is_pod and attributes.operation == UPDATE and not _is_significant(attributes.obj, attributes.old or {}):
            return
        metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
        if spec.get("runtimeClassName") in self.exempt_runtime_classes:
            return
        if is_pod:
            found = policy.findings(asked.enforce, metadata, spec)
            if found:
                raise attributes.forbidden(f'violates PodSecurity "{asked.enforce}": {policy.details(found)}')
        found = policy.findings(asked.warn, metadata, spec)
        if found:
            attributes.warn([f'would violate PodSecurity "{asked.warn}": {policy.details(found)}'])

    def _check_namespace(self, attributes: Attributes, view: View) -> None:
        if attributes.subresource:
            return
        obj = attributes.obj
        name = obj["metadata"].get("name") or ""
        asked, causes = policy.of_labels(obj["metadata"].get("labels") or {}, self.default)
        old_labels = ((attributes.old or {}).get("metadata") or {}).get("labels") or {}
        before, before_causes = policy.of_labels(old_labels, self.default)
        if causes and (attributes.operation == CREATE or causes != before_causes):
            raise status.invalid("Namespace", "", name, causes)
        if name in self.exempt_namespaces:
            self._warn_exempt(attributes, name, asked, before)
        elif attributes.operation == UPDATE and _is_stricter(asked.enforce, before.enforce):
            attributes.warn(self._violations(name, asked.enforce, view))

    def _warn_exempt(self, attributes: Attributes, name: str, asked: Policy, before: Policy) -> None:
        told = [f"{mode}={one}" for mode in _MODES if (one := getattr(asked, mode)).level != "privileged"]
        if told and (attributes.operation == CREATE or asked != before):
            what = ", ".join(told)
            attributes.warn(
                [f"namespace {quote(name)} is exempt from Pod Security, and the policy ({what}) will be ignored"]
            )

    def _violations(self, namespace: str, enforce: Standard, view: View) -> list[str]:
        """Return the warnings of pods that a namespace's new level would have forbidden."""
        entries = list(view.entries("", "pods", namespace))
        pods = [entry.object() for entry in entries[:PODS_MAX]]
        by_reason: dict[str, list[str]] = {}
        for pod in pods:
            if pod["spec"].get("runtimeClassName") in self.exempt_runtime_classes:
                continue
            found = policy.findings(enforce, pod["metadata"], pod["spec"])
            if found:
                by_reason.setdefault(policy.reasons(found), []).append(pod["metadata"]["name"])
        warnings = []
        if len(pods) < len(entries):
            warnings.append(
                f"new PodSecurity enforce level only checked against the first {len(pods)} of {len(entries)} "
                "existing pods"
            )
        if by_reason:
            warnings.append(
                f"existing pods in namespace {quote(namespace)} violate the new PodSecurity enforce level "
                f"{quote(str(enforce))}"
            )
        return [*warnings, *sorted(_told(names, reason) for reason, names in by_reason.items())]


def _told(names: Iterable[str], reason: str) -> str:
    first, *others = sorted(names)
    if not others:
        return f"{first}: {reason}"
    return f"{first} (and {len(others)} other {'pod' if len(others) == 1 else 'pods'}): {reason}"


def _is_stricter(new: Standard, old: Standard) -> bool:
    """Tell whether pods that were allowed may no longer be."""
    if new == old or new.level == "privileged":
        return False
    return new.minor != old.minor or LEVELS.index(new.level) > LEVELS.index(old.level)


def _template(attributes: Attributes) -> Obj | None:
    found: Any = attributes.obj
    for name in _TEMPLATES[attributes.kind]:
        found = (found or {}).get(name)
    return found


def _is_significant(pod: Obj, old: Obj) -> bool:
    """Tell whether an update changes anything that a check looks at: images, seccomp annotations, containers."""
    new, present = pod["spec"], old["spec"]
    annotations, held = (one["metadata"].get("annotations") or {} for one in (pod, old))
    if annotations.get(_SECCOMP) != held.get(_SECCOMP):
        return True
    for plural in ("containers", "initContainers", "ephemeralContainers"):
        now, was = ({one["name"]: one.get("image") for one in spec.get(plural) or ()} for spec in (new, present))
        if now != was:
            return True
        keys = [_SECCOMP_CONTAINER + name for name in now]
        if any(annotations.get(key) != held.get(key) for key in keys):
            return True
    return False
