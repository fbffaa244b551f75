"""What upstream refuses in a Pod's spec, and what it says: a row for every rule."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from unit.cluster.objects.test_validation import _create, _made, _update

from oarlock.cluster.objects import pod_validation
from oarlock.cluster.objects.job_policy_validation import indexes_count

Obj = dict[str, Any]
_PLAIN: Obj = {"name": "c", "image": "nginx"}


def _spec(**fields: Any) -> Obj:
    """A Pod's spec whose one container has what is given in `c`."""
    return {"serviceAccountName": "default", "containers": [{**_PLAIN, **fields.pop("c", {})}], **fields}


def _rule(action: str = "Restart", **codes: Any) -> Obj:
    return {"restartPolicy": "Never", "restartPolicyRules": [{"action": action, "exitCodes": codes}]}


def _volume(**source: Any) -> Obj:
    return {"volumes": [{"name": "v", **source}]}


_C = "spec.containers[0]"
_V = "spec.volumes[0]"
_WINDOWS = "cannot be set for a windows pod"
BAD: list[tuple[Obj, str, str]] = [
    (
        _spec(c={"restartPolicyRules": [{"action": "Restart"}]}),
        f"{_C}.restartPolicy",
        "Required value: must specify restartPolicy when restart rules are used",
    ),
    (
        _spec(c=_rule("No", operator="In", values=[1])),
        f"{_C}.restartPolicyRules[0].action",
        'Unsupported value: "No": supported values: "Restart", "RestartAllContainers"',
    ),
    (
        _spec(c=_rule(values=[1])),
        f"{_C}.restartPolicyRules[0].exitCodes.operator",
        'Unsupported value: "": supported values: "In", "NotIn"',
    ),
    (
        _spec(c={"image": " nginx"}),
        f"{_C}.image",
        'Invalid value: " nginx": must not have leading or trailing whitespace',
    ),
    (
        _spec(c={"resources": {"claims": [{"name": "r"}]}}),
        f"{_C}.resources.claims[0]",
        'Not found: "r": must be one of the names in pod.spec.resourceClaims which is empty',
    ),
    (_spec(resourceClaims=[{"name": "r"}]), "spec.resourceClaims[0]", "must specify one of: `resourceClaimName`"),
    (
        _spec(c={"resources": {"limits": {"hugepages-2Mi": "4Mi"}}}),
        f"{_C}.resources",
        "HugePages require cpu or memory",
    ),
    (
        _spec(c={"resources": {"limits": {"hugepages-2Mi": "3Mi", "cpu": "1"}}}),
        f"{_C}.resources.limits[hugepages-2Mi]",
        'Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi',
    ),
    (
        _spec(c={"resources": {"requests": {"example.com/gpu": "1"}}}),
        f"{_C}.resources.limits",
        "Required value: Limit must be set for non overcommitable resources",
    ),
    (
        _spec(c={"resources": {"requests": {"cpu": "2"}}}, resources={"requests": {"cpu": "1"}}),
        "spec.resources.requests[cpu]",
        'Invalid value: "1": must be greater than or equal to aggregate container requests of 2',
    ),
    (
        _spec(c={"ports": [{"containerPort": 80, "hostPort": 81}]}, hostNetwork=True),
        f"{_C}.ports[0].hostPort",
        "Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
    ),
    (_spec(hostUsers=False, hostNetwork=True), "spec.hostNetwork", "Forbidden: when `hostUsers` is false"),
    (
        _spec(c={"securityContext": {"procMount": "Unmasked"}}),
        f"{_C}.securityContext.procMount",
        'Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`',
    ),
    (
        _spec(c={"securityContext": {"appArmorProfile": {"type": "Localhost"}}}),
        f"{_C}.securityContext.appArmorProfile.localhostProfile",
        "Required value: must be set when AppArmor type is Localhost",
    ),
    (
        _spec(securityContext={"windowsOptions": {"runAsUserName": "a\\b\\c"}}),
        "spec.securityContext.windowsOptions.runAsUserName",
        'Invalid value: "a\\\\b\\\\c": runAsUserName cannot contain more than one backslash',
    ),
    (
        _spec(os={"name": "linux"}, securityContext={"windowsOptions": {}}),
        "spec.securityContext.windowsOptions",
        "linux",
    ),
    (_spec(os={"name": "windows"}, hostPID=True), "spec.hostPID", f"Forbidden: {_WINDOWS}"),
    (
        _spec(c={"securityContext": {"privileged": True}}, os={"name": "windows"}),
        f"{_C}.securityContext.privileged",
        f"Forbidden: {_WINDOWS}",
    ),
    (
        _spec(securityContext={"windowsOptions": {"hostProcess": True}}),
        "spec.hostNetwork",
        "Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
    ),
    (
        _spec(hostNetwork=True, securityContext={"sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}),
        "spec.securityContext.sysctls[0].name",
        "Invalid value: \"net.core.somaxconn\": may not be specified when 'hostNetwork' is true",
    ),
    (
        _spec(
            c={"volumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]},
            **_volume(emptyDir={}),
        ),
        f"{_C}.volumeMounts.mountPropagation",
        "Forbidden: Bidirectional mount propagation is available only to privileged containers",
    ),
    (
        _spec(
            c={"volumeMounts": [{"name": "v", "mountPath": "/v", "recursiveReadOnly": "Enabled"}]},
            **_volume(emptyDir={}),
        ),
        f"{_C}.volumeMounts.recursiveReadOnly",
        "Forbidden: may only be specified when readOnly is true",
    ),
    (
        _spec(c={"volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}, **_volume(emptyDir={})),
        f"{_C}.volumeDevices[0].name",
        'Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode',
    ),
    (
        _spec(**_volume(iscsi={"targetPortal": "p", "iqn": "x", "lun": 1})),
        f"{_V}.iscsi.iqn",
        'Invalid value: "x": must be valid format starting with iqn, eui, or naa',
    ),
    (
        _spec(**_volume(fc={"targetWWNs": ["a"]})),
        f"{_V}.fc.lun",
        "Required value: lun is required if targetWWNs is specified",
    ),
    (
        _spec(**_volume(flexVolume={"driver": "d", "options": {"k8s.io/a": "b"}})),
        f"{_V}.flexVolume.options[k8s.io/a]",
        'Invalid value: "k8s.io/a": kubernetes.io and k8s.io namespaces are reserved',
    ),
    (
        _spec(**_volume(projected={"sources": [{"configMap": {"name": "a"}, "secret": {"name": "b"}}]})),
        f"{_V}.projected.sources[0]",
        "Forbidden: may not specify more than 1 volume type",
    ),
    (
        _spec(
            **_volume(projected={"sources": [{"configMap": {"name": "a", "items": [{"key": "k", "path": "p"}] * 2}}]})
        ),
        f"{_V}.projected",
        'Invalid value: "a": conflicting duplicate paths',
    ),
    (
        _spec(**_volume(projected={"sources": [{"clusterTrustBundle": {"path": "p"}}]})),
        f"{_V}.projected.sources[0].clusterTrustBundlePEM",
        "Required value: either name or signerName must be specified",
    ),
    (
        _spec(
            topologySpreadConstraints=[
                {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "matchLabelKeys": ["a"]}
            ]
        ),
        "spec.topologySpreadConstraints[0].matchLabelKeys",
        "Forbidden: must not be specified when labelSelector is not set",
    ),
    (
        _spec(tolerations=[{"key": "k", "operator": "Exists", "value": "v"}]),
        "spec.tolerations[0].operator",
        'Invalid value: {"Key":"k","Operator":"Exists","Value":"v","Effect":"","TolerationSeconds":null}: value',
    ),
]


@pytest.mark.parametrize(("spec", "field", "message"), BAD, ids=[f"{row[1]}-{at}" for at, row in enumerate(BAD)])
def test_mistakes(spec: Obj, field: str, message: str) -> None:
    told = [cause.message for cause in _create("", "pods", {"spec": spec}) if cause.field == field]
    assert any(message in one for one in told), told


GOOD: list[Obj] = [
    _spec(c=_rule("RestartAllContainers", operator="NotIn", values=[0])),
    _spec(hostUsers=False, c={"securityContext": {"procMount": "Unmasked"}}),
    _spec(c={"resources": {"claims": [{"name": "r"}]}}, resourceClaims=[{"name": "r", "resourceClaimName": "x"}]),
    _spec(c={"resources": {"limits": {"hugepages-2Mi": "4Mi", "memory": "1Gi"}}}),
    _spec(os={"name": "windows"}, securityContext={"windowsOptions": {"runAsUserName": "DOMAIN\\user"}}),
    _spec(hostNetwork=True, securityContext={"windowsOptions": {"hostProcess": True}}),
    _spec(c={"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}),
    _spec(**_volume(image={"reference": "nginx", "pullPolicy": "Always"})),
    _spec(**_volume(iscsi={"targetPortal": "p", "iqn": "iqn.2001-04.com.example:storage", "lun": 1})),
]


@pytest.mark.parametrize("spec", GOOD)
def test_what_is_allowed(spec: Obj) -> None:
    assert _create("", "pods", {"spec": spec}) == []


def test_a_template_may_have_what_a_pod_may_not() -> None:
    obj = _made("", "pods", {"spec": _spec(c={"image": " nginx"})})
    assert pod_validation.pod_spec(obj["spec"], "spec") == []
    assert [cause.field for cause in pod_validation.pod(obj)] == [f"{_C}.image"]


def test_profiles_in_annotations_and_fields_agree() -> None:
    context = {"seccompProfile": {"type": "RuntimeDefault"}}
    for said, told in (("runtime/default", []), ("unconfined", ["spec.securityContext.seccompProfile.type"])):
        annotations = {"seccomp.security.alpha.kubernetes.io/pod": said}
        body = {"metadata": {"annotations": annotations}, "spec": _spec(securityContext=context)}
        assert [cause.field for cause in _create("", "pods", body)] == told


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_GATED: Obj = {"schedulingGates": [{"name": "example.com/g"}], "nodeSelector": {"a": "b"}}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"nodeSelector": {"a": "b", "c": "d"}}, []),
        ({"nodeSelector": {"a": "x"}}, ["spec.nodeSelector"]),
        ({"schedulingGates": []}, []),
        ({"schedulingGates": [{"name": "example.com/h"}]}, ["spec.schedulingGates[0].name"]),
        ({"activeDeadlineSeconds": 5}, []),
        ({"activeDeadlineSeconds": -5}, ["spec.activeDeadlineSeconds", "spec.activeDeadlineSeconds"]),
        ({"subdomain": "x"}, ["spec"]),
    ],
)
def test_what_may_change_of_a_gated_pod(change: Obj, told: list[str]) -> None:
    body = {"spec": _spec(**copy.deepcopy(_GATED))}
    assert [cause.field for cause in _update("", "pods", body, {"spec": change})] == told


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", 0),
        ("0-2,5", 4),
        ("3", 1),
        ("9", 'too large index: "9"'),
        ("2-1", "non-increasing order, previous: 2, current: 1"),
        ("1,1", "non-increasing order, previous: 1, current: 1"),
        ("x", 'cannot convert string to integer for index: "x"'),
    ],
)
def test_indexes_of_a_success_policy(text: str, answer: int | str) -> None:
    if isinstance(answer, int):
        assert indexes_count(text, 8) == answer
        return
    with pytest.raises(ValueError, match=re.escape(answer)):
        indexes_count(text, 8)
