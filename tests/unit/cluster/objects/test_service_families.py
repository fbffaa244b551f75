"""What a Service's addresses and families become, on clusters of one family or two, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.objects.service_families import canonical, family_of, related_causes, settle, update_causes

Obj = dict[str, Any]
ONE, TWO, SIX = ("IPv4",), ("IPv4", "IPv6"), ("IPv6", "IPv4")
V4, V6 = "10.0.0.9", "fd00::9"


def spec(**fields: Any) -> Obj:
    return {"type": "ClusterIP", "selector": {"app": "web"}, **fields}


ADDRESS_FORM = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
POLICIES = '"PreferDualStack", "RequireDualStack", "SingleStack"'
MULTIPLE = "must be 'RequireDualStack' or 'PreferDualStack' when multiple"


def addressed(*addresses: str, **fields: Any) -> Obj:
    return spec(clusterIP=addresses[0], clusterIPs=list(addresses), **fields)


def policy(name: str, *families: str) -> Obj:
    return {"ipFamilyPolicy": name, **({"ipFamilies": list(families)} if families else {})}


@pytest.mark.parametrize(
    ("given", "configured", "expected"),
    [
        (spec(), ONE, policy("SingleStack", "IPv4")),
        (spec(), SIX, policy("SingleStack", "IPv6")),
        (addressed(V6), TWO, policy("SingleStack", "IPv6")),
        (spec(**policy("PreferDualStack")), ONE, policy("PreferDualStack", "IPv4")),
        (spec(**policy("PreferDualStack")), TWO, policy("PreferDualStack", "IPv4", "IPv6")),
        (spec(**policy("RequireDualStack")), SIX, policy("RequireDualStack", "IPv6", "IPv4")),
        (spec(**policy("RequireDualStack", "IPv6")), TWO, policy("RequireDualStack", "IPv6", "IPv4")),
        (addressed(V6, V4, **policy("PreferDualStack")), TWO, policy("PreferDualStack", "IPv6", "IPv4")),
        (addressed("None"), TWO, policy("SingleStack", "IPv4")),
        (addressed("None", selector={}), ONE, policy("RequireDualStack", "IPv4", "IPv6")),
        (addressed("None", selector={}, **policy("SingleStack")), ONE, policy("SingleStack", "IPv4")),
        (
            addressed("None", selector={}, **policy("PreferDualStack", "IPv6")),
            ONE,
            policy("PreferDualStack", "IPv6", "IPv4"),
        ),
    ],
)
def test_what_is_filled_in(given: Obj, configured: tuple[str, ...], expected: Obj) -> None:
    assert settle(given, None, configured) == []
    assert {name: given[name] for name in ("ipFamilyPolicy", "ipFamilies")} == expected


def test_an_external_name_has_no_families() -> None:
    given = {"type": "ExternalName"}
    assert settle(given, None, TWO) == []
    assert given == {"type": "ExternalName"}


@pytest.mark.parametrize(
    ("given", "configured", "field", "words"),
    [
        (
            spec(**policy("RequireDualStack")),
            ONE,
            "spec.ipFamilyPolicy",
            '"RequireDualStack": this cluster is not configured for dual-stack services',
        ),
        (spec(ipFamilies=["IPv6"]), ONE, "spec.ipFamilies[0]", '"IPv6": not configured on this cluster'),
        (addressed(V6), ONE, "spec.clusterIPs[0]", '["fd00::9"]: IPv6 is not configured on this cluster'),
        (addressed(V4, V6), TWO, "spec.ipFamilyPolicy", f'"SingleStack": {MULTIPLE} cluster IPs are specified'),
        (
            spec(**policy("SingleStack", "IPv4", "IPv6")),
            TWO,
            "spec.ipFamilyPolicy",
            f'"SingleStack": {MULTIPLE} IP families are specified',
        ),
        (spec(ipFamilyPolicy="Both"), ONE, "spec.ipFamilyPolicy", f'"Both": supported values: {POLICIES}'),
    ],
)
def test_what_a_cluster_refuses(given: Obj, configured: tuple[str, ...], field: str, words: str) -> None:
    (cause,) = settle(given, None, configured)
    assert (cause.field, cause.message.partition(": ")[2]) == (field, words)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (addressed(V4), []),
        (spec(clusterIP=V4), [("spec.clusterIPs", "Required value")]),
        (
            spec(clusterIPs=[V4]),
            [("spec.clusterIPs", 'Invalid value: ["10.0.0.9"]: must be empty when `clusterIP` is not specified')],
        ),
        (
            spec(clusterIP=V4, clusterIPs=[V6]),
            [("spec.clusterIPs", 'Invalid value: ["fd00::9"]: first value must match `clusterIP`')],
        ),
        (
            addressed(V4, "10.0.0.8"),
            [
                (
                    "spec.clusterIPs",
                    'Invalid value: ["10.0.0.9","10.0.0.8"]: may specify no more than one IP for each IP family',
                )
            ],
        ),
        (
            addressed("None", V4),
            [("spec.clusterIPs", 'Invalid value: ["None","10.0.0.9"]: \'None\' must be the first and only value')],
        ),
        (addressed(V4, "None"), [("spec.clusterIPs[1]", f'Invalid value: "None": {ADDRESS_FORM}')]),
        (
            addressed(V4, ipFamilies=["IPv6"]),
            [
                (
                    "spec.clusterIPs[0]",
                    'Invalid value: "10.0.0.9": expected an IPv6 value as indicated by `ipFamilies[0]`',
                )
            ],
        ),
        (spec(ipFamilies=["IPv4", "IPv4"]), [("spec.ipFamilies[1]", 'Duplicate value: "IPv4"')]),
        (
            spec(ipFamilies=["IPv5"]),
            [("spec.ipFamilies[0]", 'Unsupported value: "IPv5": supported values: "IPv4", "IPv6"')],
        ),
        (
            addressed(V4, V6, "fd00::8"),
            [("spec.clusterIPs", 'Invalid value: ["10.0.0.9","fd00::9","fd00::8"]: may only hold up to 2 values')],
        ),
    ],
)
def test_what_fields_must_be_among_themselves(given: Obj, expected: list[tuple[str, str]]) -> None:
    assert [(cause.field, cause.message) for cause in related_causes(given)] == expected


@pytest.mark.parametrize(
    ("text", "known", "family"),
    [
        ("10.0.0.9", "10.0.0.9", "IPv4"),
        ("010.000.0.009", "10.0.0.9", "IPv4"),
        ("FD00:0::9", "fd00::9", "IPv6"),
        ("::ffff:10.0.0.9", "10.0.0.9", "IPv4"),
    ],
)
def test_by_which_text_an_address_is_known(text: str, known: str, family: str) -> None:
    assert (canonical(text), family_of(text)) == (known, family)
    assert related_causes(addressed(text)) == []


@pytest.mark.parametrize("text", ["10.0.0", "10.0.0.256", "10.0.0.-1", "1..2.3", "fe80::1%eth0", "x", "10.0.0.9 "])
def test_what_is_no_address(text: str) -> None:
    (cause,) = related_causes(addressed(text))
    assert (cause.field, cause.message.endswith(ADDRESS_FORM)) == ("spec.clusterIPs[0]", True)


def dual(name: str = "PreferDualStack") -> Obj:
    return addressed(V4, V6, **policy(name, "IPv4", "IPv6"))


def single(name: str = "SingleStack") -> Obj:
    return addressed(V4, **policy(name, "IPv4"))


@pytest.mark.parametrize(
    ("old", "change", "expected"),
    [
        (single(), policy("PreferDualStack"), (["10.0.0.9"], ["IPv4", "IPv6"])),
        (single(), policy("RequireDualStack"), (["10.0.0.9"], ["IPv4", "IPv6"])),
        (single("PreferDualStack"), {}, (["10.0.0.9"], ["IPv4"])),
        (dual(), policy("SingleStack"), (["10.0.0.9"], ["IPv4"])),
        (dual(), {"ipFamilyPolicy": None, "ipFamilies": []}, (["10.0.0.9", "fd00::9"], ["IPv4", "IPv6"])),
    ],
)
def test_what_updates_make_of_it(old: Obj, change: Obj, expected: tuple[list[str], list[str]]) -> None:
    new = {**old, **change}
    assert settle(new, old, TWO) == []
    assert (new["clusterIPs"], new["ipFamilies"]) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"clusterIPs": [V4]}, "must be 'SingleStack' to release the secondary cluster IP"),
        ({"ipFamilies": ["IPv4"]}, "must be 'SingleStack' to release the secondary IP family"),
    ],
)
def test_the_second_goes_on_request_only(change: Obj, words: str) -> None:
    old = dual("RequireDualStack")
    (cause,) = settle({**old, **change}, old, TWO)
    assert (cause.field, words in cause.message) == ("spec.ipFamilyPolicy", True)


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (addressed("10.0.0.8"), single(), [("spec.clusterIPs[0]", "may not change once set")]),
        (dual(), single(), []),
        (
            addressed(V4, "fd00::8", **policy("PreferDualStack", "IPv4", "IPv6")),
            dual(),
            [("spec.clusterIPs[1]", "may not change once set")],
        ),
        (addressed("None", ipFamilies=["IPv6"]), addressed("None", ipFamilies=["IPv4"]), []),
        (addressed("None", ipFamilies=["IPv4"]), single(), [("spec.clusterIPs[0]", "may not change once set")]),
        ({"type": "ExternalName"}, single(), []),
    ],
)
def test_what_updates_may_not_change(new: Obj, old: Obj, expected: list[tuple[str, str]]) -> None:
    found = [(cause.field, cause.message.rpartition(": ")[2]) for cause in update_causes(new, old)]
    assert [one for one in found if one[0].startswith("spec.clusterIPs")] == expected
