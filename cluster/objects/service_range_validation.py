"""Validate ServiceCIDRs and IPAddresses: the ranges of Services' addresses, and who has which.

Source: upstream's pkg/apis/networking/validation and apimachinery `util/validation/ip.go`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import GoFields, invalid, required
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.metadata_validation import IMMUTABLE
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
_RANGES_MAX: Final = 2
_ONE_EACH: Final = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"


def _range(text: str) -> tuple[str, ...]:
    wrong = names.cidr(text)
    if wrong:
        return wrong
    found = ipaddress.ip_interface(text)
    if isinstance(found, ipaddress.IPv6Interface) and found.ip.ipv4_mapped is not None:
        return ("must not have an IPv4-mapped IPv6 address",)
    if found.ip != found.network.network_address:
        return ("must not have bits set beyond the prefix length",)
    canonical = str(found.network)
    return () if canonical == text else (f"must be in canonical form ({quote(canonical)})",)


def service_range(obj: Obj) -> list[Cause]:
    """What is wrong with a ServiceCIDR beyond its metadata."""
    ranges: Sequence[str] = (obj.get("spec") or {}).get("cidrs") or ()
    if not ranges:
        return [required("spec.cidrs", "at least one CIDR required")]
    if len(ranges) > _RANGES_MAX:
        return [invalid("spec.cidrs", ranges, "may only hold up to 2 values")]
    if len(ranges) == _RANGES_MAX and sorted(map(_family, ranges)) != [4, 6]:
        return [invalid("spec.cidrs", ranges, _ONE_EACH)]
    return [invalid(f"spec.cidrs[{index}]", text, why) for index, text in enumerate(ranges) for why in _range(text)]


def _family(text: str) -> int:
    return 0 if names.cidr(text) else ipaddress.ip_network(text, strict=False).version


def service_range_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a ServiceCIDR that replaces `old`: one range may be joined by the other family's, no more."""
    ranges, had = ((one.get("spec") or {}).get("cidrs") or [] for one in (new, old))
    if len(ranges) == len(had) or (len(ranges), len(had)) == (_RANGES_MAX, 1):
        changed = [index for index, one in enumerate(had) if ranges[index] != one]
        causes = [invalid(f"spec.cidrs[{index}]", ranges[index], IMMUTABLE) for index in changed]
        return causes + (service_range(new) if len(ranges) > len(had) else [])
    return [invalid("spec.cidrs", ranges or None, IMMUTABLE)]


def address(obj: Obj) -> list[Cause]:
    """What is wrong with an IPAddress beyond its metadata."""
    parent, path = (obj.get("spec") or {}).get("parentRef"), "spec.parentRef"
    if parent is None:
        return [required(path)]
    group = parent.get("group", "")
    causes = [invalid(f"{path}.group", group, why) for why in names.dns_subdomain(group) if group]
    for name in ("resource", "name", "namespace"):
        text = parent.get(name, "")
        if not text and name != "namespace":
            causes.append(required(f"{path}.{name}"))
        causes += [invalid(f"{path}.{name}", text, why) for why in names.path_segment(text)]
    return causes


def address_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with an IPAddress that replaces `old`: whose it is stays."""
    parent, had = ((one.get("spec") or {}).get("parentRef") for one in (new, old))
    if parent == had:
        return address(new)
    fields = (("Group", "group"), ("Resource", "resource"), ("Namespace", "namespace"), ("Name", "name"))
    shown = None if parent is None else GoFields({told: parent.get(name, "") for told, name in fields})
    return [*address(new), invalid("spec.parentRef", shown, IMMUTABLE)]
