"""Validate containers: images, ports, environment, mounts, restart policies.

Source: upstream's `validateContainerCommon` and what it calls, in `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import (
    duplicate,
    forbidden,
    invalid,
    not_found,
    not_supported,
    required,
    too_many,
)
from oarlock.cluster.objects.field_references import env_source
from oarlock.cluster.objects.probe_validation import lifecycle, probes
from oarlock.cluster.objects.resource_validation import resource_requirements
from oarlock.cluster.objects.security_validation import container_security
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.volume_paths import local_path, steps_back

Obj = Mapping[str, Any]
PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
TERMINATION_POLICIES: Final = ("File", "FallbackToLogsOnError")
PROPAGATIONS: Final = ("Bidirectional", "HostToContainer", "None")
RECURSIONS: Final = ("Disabled", "Enabled", "IfPossible")
RESIZE_POLICIES: Final = ("NotRequired", "RestartContainer")
RESTART_POLICIES: Final = ("Always", "Never", "OnFailure")
_RULES_MAX: Final = 20
_EXIT_CODES_MAX: Final = 255


class PodFacts:
    """What the checks of a container need to know of its pod."""

    __slots__ = ("block_claims", "grace_period_s", "host_users", "resource_claims", "restart_policy", "volumes")

    def __init__(self, spec: Obj, volumes: Collection[str], claims: Collection[str] = ()) -> None:
        self.volumes = volumes
        self.block_claims: Collection[str] = claims
        self.grace_period_s: int | None = spec.get("terminationGracePeriodSeconds")
        self.host_users: bool = spec.get("hostUsers") is not False
        self.restart_policy: str = spec.get("restartPolicy", "")
        self.resource_claims = {claim["name"] for claim in spec.get("resourceClaims", ()) if claim.get("name")}


def containers(items: Sequence[Obj], path: str, facts: PodFacts) -> list[Cause]:
    """What is wrong with a pod's main containers."""
    if not items:
        return [required(path)]
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        causes += container(item, place, facts)
        name = item.get("name", "")
        if name in seen:
            causes.append(duplicate(f"{place}.name", name))
        seen.add(name)
        if "lifecycle" in item:
            causes += lifecycle(item["lifecycle"], f"{place}.lifecycle", facts.grace_period_s)
        causes += probes(item, place, facts.grace_period_s)
        if "restartPolicy" in item or "restartPolicyRules" in item:
            causes += _restarts(item, place)
    return causes + _port_conflicts(items, path)


def init_containers(items: Sequence[Obj], path: str, facts: PodFacts, taken: Iterable[str]) -> list[Cause]:
    """What is wrong with init containers; only restartable ones (sidecars) have probes and a lifecycle."""
    causes: list[Cause] = []
    seen = set(taken)
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        causes += container(item, place, facts)
        causes += _restarts(item, place)
        causes += _unique_name(item, place, seen)
        causes += _port_conflicts([item], path)
        if item.get("restartPolicy") == "Always":
            if "lifecycle" in item:
                causes += lifecycle(item["lifecycle"], f"{place}.lifecycle", facts.grace_period_s)
            causes += probes(item, place, facts.grace_period_s)
            continue
        why = "may not be set for init containers without restartPolicy=Always"
        unfit = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
        causes += [forbidden(f"{place}.{name}", why) for name in unfit if name in item]
    return causes


def _restarts(item: Obj, path: str) -> list[Cause]:
    """What is wrong with a container's own restart policy and rules."""
    policy, rules = item.get("restartPolicy"), item.get("restartPolicyRules", ())
    causes: list[Cause] = []
    if policy is None:
        if rules:
            why = "must specify restartPolicy when restart rules are used"
            causes.append(required(f"{path}.restartPolicy", why))
    elif policy not in RESTART_POLICIES:
        causes.append(not_supported(f"{path}.restartPolicy", policy, RESTART_POLICIES))
    if len(rules) > _RULES_MAX:
        causes.append(too_many(f"{path}.restartPolicyRules", len(rules), _RULES_MAX))
    for index, rule in enumerate(rules):
        causes += _restart_rule(rule, f"{path}.restartPolicyRules[{index}]")
    return causes


def _restart_rule(rule: Obj, path: str) -> list[Cause]:
    action, codes = rule.get("action", ""), rule.get("exitCodes")
    actions = ("Restart", "RestartAllContainers")
    causes = [] if action in actions else [not_supported(f"{path}.action", action, actions)]
    if codes is None:
        return [*causes, required(f"{path}.exitCodes", "must be specified")]
    operator, values = codes.get("operator", ""), codes.get("values") or ()
    if operator not in {"In", "NotIn"}:
        causes.append(not_supported(f"{path}.exitCodes.operator", operator, ("In", "NotIn")))
    if len(values) > _EXIT_CODES_MAX:
        causes.append(too_many(f"{path}.exitCodes.values", len(values), _EXIT_CODES_MAX))
    return causes


def _unique_name(item: Obj, place: str, seen: set[str]) -> list[Cause]:
    name = item.get("name", "")
    if not name:
        return []
    if name in seen:
        return [duplicate(f"{place}.name", name)]
    seen.add(name)
    return []


def container(item: Obj, path: str, facts: PodFacts) -> list[Cause]:
    """What is wrong with what containers of every sort have."""
    causes: list[Cause] = []
    name = item.get("name", "")
    if not name:
        causes.append(required(f"{path}.name"))
    elif names.dns_label(name):
        causes += [invalid(f"{path}.name", name, why) for why in names.dns_label(name)]
    if not item.get("image"):
        causes.append(required(f"{path}.image"))
    policy = item.get("terminationMessagePolicy")
    if policy not in TERMINATION_POLICIES:
        place = f"{path}.terminationMessagePolicy"
        causes.append(not_supported(place, policy, TERMINATION_POLICIES) if policy else required(place))
    if "ports" in item:
        causes += ports(item["ports"], f"{path}.ports")
    if "env" in item:
        causes += environment(item["env"], f"{path}.env", facts)
    if "envFrom" in item:
        causes += _environment_sources(item["envFrom"], f"{path}.envFrom")
    if "volumeMounts" in item:
        causes += mounts(item["volumeMounts"], f"{path}.volumeMounts", facts, item)
    if "volumeDevices" in item:
        causes += _devices(item["volumeDevices"], f"{path}.volumeDevices", facts, item.get("volumeMounts", ()))
    pull = item.get("imagePullPolicy")
    if pull not in PULL_POLICIES:
        place = f"{path}.imagePullPolicy"
        causes.append(not_supported(place, pull, PULL_POLICIES) if pull else required(place))
    if item.get("resources"):
        causes += resource_requirements(item["resources"], f"{path}.resources", facts.resource_claims)
    if "resizePolicy" in item:
        causes += _resize_policies(item["resizePolicy"], f"{path}.resizePolicy", facts)
    if item.get("securityContext"):
        context = f"{path}.securityContext"
        causes += container_security(item["securityContext"], context, host_users=facts.host_users)
    return causes


def padded_images(items: Sequence[Obj], path: str) -> list[Cause]:
    """The images of a Pod's containers that have white space around them; a template's may."""
    images = ((index, item.get("image", "")) for index, item in enumerate(items))
    padded = [(index, image) for index, image in images if image != image.strip()]
    why = "must not have leading or trailing whitespace"
    return [invalid(f"{path}[{index}].image", image, why) for index, image in padded]


def ports(items: Sequence[Obj], path: str) -> list[Cause]:
    """What is wrong with a container's ports."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, port in enumerate(items):
        place = f"{path}[{index}]"
        name = port.get("name", "")
        if name:
            wrong = names.port_name(name)
            causes += [invalid(f"{place}.name", name, why) for why in wrong]
            if not wrong and name in seen:
                causes.append(duplicate(f"{place}.name", name))
            seen.add(name)
        number, host = port.get("containerPort", 0), port.get("hostPort", 0)
        if not number:
            causes.append(required(f"{place}.containerPort"))
        else:
            causes += [invalid(f"{place}.containerPort", number, why) for why in names.port_number(number)]
        if host:
            causes += [invalid(f"{place}.hostPort", host, why) for why in names.port_number(host)]
        protocol = port.get("protocol", "")
        if not protocol:
            causes.append(required(f"{place}.protocol"))
        elif protocol not in PROTOCOLS:
            causes.append(not_supported(f"{place}.protocol", protocol, PROTOCOLS))
    return causes


def _port_conflicts(items: Sequence[Obj], path: str) -> list[Cause]:
    """The same host port may not be asked for twice."""
    causes: list[Cause] = []
    seen: set[tuple[str, str, int]] = set()
    for at, item in enumerate(items):
        for index, port in enumerate(item.get("ports", ())):
            if "hostPort" not in port or not port["hostPort"]:
                continue
            key = (port.get("protocol", ""), port.get("hostIP", ""), port["hostPort"])
            if key in seen:
                text = f"{key[0]}/{key[1]}/{key[2]}"
                causes.append(duplicate(f"{path}[{at}].ports[{index}].hostPort", text))
            seen.add(key)
    return causes


def environment(items: Sequence[Obj], path: str, facts: PodFacts) -> list[Cause]:
    """What is wrong with environment variables."""
    causes: list[Cause] = []
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        name = item.get("name", "")
        if not name:
            causes.append(required(f"{place}.name"))
        else:
            causes += [invalid(f"{place}.name", name, why) for why in names.env_name(name)]
        if "valueFrom" in item:
            causes += env_source(item, f"{place}.valueFrom", facts.volumes)
    return causes


def _environment_sources(items: Sequence[Obj], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        if item.get("prefix"):
            causes += [invalid(f"{place}.prefix", item["prefix"], why) for why in names.env_name(item["prefix"])]
        given = [name for name in ("configMapRef", "secretRef") if name in item]
        for name in given:
            causes += required_name(item[name], f"{place}.{name}.name")
        if not given:
            # Upstream names the list here, not the item.
            causes.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            causes.append(invalid(path, "", "may not have more than one field specified at a time"))
    return causes


def required_name(reference: Obj, path: str) -> list[Cause]:
    """What is wrong with the name of a ConfigMap or Secret that is referred to."""
    name = reference.get("name", "")
    if not name:
        return [required(path)]
    return [invalid(path, name, why) for why in names.dns_subdomain(name)]


def mounts(items: Sequence[Obj], path: str, facts: PodFacts, container: Obj) -> list[Cause]:
    """What is wrong with a container's volume mounts."""
    causes: list[Cause] = []
    paths: set[str] = set()
    devices = container.get("volumeDevices", ())
    device_paths = {device.get("devicePath") for device in devices}
    device_names = {device.get("name") for device in devices}
    for index, mount in enumerate(items):
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not (name and target) or name not in facts.volumes or target in paths or devices or len(mount) > 2:
            place = f"{path}[{index}]"
            if not name:
                causes.append(required(f"{place}.name"))
            if name not in facts.volumes:
                causes.append(not_found(f"{place}.name", name))
            if not target:
                causes.append(required(f"{place}.mountPath"))
            if target in paths:
                causes.append(invalid(f"{place}.mountPath", target, "must be unique"))
            if name in device_names:
                causes.append(invalid(f"{place}.name", name, "must not already exist in volumeDevices"))
            if target in device_paths:
                why = "must not already exist as a path in volumeDevices"
                causes.append(invalid(f"{place}.mountPath", target, why))
            causes += _mount_options(mount, place, path, container)
        paths.add(target)
    return causes


def _mount_options(mount: Obj, place: str, path: str, container: Obj) -> list[Cause]:
    # Upstream names the list for most of these, not the mount.
    sub_path, expression = mount.get("subPath", ""), mount.get("subPathExpr", "")
    causes = local_path(sub_path, f"{path}.subPath") if sub_path else []
    if expression:
        if sub_path:
            why = "subPathExpr and subPath are mutually exclusive"
            causes.append(invalid(f"{place}.subPathExpr", expression, why))
        causes += local_path(expression, f"{path}.subPathExpr")
    propagation = mount.get("mountPropagation")
    if propagation is not None:
        causes += _propagation(propagation, f"{path}.mountPropagation", container)
    recursion = mount.get("recursiveReadOnly")
    if recursion is not None:
        causes += _recursion(recursion, f"{path}.recursiveReadOnly", mount)
    return causes


def _propagation(mode: str, path: str, container: Obj) -> list[Cause]:
    if mode not in PROPAGATIONS:
        return [not_supported(path, mode, PROPAGATIONS)]
    if mode == "Bidirectional" and not container.get("securityContext", {}).get("privileged"):
        return [forbidden(path, "Bidirectional mount propagation is available only to privileged containers")]
    return []


def _recursion(mode: str, path: str, mount: Obj) -> list[Cause]:
    if mode not in RECURSIONS:
        return [not_supported(path, mode, RECURSIONS)]
    if mode == "Disabled":
        return []
    causes: list[Cause] = []
    if not mount.get("readOnly"):
        causes.append(forbidden(path, "may only be specified when readOnly is true"))
    propagation = mount.get("mountPropagation")
    if propagation not in {None, "None"}:
        why = "may only be specified when mountPropagation is None or not specified"
        causes.append(forbidden(path, why))
    return causes


def _devices(items: Sequence[Obj], path: str, facts: PodFacts, mounted: Sequence[Obj]) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    paths: set[str] = set()
    mount_names = {mount.get("name") for mount in mounted}
    mount_paths = {mount.get("mountPath") for mount in mounted}
    for index, device in enumerate(items):
        place = f"{path}[{index}]"
        name, target = device.get("name", ""), device.get("devicePath", "")
        if not name:
            causes.append(required(f"{place}.name"))
        if name in seen:
            causes.append(invalid(f"{place}.name", name, "must be unique"))
        if name not in facts.volumes:
            causes.append(not_found(f"{place}.name", name))
        elif name not in facts.block_claims:
            why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            causes.append(invalid(f"{place}.name", name, why))
        if not target:
            causes.append(required(f"{place}.devicePath"))
        if target in paths:
            causes.append(invalid(f"{place}.devicePath", target, "must be unique"))
        if steps_back(target):
            causes.append(invalid(f"{place}.devicePath", target, "can not contain backsteps ('..')"))
        else:
            paths.add(target)
        if name in mount_names:
            causes.append(invalid(f"{place}.name", name, "must not already exist in volumeMounts"))
        if target in mount_paths:
            causes.append(invalid(f"{place}.devicePath", target, "must not already exist as a path in volumeMounts"))
        if name:
            seen.add(name)
    return causes


def _resize_policies(items: Sequence[Obj], path: str, facts: PodFacts) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, item in enumerate(items):
        name, policy = item.get("resourceName", ""), item.get("restartPolicy", "")
        if name in seen:
            causes.append(duplicate(f"{path}[{index}]", name))
        seen.add(name)
        if name not in {"cpu", "memory"}:
            causes.append(not_supported(path, name, ("cpu", "memory")) if name else required(path))
        if policy not in RESIZE_POLICIES:
            causes.append(not_supported(path, policy, RESIZE_POLICIES) if policy else required(path))
        if facts.restart_policy == "Never" and policy != "NotRequired":
            causes.append(invalid(path, policy, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
    return causes
