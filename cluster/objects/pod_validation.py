"""Validate Pods and pod templates.

Source: upstream's `ValidatePodSpec` in `pkg/apis/core/validation/validation.go`; the order of checks is its order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import metadata_validation, names
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, not_supported, required
from oarlock.cluster.objects.container_validation import (
    NOT_NEGATIVE,
    PodFacts,
    containers,
    identity,
    init_containers,
    resource_amount,
    resource_requirements,
    seccomp,
)
from oarlock.cluster.objects.scheduling_validation import affinity, spread_constraints, tolerations
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.volume_validation import volumes

Obj = Mapping[str, Any]
RESTART_POLICIES: Final = ("Always", "OnFailure", "Never")
DNS_POLICIES: Final = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
PREEMPTION_POLICIES: Final = ("PreemptLowerPriority", "Never")
_SECONDS_MAX: Final = 2**31 - 1
_NAME_SERVERS_MAX: Final = 3
_SEARCHES_MAX: Final = 32
_SEARCH_CHARS_MAX: Final = 2048


def pod(obj: Obj) -> list[Cause]:
    """What is wrong with a new Pod beyond its metadata."""
    causes = pod_spec(obj.get("spec", {}), "spec", obj["metadata"].get("name"))
    if obj["spec"].get("ephemeralContainers"):
        causes.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    return causes


def pod_spec(spec: Obj, path: str, pod_name: str | None = None) -> list[Cause]:
    """What is wrong with a pod spec at `path`; `pod_name` only for Pods themselves."""
    causes: list[Cause] = []
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is None:
        causes.append(required(f"{path}.terminationGracePeriodSeconds"))
    listed: Sequence[Obj] = spec.get("volumes", ())
    wrong, good = volumes(listed, f"{path}.volumes", pod_name)
    causes += wrong
    facts = PodFacts(spec, good, _block_sources(listed))
    main: Sequence[Obj] = spec.get("containers") or ()
    causes += containers(main, f"{path}.containers", facts)
    if "initContainers" in spec:
        taken = [one.get("name", "") for one in main]
        causes += init_containers(spec["initContainers"], f"{path}.initContainers", facts, taken)
    if spec.get("resources"):
        causes += resource_requirements(spec["resources"], f"{path}.resources")
    causes += _choice(spec.get("restartPolicy", ""), f"{path}.restartPolicy", RESTART_POLICIES)
    causes += _choice(spec.get("dnsPolicy", ""), f"{path}.dnsPolicy", DNS_POLICIES)
    if "nodeSelector" in spec:
        causes += metadata_validation.labels(spec["nodeSelector"], f"{path}.nodeSelector")
    if spec.get("securityContext"):
        causes += _security_context(spec["securityContext"], f"{path}.securityContext", spec)
    if "affinity" in spec:
        causes += affinity(spec["affinity"], f"{path}.affinity")
    if spec.get("dnsPolicy") == "None" or "dnsConfig" in spec:
        causes += _dns_config(spec, path)
    causes += _gates(spec, path)
    if "topologySpreadConstraints" in spec:
        causes += spread_constraints(spec["topologySpreadConstraints"], f"{path}.topologySpreadConstraints")
    causes += _names(spec, path)
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is not None and not 1 <= seconds <= _SECONDS_MAX:
        why = names.INCLUSIVE.format(1, _SECONDS_MAX)
        causes.append(invalid(f"{path}.activeDeadlineSeconds", seconds, why))
    if "tolerations" in spec:
        causes += tolerations(spec["tolerations"], f"{path}.tolerations")
    causes += _host_aliases(spec.get("hostAliases", ()), f"{path}.hostAliases")
    causes += _priority(spec, path)
    for name, amount in spec.get("overhead", {}).items():
        causes += resource_amount(name, amount, f"{path}.overhead[{name}]")
    return causes


def _block_sources(listed: Sequence[Obj]) -> set[str]:
    """The volumes that may be attached as block devices."""
    return {one.get("name", "") for one in listed if "persistentVolumeClaim" in one or "ephemeral" in one}


def _choice(value: str, path: str, choices: Sequence[str]) -> list[Cause]:
    if not value:
        return [required(path)]
    return [] if value in choices else [not_supported(path, value, choices)]


def _security_context(item: Obj, path: str, spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("fsGroup", "runAsUser", "runAsGroup"):
        causes += identity(item.get(name), f"{path}.{name}")
    for index, group in enumerate(item.get("supplementalGroups", ())):
        causes += identity(group, f"{path}.supplementalGroups[{index}]")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        causes.append(invalid(f"{path}.shareProcessNamespace", spec["shareProcessNamespace"], why))
    if "sysctls" in item:
        causes += _sysctls(item["sysctls"], f"{path}.sysctls")
    policy = item.get("fsGroupChangePolicy")
    if policy is not None and policy not in ("Always", "OnRootMismatch"):
        causes.append(not_supported(f"{path}.fsGroupChangePolicy", policy, ("Always", "OnRootMismatch")))
    causes += seccomp(item.get("seccompProfile"), f"{path}.seccompProfile")
    policy = item.get("supplementalGroupsPolicy")
    if policy is not None and policy not in ("Merge", "Strict"):
        causes.append(not_supported(f"{path}.supplementalGroupsPolicy", policy, ("Merge", "Strict")))
    return causes


def _sysctls(items: Sequence[Obj], path: str) -> list[Cause]:
    form = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, item in enumerate(items):
        name, place = item.get("name", ""), f"{path}[{index}].name"
        if not name:
            causes.append(required(place))
        elif len(name) > names.SUBDOMAIN_MAX or names.dns_subdomain(name.replace("/", ".").replace("_", "-")):
            causes.append(invalid(place, name, f"must have at most 253 characters and match regex {form}"))
        elif name in seen:
            causes.append(duplicate(place, name))
        seen.add(name)
    return causes


def _dns_config(spec: Obj, path: str) -> list[Cause]:
    place = f"{path}.dnsConfig"
    config: Obj | None = spec.get("dnsConfig")
    servers = (config or {}).get("nameservers", ())
    if spec.get("dnsPolicy") == "None":
        if config is None:
            return [required(place, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not servers:
            return [
                required(f"{place}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")
            ]
    causes: list[Cause] = []
    if len(servers) > _NAME_SERVERS_MAX:
        causes.append(
            invalid(f"{place}.nameservers", servers, f"must not have more than {_NAME_SERVERS_MAX} nameservers")
        )
    for index, server in enumerate(servers):
        causes += [invalid(f"{place}.nameservers[{index}]", server, why) for why in names.ip_address(server)]
    searches = (config or {}).get("searches", ())
    if len(searches) > _SEARCHES_MAX:
        causes.append(invalid(f"{place}.searches", searches, f"must not have more than {_SEARCHES_MAX} search paths"))
    if sum(map(len, searches)) + max(len(searches) - 1, 0) > _SEARCH_CHARS_MAX:
        why = f"must not have more than {_SEARCH_CHARS_MAX} characters (including spaces) in the search list"
        causes.append(invalid(f"{place}.searches", searches, why))
    for index, search in enumerate(searches):
        causes += [invalid(f"{place}.searches[{index}]", search, why) for why in names.search_domain(search)]
    for index, option in enumerate((config or {}).get("options", ())):
        if not option.get("name"):
            causes.append(required(f"{place}.options[{index}]", "must not be empty"))
    return causes


def _gates(spec: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, gate in enumerate(spec.get("readinessGates", ())):
        name = gate.get("conditionType", "")
        place = f"{path}.readinessGates[{index}].conditionType"
        causes += [invalid(place, name, why) for why in names.qualified_name(name)]
    seen: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates", ())):
        name, place = gate.get("name", ""), f"{path}.schedulingGates[{index}]"
        causes += [invalid(place, name, why) for why in names.qualified_name(name)]
        if name in seen:
            causes.append(duplicate(f"{place}.name", name))
        seen.add(name)
    if spec.get("schedulingGates") and spec.get("nodeName"):
        causes.append(forbidden(f"{path}.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return causes


def _names(spec: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    rules = (
        ("serviceAccountName", names.dns_subdomain),
        ("nodeName", names.dns_subdomain),
        ("hostname", names.dns_label),
        ("subdomain", names.dns_label),
    )
    for field, rule in rules:
        value = spec.get(field)
        if value:
            causes += [invalid(f"{path}.{field}", value, why) for why in rule(value)]
    return causes


def _host_aliases(items: Sequence[Obj], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        address = item.get("ip", "")
        causes += [invalid(f"{place}.ip", address, why) for why in names.ip_address(address)]
        for at, name in enumerate(item.get("hostnames", ())):
            causes += [invalid(f"{place}.hostnames[{at}]", name, why) for why in names.dns_subdomain(name)]
    return causes


def _priority(spec: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    name = spec.get("priorityClassName")
    if name:
        causes += [invalid(f"{path}.priorityClassName", name, why) for why in names.dns_subdomain(name)]
    name = spec.get("runtimeClassName")
    if name is not None:
        causes += [invalid(f"{path}.runtimeClassName", name, why) for why in names.dns_subdomain(name)]
    policy = spec.get("preemptionPolicy")
    if policy is not None and policy not in PREEMPTION_POLICIES:
        causes.append(not_supported(f"{path}.preemptionPolicy", policy, PREEMPTION_POLICIES))
    grace = spec.get("terminationGracePeriodSeconds", 0)
    if grace < 0:
        causes.append(invalid(f"{path}.terminationGracePeriodSeconds", grace, NOT_NEGATIVE))
    return causes


def template(item: Obj, path: str) -> list[Cause]:
    """What is wrong with a pod template: its labels and annotations, and its spec."""
    metadata = item.get("metadata", {})
    causes = metadata_validation.labels(metadata.get("labels", {}), f"{path}.labels")
    causes += metadata_validation.annotations(metadata.get("annotations", {}), f"{path}.annotations")
    causes += pod_spec(item.get("spec", {}), f"{path}.spec")
    if item.get("spec", {}).get("ephemeralContainers"):
        why = "ephemeral containers not allowed in pod template"
        causes.append(forbidden(f"{path}.spec.ephemeralContainers", why))
    return causes
