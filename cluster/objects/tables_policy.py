"""How what rules a cluster is printed: RBAC, admission, certificates, flow control, leases, classes, devices."""

from __future__ import annotations

from typing import Final

from oarlock.cluster.objects.cells import (
    AGE,
    NAME,
    NONE,
    UNSET,
    Cells,
    Column,
    Object,
    Printer,
    Printers,
    age_of,
    at,
    boolean,
    condition,
    integer,
    name_of,
    selector_text,
    wide,
)
from oarlock.cluster.objects.durations import human


def _binding(obj: Object, now: float) -> Cells:
    role = obj.get("roleRef", {})
    subjects = obj.get("subjects") or ()
    users = [one["name"] for one in subjects if one.get("kind") == "User"]
    groups = [one["name"] for one in subjects if one.get("kind") == "Group"]
    accounts = [
        "/".join(part for part in (one.get("namespace"), one["name"]) if part)
        for one in subjects
        if one.get("kind") == "ServiceAccount"
    ]
    names = [", ".join(kind) for kind in (users, groups, accounts)]
    return [name_of(obj), f"{role.get('kind', '')}/{role.get('name', '')}", age_of(obj, now), *names]


def _webhooks(obj: Object, now: float) -> Cells:
    return [name_of(obj), len(obj.get("webhooks") or ()), age_of(obj, now)]


def _param_kind(obj: Object) -> str:
    kind = at(obj, "spec", "paramKind")
    return UNSET if kind is None else f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}"


def _validating_policy(obj: Object, now: float) -> Cells:
    return [name_of(obj), len(at(obj, "spec", "validations", default=())), _param_kind(obj), age_of(obj, now)]


def _mutating_policy(obj: Object, now: float) -> Cells:
    return [name_of(obj), len(at(obj, "spec", "mutations", default=())), _param_kind(obj), age_of(obj, now)]


def _policy_binding(obj: Object, now: float) -> Cells:
    given = at(obj, "spec", "paramRef")
    text = UNSET
    if given is not None and given.get("name"):
        text = f"{given.get('namespace') or '*'}/{given['name']}"
    elif given is not None and given.get("selector") is not None:
        text = selector_text(given["selector"])
    return [name_of(obj), at(obj, "spec", "policyName", default=""), text, age_of(obj, now)]


def _signing_request(obj: Object, now: float) -> Cells:
    seconds = at(obj, "spec", "expirationSeconds")
    return [
        name_of(obj),
        age_of(obj, now),
        at(obj, "spec", "signerName") or NONE,
        at(obj, "spec", "username", default=""),
        NONE if seconds is None else human(seconds),
        _signing_status(obj),
    ]


def _signing_status(obj: Object) -> str:
    kinds = {one.get("type") for one in at(obj, "status", "conditions", default=())}
    decision = next((kind for kind in ("Denied", "Approved") if kind in kinds), "Pending")
    failed = ",Failed" if "Failed" in kinds else ""
    return decision + failed + (",Issued" if at(obj, "status", "certificate") else "")


def _trust_bundle(obj: Object, _: float) -> Cells:
    return [name_of(obj), at(obj, "spec", "signerName") or NONE]


def _flow_schema(obj: Object, now: float) -> Cells:
    dangling = condition(at(obj, "status", "conditions"), "Dangling")
    return [
        name_of(obj),
        at(obj, "spec", "priorityLevelConfiguration", "name", default=""),
        at(obj, "spec", "matchingPrecedence", default=0),
        at(obj, "spec", "distinguisherMethod", "type", default=NONE),
        age_of(obj, now),
        dangling.get("status", "?") if dangling is not None else "?",
    ]


def _priority_level(obj: Object, now: float) -> Cells:
    limited = at(obj, "spec", "limited", default={})
    queuing = at(limited, "limitResponse", "queuing", default={})
    return [
        name_of(obj),
        at(obj, "spec", "type", default=""),
        limited.get("nominalConcurrencyShares", NONE),
        *(queuing.get(field, NONE) for field in ("queues", "handSize", "queueLengthLimit")),
        age_of(obj, now),
    ]


def _api_service(obj: Object, now: float) -> Cells:
    service = at(obj, "spec", "service")
    available = condition(at(obj, "status", "conditions"), "Available")
    status = "Unknown" if available is None else available.get("status", "")
    if available is not None and status != "True" and available.get("reason"):
        status = f"{status} ({available['reason']})"
    where = "Local" if service is None else f"{service.get('namespace', '')}/{service.get('name', '')}"
    return [name_of(obj), where, status, age_of(obj, now)]


def _lease(obj: Object, now: float) -> Cells:
    return [name_of(obj), at(obj, "spec", "holderIdentity", default=""), age_of(obj, now)]


def _priority_class(obj: Object, now: float) -> Cells:
    default = obj.get("globalDefault", False)
    return [name_of(obj), obj.get("value", 0), default, age_of(obj, now), obj.get("preemptionPolicy", "")]


def _runtime_class(obj: Object, now: float) -> Cells:
    return [name_of(obj), obj.get("handler", ""), age_of(obj, now)]


def _name_and_age(obj: Object, now: float) -> Cells:
    return [name_of(obj), age_of(obj, now)]


def _resource_claim(obj: Object, now: float) -> Cells:
    deleted, allocated = obj["metadata"].get("deletionTimestamp"), at(obj, "status", "allocation") is not None
    states = (
        ("deleted", deleted),
        ("pending", not allocated and not deleted),
        ("allocated", allocated),
        ("reserved", allocated and at(obj, "status", "reservedFor")),
    )
    return [name_of(obj), ",".join(state for state, holds in states if holds), age_of(obj, now)]


def _resource_slice(obj: Object, now: float) -> Cells:
    fields = [at(obj, "spec", *path, default="") for path in (("nodeName",), ("driver",), ("pool", "name"))]
    return [name_of(obj), *fields, age_of(obj, now)]


_UNRESOLVED: Final = "If the RoleRef cannot be resolved, the Authorizer must return an error."


def _binding_printer(noun: str, scope: str) -> Printer:
    return Printer(
        (
            NAME,
            Column("Role", f"RoleRef can {scope}. {_UNRESOLVED}"),
            AGE,
            wide("Users", f"Users in the {noun}"),
            wide("Groups", f"Groups in the {noun}"),
            wide("ServiceAccounts", f"ServiceAccounts in the {noun}"),
        ),
        _binding,
    )


_SIGNER: Final = (
    "Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. If empty, it will "
    "be defaulted:\n"
    " 1. If it's a kubelet client certificate, it is assigned\n"
    '    "kubernetes.io/kube-apiserver-client-kubelet".\n'
    " 2. If it's a kubelet serving certificate, it is assigned\n"
    '    "kubernetes.io/kubelet-serving".\n'
    ' 3. Otherwise, it is assigned "kubernetes.io/legacy-unknown".\n'
    "Distribution of trust for signers happens out of band. You can select on this field using `spec.signerName`."
)
_WEBHOOKS: Final = Printer(
    (NAME, integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"), AGE),
    _webhooks,
)
_PARAM_KIND: Final = Column("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy")
_POLICY_BINDING: Final = Printer(
    (
        NAME,
        Column("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
        Column("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
        AGE,
    ),
    _policy_binding,
)
_ADMISSION: Final = "admissionregistration.k8s.io"
_FLOW: Final = "flowcontrol.apiserver.k8s.io"

PRINTERS: Final[Printers] = {
    ("rbac.authorization.k8s.io", "RoleBinding"): _binding_printer(
        "roleBinding", "reference a Role in the current namespace or a ClusterRole in the global namespace"
    ),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _binding_printer(
        "clusterRoleBinding", "only reference a ClusterRole in the global namespace"
    ),
    (_ADMISSION, "MutatingWebhookConfiguration"): _WEBHOOKS,
    (_ADMISSION, "ValidatingWebhookConfiguration"): _WEBHOOKS,
    (_ADMISSION, "ValidatingAdmissionPolicy"): Printer(
        (
            NAME,
            integer(
                "Validations",
                "Validations indicates the number of validation rules defined in this configuration",
            ),
            _PARAM_KIND,
            AGE,
        ),
        _validating_policy,
    ),
    (_ADMISSION, "MutatingAdmissionPolicy"): Printer(
        (
            NAME,
            integer("Mutations", "Mutation indicates the number of mutations rules defined in this configuration"),
            _PARAM_KIND,
            AGE,
        ),
        _mutating_policy,
    ),
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): _POLICY_BINDING,
    (_ADMISSION, "MutatingAdmissionPolicyBinding"): _POLICY_BINDING,
    ("certificates.k8s.io", "CertificateSigningRequest"): Printer(
        (
            NAME,
            AGE,
            Column("SignerName", _SIGNER),
            Column("Requestor", "Base64-encoded PKCS#10 CSR data"),
            Column("RequestedDuration", "=certificates.v1.CertificateSigningRequestSpec.expirationSeconds"),
            Column("Condition", "Conditions applied to the request, such as approval or denial."),
        ),
        _signing_request,
    ),
    ("certificates.k8s.io", "ClusterTrustBundle"): Printer(
        (NAME, Column("SignerName", "signerName indicates the associated signer, if any.")), _trust_bundle
    ),
    (_FLOW, "FlowSchema"): Printer(
        (
            NAME,
            Column("PriorityLevel", "=flowcontrol.v1.PriorityLevelConfigurationReference.name"),
            Column("MatchingPrecedence", "=flowcontrol.v1.FlowSchemaSpec.matchingPrecedence"),
            Column("DistinguisherMethod", "=flowcontrol.v1.FlowSchemaSpec.distinguisherMethod"),
            AGE,
            Column("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
        ),
        _flow_schema,
    ),
    (_FLOW, "PriorityLevelConfiguration"): Printer(
        (
            NAME,
            Column("Type", "=flowcontrol.v1.PriorityLevelConfigurationSpec.type"),
            Column(
                "NominalConcurrencyShares",
                "=flowcontrol.v1.LimitedPriorityLevelConfiguration.nominalConcurrencyShares",
            ),
            Column("Queues", "=flowcontrol.v1.QueuingConfiguration.queues"),
            Column("HandSize", "=flowcontrol.v1.QueuingConfiguration.handSize"),
            Column("QueueLengthLimit", "=flowcontrol.v1.QueuingConfiguration.queueLengthLimit"),
            AGE,
        ),
        _priority_level,
    ),
    ("apiregistration.k8s.io", "APIService"): Printer(
        (
            NAME,
            Column("Service", "The reference to the service that hosts this API endpoint."),
            Column("Available", "Whether this service is available."),
            AGE,
        ),
        _api_service,
    ),
    ("coordination.k8s.io", "Lease"): Printer(
        (NAME, Column("Holder", "=coordination.v1.LeaseSpec.holderIdentity"), AGE), _lease
    ),
    ("scheduling.k8s.io", "PriorityClass"): Printer(
        (
            NAME,
            integer("Value", "=scheduling.v1.PriorityClass.value"),
            boolean("Global-Default", "=scheduling.v1.PriorityClass.globalDefault"),
            AGE,
            Column("PreemptionPolicy", "=scheduling.v1.PriorityClass.preemptionPolicy"),
        ),
        _priority_class,
    ),
    ("node.k8s.io", "RuntimeClass"): Printer((NAME, Column("Handler"), AGE), _runtime_class),
    ("resource.k8s.io", "DeviceClass"): Printer((NAME, AGE), _name_and_age),
    ("resource.k8s.io", "ResourceClaimTemplate"): Printer((NAME, AGE), _name_and_age),
    ("resource.k8s.io", "ResourceClaim"): Printer(
        (NAME, Column("State", "A summary of the current state (allocated, pending, reserved, etc.)."), AGE),
        _resource_claim,
    ),
    ("resource.k8s.io", "ResourceSlice"): Printer(
        (
            NAME,
            Column("Node", "=resource.v1.ResourceSliceSpec.nodeName"),
            Column("Driver", "=resource.v1.ResourceSliceSpec.driver"),
            Column("Pool", "=resource.v1.ResourcePool.name"),
            AGE,
        ),
        _resource_slice,
    ),
}
