"""A Service's addresses and IP families: what they must be among themselves, to the cluster, and after an update.

Source: upstream's `pkg/registry/core/service/storage/alloc.go` (initIPFamilyFields) and ValidateServiceClusterIPs-
RelatedFields, validateUpgradeDowngrade… in `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects.causes import duplicate, invalid, not_supported, required
from oarlock.cluster.objects.status import Cause

Obj = dict[str, Any]
FAMILIES: Final = ("IPv4", "IPv6")
_POLICIES: Final = ("PreferDualStack", "RequireDualStack", "SingleStack")
_ADDRESSES_MAX: Final = 2
_IPS: Final = "spec.clusterIPs"
_FAMILIES: Final = "spec.ipFamilies"
_POLICY: Final = "spec.ipFamilyPolicy"
_NO_ADDRESS: Final = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_FIXED: Final = "may not change once set"


def canonical(address: str) -> str:
    """Return the one text of an address by which it is known. Raises ValueError for what is no address.

    Zeros before an IPv4 number mean nothing, and an IPv4 address in IPv6's clothes is IPv4.
    Source: ParseIPSloppy in k8s.io/utils/net.
    """
    if "%" in address:
        raise ValueError(f"{address} has a zone")
    if ":" not in address:
        return str(ipaddress.IPv4Address(".".join(part.lstrip("0") or part[:1] for part in address.split("."))))
    ip = ipaddress.IPv6Address(address)
    return str(ip.ipv4_mapped or ip)


def family_of(address: str) -> str:
    """Return an address's family. Raises ValueError for what is no address."""
    return "IPv6" if ":" in canonical(address) else "IPv4"


def other_family(family: str) -> str:
    """Return the family that `family` is not."""
    return "IPv4" if family == "IPv6" else "IPv6"


def is_headless(spec: Mapping[str, Any]) -> bool:
    """Tell whether the Service asks for no address."""
    return list(spec.get("clusterIPs") or ()) == ["None"]


def related_causes(spec: Mapping[str, Any]) -> list[Cause]:
    """What is wrong with clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy, whatever the cluster has."""
    if spec.get("type") == "ExternalName":
        return []
    addresses: Sequence[str] = spec.get("clusterIPs") or ()
    causes = [*_first_matches(spec.get("clusterIP", ""), addresses), *_families(spec)]
    wrong = _wrong_addresses(addresses)
    causes += wrong
    if len(addresses) > _ADDRESSES_MAX:
        causes.append(invalid(_IPS, addresses, "may only hold up to 2 values"))
    if wrong:
        return causes
    if is_headless(spec):
        return causes
    families = [family_of(one) for one in addresses]
    if len(addresses) > 1 and len(set(families)) == 1:
        causes.append(invalid(_IPS, addresses, "may specify no more than one IP for each IP family"))
    for index, (found, family) in enumerate(zip(families, spec.get("ipFamilies") or (), strict=False)):
        if family in FAMILIES and found != family:
            why = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            causes.append(invalid(f"{_IPS}[{index}]", addresses[index], why))
    return causes


def _first_matches(address: str, addresses: Sequence[str]) -> list[Cause]:
    if not address:
        return [invalid(_IPS, addresses, "must be empty when `clusterIP` is not specified")] if addresses else []
    if not addresses:
        return [required(_IPS)]
    return [] if addresses[0] == address else [invalid(_IPS, addresses, "first value must match `clusterIP`")]


def _families(spec: Mapping[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in FAMILIES:
            causes.append(not_supported(f"{_FAMILIES}[{index}]", family, FAMILIES))
        if family in seen:
            causes.append(duplicate(f"{_FAMILIES}[{index}]", family))
        seen.add(family)
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _POLICIES:
        causes.append(not_supported(_POLICY, policy, _POLICIES))
    return causes


def _wrong_addresses(addresses: Sequence[str]) -> list[Cause]:
    causes: list[Cause] = []
    for index, address in enumerate(addresses):
        if index == 0 and address == "None":
            if len(addresses) > 1:
                causes.append(invalid(_IPS, addresses, "'None' must be the first and only value"))
            continue
        try:
            canonical(address)
        except ValueError:
            causes.append(invalid(f"{_IPS}[{index}]", address, _NO_ADDRESS))
    return causes


def settle(spec: Obj, old: Mapping[str, Any] | None, configured: Sequence[str]) -> list[Cause]:
    """Fill in ipFamilyPolicy and ipFamilies, in place, or return what keeps them from being settled.

    `configured` are the cluster's families, its default one first. A Service that prefers two and is sent back as it
    was stays so when the cluster has gained or lost a family: only an explicit change adds or removes an address.
    """
    if spec.get("type") == "ExternalName" or is_kept(spec, old):
        return []
    selectorless = spec.get("clusterIP") == "None" and not spec.get("selector")
    if spec.get("ipFamilyPolicy") is None:
        inherited = (old or {}).get("ipFamilyPolicy")
        spec["ipFamilyPolicy"] = inherited or ("RequireDualStack" if selectorless else "SingleStack")
    causes = related_causes(spec)
    if causes:
        return causes
    if old is not None:
        causes += _shrink(spec, old)
    causes += _too_many_for_one(spec)
    causes += _infer(spec, configured)
    if causes:
        return causes
    families: list[str] = spec.setdefault("ipFamilies", [])
    wants_two = spec["ipFamilyPolicy"] != "SingleStack"
    if not selectorless:
        causes = _unconfigured(spec, configured)
        if causes:
            return causes
        wants_two = wants_two and len(configured) > 1
    if not families:
        families.append(configured[0])
    if len(families) == 1 and wants_two:
        families.append(other_family(families[0]))
    return []


def is_kept(spec: Mapping[str, Any], old: Mapping[str, Any] | None) -> bool:
    """Tell whether an update leaves a Service that prefers two families as it is."""
    return (
        old is not None
        and spec.get("type") == old.get("type") != "ExternalName"
        and spec.get("ipFamilyPolicy") == "PreferDualStack" == (old.get("ipFamilyPolicy") or "PreferDualStack")
        and _same(spec, old, "clusterIPs")
        and _same(spec, old, "ipFamilies")
    )


def _same(spec: Mapping[str, Any], old: Mapping[str, Any], name: str) -> bool:
    return list(spec.get(name) or ()) == list(old.get(name) or ())


def _shrink(spec: Obj, old: Mapping[str, Any]) -> list[Cause]:
    """A single-stack policy alone drops the second address and family; without it neither may go."""
    policy = spec["ipFamilyPolicy"]
    if policy == "SingleStack":
        for name in ("clusterIPs", "ipFamilies"):
            if len(spec.get(name) or ()) > 1 and _same(spec, old, name):
                spec[name] = spec[name][:1]
        return []
    causes: list[Cause] = []
    for name, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        if 0 < len(spec.get(name) or ()) < len(old.get(name) or ()):
            causes.append(invalid(_POLICY, policy, f"must be 'SingleStack' to release the secondary {what}"))
    return causes


def _too_many_for_one(spec: Mapping[str, Any]) -> list[Cause]:
    policy = spec["ipFamilyPolicy"]
    if policy != "SingleStack":
        return []
    wrong = [
        what
        for name, what in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families"))
        if len(spec.get(name) or ()) > 1
    ]
    return [
        invalid(_POLICY, policy, f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified")
        for what in wrong
    ]


def _infer(spec: Obj, configured: Sequence[str]) -> list[Cause]:
    """Take from the addresses what families were not named."""
    addresses: Sequence[str] = spec.get("clusterIPs") or ()
    if not addresses or addresses[0] == "None":
        return []
    families: list[str] = list(spec.get("ipFamilies") or ())
    causes: list[Cause] = []
    for index, address in enumerate(addresses):
        family = family_of(address)
        if index < len(families):
            continue
        if family in configured:
            families.append(family)
        else:
            causes.append(invalid(f"{_IPS}[{index}]", addresses, f"{family} is not configured on this cluster"))
    spec["ipFamilies"] = families
    return causes


def _unconfigured(spec: Mapping[str, Any], configured: Sequence[str]) -> list[Cause]:
    causes: list[Cause] = []
    policy = spec["ipFamilyPolicy"]
    if policy == "RequireDualStack" and len(configured) < len(FAMILIES):
        causes.append(invalid(_POLICY, policy, "this cluster is not configured for dual-stack services"))
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in configured:
            causes.append(invalid(f"{_FAMILIES}[{index}]", family, "not configured on this cluster"))
    return causes


def update_causes(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[Cause]:
    """What an update may not do to addresses and families: the first ones stay, the second ones go on request only."""
    if "ExternalName" in (new.get("type"), old.get("type")):
        return []
    was, becomes = is_headless(old), is_headless(new)
    causes = [] if was and becomes else _kept(new, old, "clusterIPs", "clusterIP")
    if not was and not becomes:
        causes += _kept(new, old, "ipFamilies", "ipFamily")
    return causes


def _kept(new: Mapping[str, Any], old: Mapping[str, Any], name: str, what: str) -> list[Cause]:
    asked, had = list(new.get(name) or ()), list(old.get(name) or ())
    if len(asked) == len(had):
        # Upstream names the first family whichever has changed.
        places = [index for index in range(len(had)) if asked[index] != had[index]]
        return [invalid(f"spec.{name}[{index if what == 'clusterIP' else 0}]", asked, _FIXED) for index in places]
    if not asked:
        return [invalid(f"spec.{name}[0]", None, f"primary {what} can not be unset")]
    causes: list[Cause] = []
    if had and asked[0] != had[0]:
        # Upstream shows the addresses, also where a family has changed.
        causes.append(invalid(f"spec.{name}[0]", list(new.get("clusterIPs") or ()), _FIXED))
    policy = new.get("ipFamilyPolicy")
    if len(asked) < len(had) and len(asked) == 1 and policy != "SingleStack":
        why = f"must be set to 'SingleStack' when releasing the secondary {what}"
        causes.append(invalid(_POLICY, policy, why))
    return causes
