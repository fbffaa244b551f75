"""The Pod Security Standards: every check at its level and versions, in upstream's words."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.apiserver.admission.pod_security import policy
from oarlock.cluster.apiserver.admission.pod_security.plugin import PodSecurity
from oarlock.cluster.apiserver.admission.pod_security.policy import Policy, Standard

Obj = dict[str, Any]
GOOD: Obj = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
PRIVILEGED = 'privileged (container "c" must not set securityContext.privileged=true)'
NOTHING_SAID = (
    'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
    'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
    'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
    'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
    '"Localhost")'
)


def container(name: str = "c", **parts: Any) -> Obj:
    return {"name": name, **parts}


def secured(**settings: Any) -> Obj:
    return container(securityContext={**GOOD, **settings})


def details(standard: Standard, spec: Obj, **annotations: str) -> str:
    metadata = {"annotations": annotations} if annotations else {}
    return policy.details(policy.findings(standard, metadata, spec))


def context(**settings: Any) -> Obj:
    return {"containers": [container(securityContext=settings)]}


BASELINE: dict[str, tuple[Obj, str]] = {
    "nothing special": ({"containers": [container()]}, ""),
    "privileged": (context(privileged=True), PRIVILEGED),
    "two of them": (
        {
            "initContainers": [container("i", securityContext={"privileged": True})],
            "containers": [container(securityContext={"privileged": True})],
        },
        'privileged (containers "i", "c" must not set securityContext.privileged=true)',
    ),
    "capabilities": (
        context(capabilities={"add": ["NET_RAW", "CHOWN", "BPF"]}),
        (
            'non-default capabilities (container "c" must not include "BPF", "NET_RAW" in '
            "securityContext.capabilities.add)"
        ),
    ),
    "the host's namespaces": (
        {"hostPID": True, "hostNetwork": True, "containers": []},
        "host namespaces (hostNetwork=true, hostPID=true)",
    ),
    "the host's files": (
        {"volumes": [{"name": "v", "hostPath": {"path": "/"}}], "containers": []},
        'hostPath volumes (volume "v")',
    ),
    "the host's ports": (
        {"containers": [container(ports=[{"hostPort": 80}, {"hostPort": 443}, {"containerPort": 1}])]},
        'hostPort (container "c" uses hostPorts 443, 80)',
    ),
    "probes of other hosts": (
        {
            "containers": [
                container(livenessProbe={"httpGet": {"host": "a"}}, lifecycle={"preStop": {"tcpSocket": {"host": "b"}}})
            ]
        },
        'probe or lifecycle host (container "c" uses probe or lifecycle hosts "a", "b")',
    ),
    "masks of /proc": (
        context(procMount="Unmasked"),
        'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
    ),
    "masks of /proc in a user namespace": ({**context(procMount="Unmasked"), "hostUsers": False}, ""),
    "seccomp turned off": (
        {
            "securityContext": {"seccompProfile": {"type": "Unconfined"}},
            **context(seccompProfile={"type": "Unconfined"}),
        },
        'seccompProfile (pod and container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
    "SELinux": (
        context(seLinuxOptions={"type": "spc_t", "user": "u", "role": "r"}),
        (
            'seLinuxOptions (container "c" set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be '
            "set; role may not be set)"
        ),
    ),
    "sysctls": (
        {"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}, "containers": []},
        "forbidden sysctls (kernel.msgmax)",
    ),
    "a process of a Windows host": (
        context(windowsOptions={"hostProcess": True}),
        'hostProcess (container "c" must not set securityContext.windowsOptions.hostProcess=true)',
    ),
    "AppArmor turned off": (
        {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}, "containers": []},
        'forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")',
    ),
}


@pytest.mark.parametrize("case", BASELINE)
def test_baseline(case: str) -> None:
    spec, wanted = BASELINE[case]
    assert details(Standard("baseline"), spec) == wanted


def test_annotations_count_as_fields_do() -> None:
    key = "container.apparmor.security.beta.kubernetes.io/c"
    said = details(Standard("baseline"), {"containers": [container()]}, **{key: "unconfined"})
    assert said.startswith("forbidden AppArmor profile (annotation must not set AppArmor profile type to ")
    old = details(
        Standard("baseline", 18), {"containers": []}, **{"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}
    )
    assert old == 'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")'


RESTRICTED: dict[str, tuple[Obj, str]] = {
    "everything said": ({"containers": [secured()]}, ""),
    "nothing said": ({"containers": [container()]}, NOTHING_SAID),
    "said for the pod": (
        {
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}},
            "containers": [secured(runAsNonRoot=None, seccompProfile=None)],
        },
        "",
    ),
    "baseline's checks, too": ({"hostIPC": True, "containers": [secured()]}, "host namespaces (hostIPC=true)"),
    "a low port": ({"containers": [secured(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})]}, ""),
    "another capability": (
        {"containers": [secured(capabilities={"drop": ["ALL"], "add": ["CHOWN"]})]},
        'unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)',
    ),
    "volumes": (
        {"containers": [secured()], "volumes": [{"name": "a", "nfs": {"path": "/"}}, {"name": "b", "emptyDir": {}}]},
        'restricted volume types (volume "a" uses restricted volume type "nfs")',
    ),
    "the host's files, once": (
        {"containers": [secured()], "volumes": [{"name": "a", "hostPath": {"path": "/"}}]},
        'restricted volume types (volume "a" uses restricted volume type "hostPath")',
    ),
    "root's number": (
        {"containers": [secured(runAsUser=0)]},
        'runAsUser=0 (container "c" must not set runAsUser=0)',
    ),
    "root by intention": (
        {"containers": [secured(runAsNonRoot=False)]},
        'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)',
    ),
    "root of a user namespace": ({"hostUsers": False, "containers": [secured(runAsNonRoot=False, runAsUser=0)]}, ""),
    "Windows": (
        {"os": {"name": "windows"}, "containers": [container(securityContext={"runAsNonRoot": True})]},
        "",
    ),
}


@pytest.mark.parametrize("case", RESTRICTED)
def test_restricted(case: str) -> None:
    spec, wanted = RESTRICTED[case]
    assert details(Standard("restricted"), spec) == wanted


VERSIONS: list[tuple[int, Obj, bool]] = [
    (7, context(), False),
    (8, context(), True),
    (21, context(allowPrivilegeEscalation=False, runAsNonRoot=True, seccompProfile={"type": "Localhost"}), False),
    (22, context(allowPrivilegeEscalation=False, runAsNonRoot=True, seccompProfile={"type": "Localhost"}), True),
    (22, {"containers": [secured(runAsUser=0)]}, False),
    (23, {"containers": [secured(runAsUser=0)]}, True),
    (33, {"containers": [{**secured(), "readinessProbe": {"httpGet": {"host": "h"}}}]}, False),
    (34, {"containers": [{**secured(), "readinessProbe": {"httpGet": {"host": "h"}}}]}, True),
    (31, {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_wmem"}]}, "containers": [secured()]}, True),
    (32, {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_wmem"}]}, "containers": [secured()]}, False),
    (30, {"containers": [secured(seLinuxOptions={"type": "container_engine_t"})]}, True),
    (31, {"containers": [secured(seLinuxOptions={"type": "container_engine_t"})]}, False),
    (99, context(), True),
]


@pytest.mark.parametrize(("minor", "spec", "forbidden"), VERSIONS)
def test_checks_begin_with_their_versions(minor: int, spec: Obj, forbidden: bool) -> None:
    found = {one.reason for one in policy.findings(Standard("restricted", minor), {}, spec)}
    asked = found - ({"runAsNonRoot != true"} if minor == 7 else set())
    assert bool(asked) == forbidden


def test_labels_make_the_policy() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn-version": "v1.25"}
    found, causes = policy.of_labels(labels, Policy(warn=Standard("restricted")))
    assert (found.enforce, found.warn, causes) == (Standard("baseline"), Standard("restricted", 25), [])


def test_labels_that_cant_be_read_enforce_the_strictest() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "lax", "pod-security.kubernetes.io/warn": "lax"}
    found, causes = policy.of_labels(labels, Policy())
    assert (found.enforce.level, found.warn.level) == ("restricted", "privileged")
    assert [cause.message for cause in causes] == [
        'Invalid value: "lax": must be one of privileged, baseline, restricted'
    ] * 2


def namespace(objects: Any, name: str = "default", **modes: str) -> Obj:
    labels = {f"pod-security.kubernetes.io/{mode.replace('_', '-')}": level for mode, level in modes.items()}
    return objects.made("Namespace", name, metadata={"labels": labels})


CHECK = PodSecurity().check


def test_pods_are_refused_and_templates_warned_of(world: Any, objects: Any) -> None:
    world.add(namespace(objects, enforce="baseline", warn="restricted", warn_version="v1.36"))
    bad = objects.pod({"securityContext": {"privileged": True}})
    _, refused = world.admit(CHECK, "pods", bad)
    assert refused == f'pods "p" is forbidden: violates PodSecurity "baseline:latest": {PRIVILEGED}'
    assert world.warnings == []
    assert world.admit(CHECK, "pods", objects.pod())[1] == ""
    assert world.warnings == [f'would violate PodSecurity "restricted:v1.36": {NOTHING_SAID}']
    world.warnings.clear()
    deployment = objects.made("Deployment", "d", "apps/v1", spec={"template": {"spec": bad["spec"]}})
    assert world.admit(CHECK, "deployments", deployment, group="apps")[1] == ""
    assert world.warnings[0].startswith(f'would violate PodSecurity "restricted:v1.36": {PRIVILEGED}')


def test_updates_that_change_nothing_of_it_pass(world: Any, objects: Any) -> None:
    world.add(namespace(objects, enforce="restricted"))
    old = objects.pod()
    assert world.admit(CHECK, "pods", old, old)[1] == ""
    assert "violates" in world.admit(CHECK, "pods", objects.pod({"image": "new"}), old)[1]
    assert world.admit(CHECK, "pods", objects.pod({"image": "new"}), old, subresource="status")[1] == ""


@pytest.mark.parametrize(
    "exempt",
    [
        PodSecurity(exempt_namespaces=frozenset({"default"})),
        PodSecurity(exempt_users=frozenset({"somebody"})),
        PodSecurity(exempt_runtime_classes=frozenset({"vm"})),
    ],
)
def test_who_is_exempt(world: Any, objects: Any, exempt: PodSecurity) -> None:
    world.add(namespace(objects, enforce="restricted"))
    assert world.admit(exempt.check, "pods", objects.pod(runtimeClassName="vm"))[1] == ""


def test_a_stricter_label_tells_whom_it_would_forbid(world: Any, objects: Any) -> None:
    bad = {"securityContext": {"privileged": True}}
    for name in ("b", "a", "z"):
        world.add({**objects.pod(bad if name != "z" else {}), "metadata": {"name": name}})
    old, new = namespace(objects), namespace(objects, enforce="baseline")
    assert world.admit(CHECK, "namespaces", new, old, namespace="")[1] == ""
    assert world.warnings == [
        'existing pods in namespace "default" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 1 other pod): privileged",
    ]
    world.warnings.clear()
    assert world.admit(CHECK, "namespaces", old, new, namespace="")[1] == ""
    assert world.warnings == []


def test_labels_must_make_sense(world: Any, objects: Any) -> None:
    wrong = namespace(objects, enforce="lax")
    _, refused = world.admit(CHECK, "namespaces", wrong)
    assert refused == (
        'Namespace "default" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "lax": '
        "must be one of privileged, baseline, restricted"
    )
    # What was wrong before keeps nobody from changing something else.
    assert world.admit(CHECK, "namespaces", wrong, wrong)[1] == ""
