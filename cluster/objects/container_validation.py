"""Validate containers: images, ports, environment, mounts, resources, probes, lifecycle, security contexts.

Source: upstream's `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names, quantity
from oarlock.cluster.objects.causes import (
    duplicate,
    forbidden,
    invalid,
    not_found,
    not_supported,
    required,
)
from oarlock.cluster.objects.field_references import env_source
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
SCHEMES: Final = ("HTTP", "HTTPS")
TERMINATION_POLICIES: Final = ("FallbackToLogsOnError", "File")
PROPAGATIONS: Final = ("Bidirectional", "HostToContainer", "None")
PROC_MOUNTS: Final = ("Default", "Unmasked")
SECCOMP_TYPES: Final = ("Localhost", "RuntimeDefault", "Unconfined")
RESIZE_POLICIES: Final = ("NotRequired", "RestartContainer")
NOT_NEGATIVE: Final = "must be greater than or equal to 0"
_ID_MAX: Final = 2**31 - 1
_STANDARD_RESOURCES: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


class PodFacts:
    """What the checks of a container need to know of its pod."""

    def __init__(self, spec: Obj, volumes: Collection[str], claims: Collection[str] = ()) -> None:
        self.volumes = volumes
        self.block_claims: Collection[str] = claims
        self.grace_period_s: int = spec.get("terminationGracePeriodSeconds", 30)
        self.host_network = bool(spec.get("hostNetwork"))
        self.resource_claims = {claim.get("name") for claim in spec.get("resourceClaims", ())}


def containers(items: Sequence[Obj], path: str, facts: PodFacts) -> list[Cause]:
    """What is wrong with a pod's main containers."""
    if not items:
        return [required(path)]
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        causes += container(item, place, facts)
        causes += _unique_name(item, place, seen)
        causes += _lifecycle(item.get("lifecycle"), f"{place}.lifecycle", facts)
        causes += probes(item, place, facts)
        if "restartPolicy" in item and item["restartPolicy"] != "Always":
            causes += _other_restart_policy(item["restartPolicy"], f"{place}.restartPolicy")
    causes += _port_conflicts(items, path)
    return causes


def _other_restart_policy(policy: str, path: str) -> list[Cause]:
    return [] if policy in {"Never", "OnFailure"} else [not_supported(path, policy, ("Always", "Never", "OnFailure"))]


def init_containers(items: Sequence[Obj], path: str, facts: PodFacts, taken: Iterable[str]) -> list[Cause]:
    """What is wrong with init containers; only restartable ones (sidecars) have probes and a lifecycle."""
    causes: list[Cause] = []
    seen = set(taken)
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        causes += container(item, place, facts)
        causes += _unique_name(item, place, seen)
        policy = item.get("restartPolicy")
        if policy is not None and policy != "Always":
            causes += _other_restart_policy(policy, f"{place}.restartPolicy")
        if policy == "Always":
            causes += _lifecycle(item.get("lifecycle"), f"{place}.lifecycle", facts)
            causes += probes(item, place, facts)
            continue
        for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if name in item:
                causes.append(
                    forbidden(f"{place}.{name}", "may not be set for init containers without restartPolicy=Always")
                )
        causes += _port_conflicts([item], path)
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
    name, image = item.get("name", ""), item.get("image", "")
    if not name:
        causes.append(required(f"{path}.name"))
    else:
        causes += [invalid(f"{path}.name", name, why) for why in names.dns_label(name)]
    if not image:
        causes.append(required(f"{path}.image"))
    elif image != image.strip():
        causes.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    policy = item.get("terminationMessagePolicy")
    if policy is not None and policy not in TERMINATION_POLICIES:
        causes.append(not_supported(f"{path}.terminationMessagePolicy", policy, TERMINATION_POLICIES))
    if "ports" in item:
        causes += ports(item["ports"], f"{path}.ports", facts)
    if "env" in item:
        causes += environment(item["env"], f"{path}.env", facts)
    if "envFrom" in item:
        causes += _environment_sources(item["envFrom"], f"{path}.envFrom")
    if "volumeMounts" in item:
        causes += mounts(item["volumeMounts"], f"{path}.volumeMounts", facts, item.get("volumeDevices", ()))
    if "volumeDevices" in item:
        causes += _devices(item["volumeDevices"], f"{path}.volumeDevices", facts)
    pull = item.get("imagePullPolicy")
    if pull is not None and pull not in PULL_POLICIES:
        causes.append(not_supported(f"{path}.imagePullPolicy", pull, PULL_POLICIES))
    if item.get("resources"):
        causes += resource_requirements(item["resources"], f"{path}.resources", facts)
    if "resizePolicy" in item:
        causes += _resize_policies(item["resizePolicy"], f"{path}.resizePolicy")
    if item.get("securityContext"):
        causes += security_context(item["securityContext"], f"{path}.securityContext")
    return causes


def ports(items: Sequence[Obj], path: str, facts: PodFacts) -> list[Cause]:
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
            if facts.host_network and host != number:
                causes.append(
                    invalid(f"{place}.hostPort", host, "must match `containerPort` when `hostNetwork` is true")
                )
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
            if not port.get("hostPort"):
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


def mounts(items: Sequence[Obj], path: str, facts: PodFacts, devices: Sequence[Obj] = ()) -> list[Cause]:
    """What is wrong with volume mounts."""
    causes: list[Cause] = []
    paths: set[str] = set()
    device_paths = {device.get("devicePath") for device in devices}
    device_names = {device.get("name") for device in devices}
    for index, mount in enumerate(items):
        place = f"{path}[{index}]"
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            causes.append(required(f"{place}.name"))
        if not target:
            causes.append(required(f"{place}.mountPath"))
        if name not in facts.volumes:
            causes.append(not_found(f"{place}.name", name))
        if target in paths:
            causes.append(invalid(f"{place}.mountPath", target, "must be unique"))
        paths.add(target)
        if name in device_names:
            causes.append(invalid(f"{place}.name", name, "must not already exist in volumeDevices"))
        if target in device_paths:
            causes.append(invalid(f"{place}.mountPath", target, "must not already exist as a path in volumeDevices"))
        causes += _mount_options(mount, place, path)
    return causes


def _mount_options(mount: Obj, place: str, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("subPath", "subPathExpr"):
        if mount.get(name):
            causes += local_path(mount[name], f"{path if name == 'subPath' else place}.{name}")
    if mount.get("subPath") and mount.get("subPathExpr"):
        causes.append(
            invalid(f"{place}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
        )
    propagation = mount.get("mountPropagation")
    if propagation is not None and propagation not in PROPAGATIONS:
        causes.append(not_supported(f"{path}.mountPropagation", propagation, PROPAGATIONS))
    return causes


def local_path(text: str, path: str) -> list[Cause]:
    """What is wrong with a path below a volume: relative, and never upwards."""
    causes: list[Cause] = []
    if text.startswith("/"):
        causes.append(invalid(path, text, "must be a relative path"))
    if ".." in text.split("/"):
        causes.append(invalid(path, text, "must not contain '..'"))
    return causes


def _devices(items: Sequence[Obj], path: str, facts: PodFacts) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, device in enumerate(items):
        place = f"{path}[{index}]"
        name, target = device.get("name", ""), device.get("devicePath", "")
        if not name:
            causes.append(required(f"{place}.name"))
        if name in seen:
            causes.append(invalid(f"{place}.name", name, "must be unique"))
        if not target:
            causes.append(required(f"{place}.devicePath"))
        if name and name not in facts.block_claims:
            if name in facts.volumes:
                why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
                causes.append(invalid(f"{place}.name", name, why))
            else:
                causes.append(not_found(f"{place}.name", name))
        seen.add(name)
    return causes


def resource_requirements(item: Obj, path: str, facts: PodFacts | None = None) -> list[Cause]:
    """What is wrong with limits, requests and claims."""
    causes: list[Cause] = []
    limits, requests = item.get("limits", {}), item.get("requests", {})
    for name, amount in limits.items():
        causes += resource_amount(name, amount, f"{path}.limits[{name}]")
    for name, amount in requests.items():
        place = f"{path}.requests"
        causes += resource_amount(name, amount, f"{place}[{name}]")
        if name in limits:
            causes += _within_limit(name, amount, limits[name], place)
        elif _is_extended(name) or name.startswith("hugepages-"):
            kind = "Limit must be set for non overcommitable resources"
            causes.append(required(f"{path}.limits", kind))
    for index, claim in enumerate(item.get("claims", ())):
        place = f"{path}.claims[{index}]"
        if not claim.get("name"):
            causes.append(required(place))
        elif facts is not None and claim["name"] not in facts.resource_claims:
            causes.append(not_found(place, claim["name"]))
    return causes


def _within_limit(name: str, amount: str, limit: str, path: str) -> list[Cause]:
    asked, most = quantity.parse(amount), quantity.parse(limit)
    if (_is_extended(name) or name.startswith("hugepages-")) and asked != most:
        return [invalid(path, amount, f"must be equal to {name} limit of {most}")]
    if asked > most:
        return [invalid(path, amount, f"must be less than or equal to {name} limit of {most}")]
    return []


def _is_extended(name: str) -> bool:
    domain, slash, _ = name.partition("/")
    return bool(slash) and not domain.endswith("kubernetes.io") and not name.startswith("requests.")


def resource_amount(name: str, amount: str, path: str) -> list[Cause]:
    """What is wrong with a container's amount of one resource."""
    causes = resource_name(name, path)
    value = quantity.parse(amount)
    if value.nano < 0:
        causes.append(invalid(path, amount, NOT_NEGATIVE))
    if (_is_extended(name) or name.startswith("hugepages-")) and value.nano % quantity.NANO:
        causes.append(invalid(path, amount, "must be an integer"))
    return causes


def resource_name(name: str, path: str) -> list[Cause]:
    """What is wrong with the name of a container's resource."""
    causes = [invalid(path, name, why) for why in names.qualified_name(name)]
    if not causes and "/" not in name and name not in _STANDARD_RESOURCES and not name.startswith("hugepages-"):
        causes.append(invalid(path, name, "must be a standard resource type or fully qualified"))
        causes.append(invalid(path, name, "must be a standard resource for containers"))
    return causes


def _resize_policies(items: Sequence[Obj], path: str) -> list[Cause]:
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
    return causes


def probes(item: Obj, path: str, facts: PodFacts) -> list[Cause]:
    """What is wrong with a container's probes."""
    causes: list[Cause] = []
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name not in item:
            continue
        place = f"{path}.{name}"
        causes += probe(item[name], place, facts)
        if name != "readinessProbe" and item[name].get("successThreshold", 1) != 1:
            causes.append(invalid(f"{place}.successThreshold", item[name].get("successThreshold"), "must be 1"))
        if name == "readinessProbe" and "terminationGracePeriodSeconds" in item[name]:
            value = item[name]["terminationGracePeriodSeconds"]
            why = "must not be set for readinessProbes"
            causes.append(invalid(f"{place}.terminationGracePeriodSeconds", value, why))
    return causes


def probe(item: Obj, path: str, facts: PodFacts) -> list[Cause]:
    """What is wrong with one probe."""
    causes = handler(item, path, facts)
    numbers = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
    causes += [invalid(f"{path}.{name}", item[name], NOT_NEGATIVE) for name in numbers if item.get(name, 0) < 0]
    grace = item.get("terminationGracePeriodSeconds", 1)
    if grace <= 0:
        causes.append(invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    return causes


def handler(item: Obj, path: str, facts: PodFacts) -> list[Cause]:
    """What is wrong with the one action of a probe or lifecycle hook."""
    given = [name for name in _HANDLERS if name in item]
    if not given:
        return [required(path, "must specify a handler type")]
    causes = [forbidden(f"{path}.{name}", "may not specify more than 1 handler type") for name in given[1:]]
    name = given[0]
    return causes + _ACTIONS[name](item[name], f"{path}.{name}", facts)


def _exec(action: Obj, path: str, _facts: PodFacts) -> list[Cause]:
    return [] if action.get("command") else [required(f"{path}.command")]


def _http(action: Obj, path: str, _facts: PodFacts) -> list[Cause]:
    causes = [] if action.get("path") else [required(f"{path}.path")]
    causes += port(action.get("port", 0), f"{path}.port")
    if action.get("scheme") not in SCHEMES:
        causes.append(not_supported(f"{path}.scheme", action.get("scheme", ""), SCHEMES))
    for header in action.get("httpHeaders", ()):
        name = header.get("name", "")
        if not name or not all((char.isalnum() and char.isascii()) or char == "-" for char in name):
            why = "a valid HTTP header must consist of alphanumeric characters or '-'"
            form = "(e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"
            causes.append(invalid(f"{path}.httpHeaders", name, f"{why} {form}"))
    return causes


def _tcp(action: Obj, path: str, _facts: PodFacts) -> list[Cause]:
    return port(action.get("port", 0), f"{path}.port")


def _grpc(action: Obj, path: str, _facts: PodFacts) -> list[Cause]:
    return port(action.get("port", 0), f"{path}.port")


def _sleep(action: Obj, path: str, facts: PodFacts) -> list[Cause]:
    seconds = action.get("seconds", 0)
    if 0 <= seconds <= facts.grace_period_s:
        return []
    why = f"must be non-negative and less than terminationGracePeriodSeconds ({facts.grace_period_s})"
    return [invalid(path, seconds, why)]


_ACTIONS: Final = {"exec": _exec, "httpGet": _http, "tcpSocket": _tcp, "grpc": _grpc, "sleep": _sleep}


def port(value: int | str, path: str) -> list[Cause]:
    """What is wrong with a port that is a number or a name."""
    rule = names.port_name(value) if isinstance(value, str) else names.port_number(value)
    return [invalid(path, value, why) for why in rule]


def _lifecycle(item: Obj | None, path: str, facts: PodFacts) -> list[Cause]:
    if not item:
        return []
    hooks = ((name, item[name]) for name in ("postStart", "preStop") if name in item)
    return [cause for name, hook in hooks for cause in handler(hook, f"{path}.{name}", facts)]


def security_context(item: Obj, path: str) -> list[Cause]:
    """What is wrong with a container's security context."""
    causes: list[Cause] = []
    for name in ("runAsUser", "runAsGroup"):
        causes += identity(item.get(name), f"{path}.{name}")
    proc = item.get("procMount")
    if proc is not None and proc not in PROC_MOUNTS:
        causes.append(not_supported(f"{path}.procMount", proc, PROC_MOUNTS))
    causes += seccomp(item.get("seccompProfile"), f"{path}.seccompProfile")
    if item.get("allowPrivilegeEscalation") is False:
        if item.get("privileged"):
            why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            causes.append(invalid(path, item, why))
        if "CAP_SYS_ADMIN" in item.get("capabilities", {}).get("add", ()):
            why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            causes.append(invalid(path, item, why))
    return causes


def identity(number: int | None, path: str) -> list[Cause]:
    """What is wrong with a numeric user or group."""
    if number is None or 0 <= number <= _ID_MAX:
        return []
    return [invalid(path, number, names.INCLUSIVE.format(0, _ID_MAX))]


def seccomp(profile: Obj | None, path: str) -> list[Cause]:
    """What is wrong with a seccomp profile."""
    if profile is None:
        return []
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    if kind == "Localhost":
        if not local:
            return [required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")]
        return local_path(local, f"{path}.localhostProfile")
    causes: list[Cause] = []
    if local is not None:
        causes.append(invalid(f"{path}.localhostProfile", local, "can only be set when seccomp type is Localhost"))
    if not kind:
        return [*causes, required(f"{path}.type", "type is required when seccompProfile is set")]
    if kind not in SECCOMP_TYPES:
        causes.append(not_supported(f"{path}.type", kind, SECCOMP_TYPES))
    return causes
