"""Validate Pods and pod templates.

Source: upstream's `ValidatePodSpec` in `pkg/apis/core/validation/validation.go`; the order of checks is its order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import metadata_validation, names
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, not_supported, required, too_long
from oarlock.cluster.objects.container_validation import PodFacts, containers, init_containers, padded_images
from oarlock.cluster.objects.ephemeral_validation import ephemeral_containers
from oarlock.cluster.objects.gostructs import Struct
from oarlock.cluster.objects.known import Known
from oarlock.cluster.objects.pod_annotations import pod_annotations, profiles_match
from oarlock.cluster.objects.resource_validation import NOT_NEGATIVE, pod_resources, resource_amount
from oarlock.cluster.objects.scheduling_validation import affinity, spread_constraints, tolerations
from oarlock.cluster.objects.security_validation import own_users, pod_security
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.volume_validation import volumes
from oarlock.cluster.objects.windows_validation import host_processes, operating_system

Obj = Mapping[str, Any]
RESTART_POLICIES: Final = ("Always", "OnFailure", "Never")
DNS_POLICIES: Final = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
PREEMPTION_POLICIES: Final = ("PreemptLowerPriority", "Never")
SECONDS_MAX: Final = 2**31 - 1
_NAME_SERVERS_MAX: Final = 3
_HOSTNAME_MAX: Final = 64
_SEARCHES_MAX: Final = 32
_SEARCH_CHARS_MAX: Final = 2048


def pod(obj: Obj) -> list[Cause]:
    """What is wrong with a new Pod beyond the metadata that every kind has."""
    causes = pod_metadata_and_spec(obj)
    spec = obj["spec"]
    if spec.get("ephemeralContainers"):
        causes.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        causes.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    pairs = obj["metadata"].get("annotations")
    return causes + profiles_match(pairs, spec, "spec") if pairs else causes


def pod_metadata_and_spec(obj: Obj) -> list[Cause]:
    """What is wrong with a Pod's annotations and spec, new or changed; a template may have more than a Pod."""
    return _RIGHT.checked(_judged(obj), lambda: _pod_metadata_and_spec(obj))


_RIGHT: Final = Known()


def _judged(obj: Obj) -> object:
    """Return all that the rules of a Pod look at: its name only where claims are named after it."""
    metadata, spec = obj["metadata"], obj["spec"]
    is_named_after = any("ephemeral" in volume for volume in spec.get("volumes") or ())
    return metadata.get("annotations"), spec, metadata.get("name") if is_named_after else None


def _pod_metadata_and_spec(obj: Obj) -> list[Cause]:
    spec = obj["spec"]
    causes = pod_metadata(obj) + pod_spec(spec, "spec", obj["metadata"].get("name", ""))
    if not spec.get("serviceAccountName"):
        causes += _tokens_of_nobody(spec.get("volumes", ()))
    causes += padded_images(spec.get("containers") or (), "spec.containers")
    if "initContainers" in spec:
        causes += padded_images(spec["initContainers"], "spec.initContainers")
    return causes


def pod_metadata(obj: Obj) -> list[Cause]:
    """What is wrong with a Pod's annotations, some of which speak of its spec."""
    pairs = obj["metadata"].get("annotations")
    return [] if pairs is None else pod_annotations(pairs, obj["spec"], "metadata.annotations")


def _tokens_of_nobody(listed: Sequence[Obj]) -> list[Cause]:
    why = "must not be specified when serviceAccountName is not set"
    return [
        forbidden(f"spec.volumes[{at}].projected.sources[{index}].serviceAccountToken", why)
        for at, volume in enumerate(listed)
        for index, source in enumerate(volume.get("projected", {}).get("sources") or ())
        if "serviceAccountToken" in source
    ]


def pod_spec(spec: Obj, path: str, pod_name: str | None = None) -> list[Cause]:
    """What is wrong with a pod spec at `path`; `pod_name` only for Pods themselves."""
    causes: list[Cause] = []
    if spec.get("terminationGracePeriodSeconds") is None:
        causes.append(required(f"{path}.terminationGracePeriodSeconds"))
    listed: Sequence[Obj] = spec.get("volumes", ())
    good: set[str] = set()
    if listed:
        wrong, good = volumes(listed, f"{path}.volumes", pod_name)
        causes += wrong
    facts = PodFacts(spec, good, _block_sources(listed))
    if "resourceClaims" in spec:
        causes += _resource_claims(spec["resourceClaims"], f"{path}.resourceClaims")
    causes += _all_containers(spec, path, facts)
    if spec.get("resources"):
        causes += pod_resources(spec, path)
    if spec.get("hostNetwork"):
        causes += _host_ports(spec, path, is_pod=pod_name is not None)
    if spec.get("restartPolicy") not in RESTART_POLICIES:
        causes += _choice(spec.get("restartPolicy", ""), f"{path}.restartPolicy", RESTART_POLICIES)
    if spec.get("dnsPolicy") not in DNS_POLICIES:
        causes += _choice(spec.get("dnsPolicy", ""), f"{path}.dnsPolicy", DNS_POLICIES)
    if "nodeSelector" in spec:
        causes += metadata_validation.labels(spec["nodeSelector"], f"{path}.nodeSelector")
    if spec.get("securityContext") or spec.get("shareProcessNamespace"):
        causes += pod_security(spec.get("securityContext", {}), f"{path}.securityContext", spec)
    if "affinity" in spec:
        causes += affinity(spec["affinity"], f"{path}.affinity")
    if spec.get("dnsPolicy") == "None" or "dnsConfig" in spec:
        causes += _dns_config(spec, path)
    if "readinessGates" in spec or "schedulingGates" in spec:
        causes += _gates(spec, path)
    if "topologySpreadConstraints" in spec:
        causes += spread_constraints(spec["topologySpreadConstraints"], f"{path}.topologySpreadConstraints")
    causes += host_processes(spec, path)
    if not facts.host_users:
        causes += own_users(spec, path)
    causes += _names(spec, path, ("serviceAccountName", "nodeName"))
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is not None and not 1 <= seconds <= SECONDS_MAX:
        why = names.INCLUSIVE.format(1, SECONDS_MAX)
        causes.append(invalid(f"{path}.activeDeadlineSeconds", seconds, why))
    causes += _names(spec, path, ("hostname", "subdomain"))
    if "hostnameOverride" in spec:
        causes += _override(spec["hostnameOverride"], f"{path}.hostnameOverride")
    if "tolerations" in spec:
        causes += tolerations(spec["tolerations"], f"{path}.tolerations")
    if "hostAliases" in spec:
        causes += _host_aliases(spec["hostAliases"], f"{path}.hostAliases")
    causes += _priority(spec, path)
    if "overhead" in spec:
        for name, amount in spec["overhead"].items():
            causes += resource_amount(name, amount, f"{path}.overhead[{name}]")
    return causes + operating_system(spec, path) if "os" in spec else causes


def _all_containers(spec: Obj, path: str, facts: PodFacts) -> list[Cause]:
    main: Sequence[Obj] = spec.get("containers") or ()
    causes = containers(main, f"{path}.containers", facts)
    if "initContainers" in spec:
        taken = [one.get("name", "") for one in main]
        causes += init_containers(spec["initContainers"], f"{path}.initContainers", facts, taken)
    if "ephemeralContainers" in spec:
        causes += ephemeral_containers(spec, f"{path}.ephemeralContainers", facts)
    return causes


def _resource_claims(items: Sequence[Obj], path: str) -> list[Cause]:
    """What is wrong with a pod's resource claims: each has a name and exactly one source."""
    causes: list[Cause] = []
    seen: set[str] = set()
    sources = ("resourceClaimName", "resourceClaimTemplateName")
    for index, item in enumerate(items):
        place, name = f"{path}[{index}]", item.get("name", "")
        if not name:
            causes.append(required(f"{place}.name"))
        elif name in seen:
            causes.append(duplicate(f"{place}.name", name))
        else:
            causes += [invalid(f"{place}.name", name, why) for why in names.dns_label(name)]
            seen.add(name)
        given = [source for source in sources if source in item]
        shown = Struct("core.v1.PodResourceClaim", item)
        if len(given) > 1:
            why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            causes.append(invalid(place, shown, why))
        elif not given:
            causes.append(
                invalid(place, shown, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
            )
        causes += [
            invalid(f"{place}.{source}", item[source], why)
            for source in given
            for why in names.dns_subdomain(item[source])
        ]
    return causes


def _host_ports(spec: Obj, path: str, *, is_pod: bool) -> list[Cause]:
    """On the host's network a port is the host's; a template may leave that to the pod."""
    causes: list[Cause] = []
    for at, container in enumerate(spec.get("containers") or ()):
        for index, port in enumerate(container.get("ports", ())):
            host = port.get("hostPort", 0)
            if (is_pod or host) and host != port.get("containerPort", 0):
                place = f"{path}.containers[{at}].ports[{index}].hostPort"
                causes.append(invalid(place, host, "must match `containerPort` when `hostNetwork` is true"))
    return causes


def _override(name: str, path: str) -> list[Cause]:
    causes = [invalid(path, name, why) for why in names.dns_subdomain(name)]
    return [*causes, too_long(path, _HOSTNAME_MAX)] if len(name) > _HOSTNAME_MAX else causes


def _block_sources(listed: Sequence[Obj]) -> set[str]:
    """The volumes that may be attached as block devices."""
    return {one.get("name", "") for one in listed if "persistentVolumeClaim" in one or "ephemeral" in one}


def _choice(value: str, path: str, choices: Sequence[str]) -> list[Cause]:
    if not value:
        return [required(path)]
    return [] if value in choices else [not_supported(path, value, choices)]


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
    return causes


_NAME_RULES: Final = {
    "serviceAccountName": names.dns_subdomain,
    "nodeName": names.dns_subdomain,
    "hostname": names.dns_label,
    "subdomain": names.dns_label,
}


def _names(spec: Obj, path: str, fields: Sequence[str]) -> list[Cause]:
    return [
        invalid(f"{path}.{field}", spec[field], why)
        for field in fields
        if spec.get(field)
        for why in _NAME_RULES[field](spec[field])
    ]


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
