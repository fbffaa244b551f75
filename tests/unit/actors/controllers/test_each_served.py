"""Controllers that no other test has act on a real API server: each does once what a user counts on it for."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from harness.controllers import TEMPLATE, Cluster, acting, cluster

from oarlock.actors.controllers import bootstrap_tokens, node_ttl
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]
CORE: Final = "/api/v1/namespaces/default"
JOBS: Final = "/apis/batch/v1/namespaces/default/jobs"
SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
ROLES: Final = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
REQUESTS: Final = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
LONG_S: Final = 60.0
"""Longer than anything takes here, also where others are at work."""
SERVED: Final = {"selector": {"app": "s"}, "ports": [{"port": 80}]}
CLAIM: Final = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


async def seen(here: Cluster, path: str, holds: Callable[[Object], Any]) -> Object:
    """The object at a path once it is as wanted; every change of its kind is looked at."""
    folder, _, name = path.rpartition("/")
    async with asyncio.timeout(LONG_S):
        async for event in here.client.watch(folder, {"fieldSelector": f"metadata.name={name}"}):
            if event["type"] != "BOOKMARK" and holds(event["object"]):
                found: Object = event["object"]
                return found
    raise AssertionError(path)


async def gone(here: Cluster, path: str) -> None:
    folder, _, name = path.rpartition("/")
    async with asyncio.timeout(LONG_S):
        async for event in here.client.watch(folder, {"fieldSelector": f"metadata.name={name}"}):
            if event["type"] == "DELETED":
                return


async def nodes_own_certificate(here: Cluster) -> None:
    """Approved, and signed by the cluster's authority."""
    groups = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes")
    subject = x509.Name([groups, x509.NameAttribute(NameOID.COMMON_NAME, "system:node:n1")])
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject)
    pem = asked.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    usages = ["digital signature", "client auth"]
    signer = "kubernetes.io/kube-apiserver-client-kubelet"
    spec = {"request": base64.b64encode(pem).decode(), "signerName": signer, "usages": usages}
    await here.client.create(REQUESTS, {"metadata": {"name": "own"}, "spec": spec})
    signed = await seen(here, f"{REQUESTS}/own", lambda one: (one.get("status") or {}).get("certificate"))
    assert [one["type"] for one in signed["status"]["conditions"]] == ["Approved"]
    made = x509.load_pem_x509_certificate(base64.b64decode(signed["status"]["certificate"]))
    assert made.subject == subject


async def bootstrap_tokens_sign_and_go(here: Cluster) -> None:
    """What a joining node trusts is signed with the tokens that there are; one whose time is up goes."""
    info = {"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": "at home"}}
    with suppress(ApiError):  # the server makes it too
        await here.client.create("/api/v1/namespaces", {"metadata": {"name": "kube-public"}})
    await here.client.create("/api/v1/namespaces/kube-public/configmaps", info)
    data = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"}
    secret = {"metadata": {"name": "bootstrap-token-abcdef"}, "type": bootstrap_tokens.TYPE}
    path = "/api/v1/namespaces/kube-system/secrets"
    await here.client.create(path, {**secret, "stringData": data})
    public = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
    await seen(here, public, lambda one: "jws-kubeconfig-abcdef" in one["data"])
    waiting = asyncio.ensure_future(gone(here, f"{path}/bootstrap-token-abcdef"))
    ended = {"data": {"expiration": base64.b64encode(b"2026-01-01T00:00:00Z").decode()}}
    await here.client.patch(f"{path}/bootstrap-token-abcdef", ended)
    await waiting
    await seen(here, public, lambda one: "jws-kubeconfig-abcdef" not in one["data"])


async def roles_of_roles(here: Cluster) -> None:
    """An aggregated role has the rules of a part that comes later."""
    selector = {"clusterRoleSelectors": [{"matchLabels": {"part-of": "whole"}}]}
    await here.client.create(ROLES, {"metadata": {"name": "whole"}, "aggregationRule": selector, "rules": []})
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    await here.client.create(ROLES, {"metadata": {"name": "part", "labels": {"part-of": "whole"}}, "rules": [rule]})
    await seen(here, f"{ROLES}/whole", lambda one: one.get("rules") == [rule])


async def ephemeral_volumes(here: Cluster) -> None:
    """A pod's claim is made, and goes with the pod."""
    volume = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": CLAIM}}}
    pod = {**TEMPLATE["spec"], "schedulerName": "nobody", "volumes": [volume]}
    await here.client.create(f"{CORE}/pods", {"metadata": {"name": "scratching"}, "spec": pod})
    path = f"{CORE}/persistentvolumeclaims/scratching-scratch"
    claim = await seen(here, path, lambda _: True)
    assert claim["metadata"]["ownerReferences"][0]["name"] == "scratching"
    waiting = asyncio.ensure_future(gone(here, path))
    await here.client.delete(f"{CORE}/pods/scratching", {"gracePeriodSeconds": 0})
    await waiting


async def volumes_and_claims(here: Cluster) -> None:
    """A claim is bound, and its volume released when it goes."""
    source = {"hostPath": {"path": "/tmp/of-no-use"}, "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"]}
    spec = {**source, "storageClassName": "by-hand", "persistentVolumeReclaimPolicy": "Retain"}
    await here.client.create("/api/v1/persistentvolumes", {"metadata": {"name": "v"}, "spec": spec})
    claims = f"{CORE}/persistentvolumeclaims"
    asked = {**CLAIM, "storageClassName": "by-hand"}
    await here.client.create(claims, {"metadata": {"name": "c"}, "spec": asked})
    bound = await seen(here, f"{claims}/c", lambda one: one["status"].get("phase") == "Bound")
    assert bound["spec"]["volumeName"] == "v"
    await here.client.delete(f"{claims}/c")
    await seen(here, "/api/v1/persistentvolumes/v", lambda one: one["status"]["phase"] == "Released")


async def mirrored_endpoints(here: Cluster) -> None:
    """Endpoints made by hand are shown as a slice."""
    await here.client.create(f"{CORE}/services", {"metadata": {"name": "by-hand"}, "spec": {"ports": [{"port": 80}]}})
    subset = {"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}
    await here.client.create(f"{CORE}/endpoints", {"metadata": {"name": "by-hand"}, "subsets": [subset]})
    async with asyncio.timeout(LONG_S):
        async for event in here.client.watch(SLICES, {"labelSelector": "kubernetes.io/service-name=by-hand"}):
            if [one["addresses"] for one in event["object"].get("endpoints") or ()] == [["192.0.2.1"]]:
                return


async def finished_jobs(here: Cluster) -> None:
    """A job that is done goes after its time to live."""
    never = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
    spec = {"completions": 0, "template": never, "ttlSecondsAfterFinished": 0}
    waiting = asyncio.ensure_future(gone(here, f"{JOBS}/done"))
    await here.client.create(JOBS, {"metadata": {"name": "done"}, "spec": spec})
    await waiting


async def stray_pods(here: Cluster) -> None:
    """A pod that was deleted out of service's reach goes once its node is said to be."""
    await here.client.create("/api/v1/nodes", {"metadata": {"name": "broken"}})
    pod = {**TEMPLATE["spec"], "nodeName": "broken", "tolerations": [{"operator": "Exists"}]}
    path = f"{CORE}/pods/stray"
    await here.client.create(f"{CORE}/pods", {"metadata": {"name": "stray", "finalizers": ["x/held"]}, "spec": pod})
    taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
    await here.client.patch("/api/v1/nodes/broken", {"spec": {"taints": [taint]}})
    await here.client.delete(path)
    failed = await seen(here, path, lambda one: (one.get("status") or {}).get("phase") == "Failed")
    assert failed["metadata"]["deletionTimestamp"]
    await here.client.patch(path, {"metadata": {"finalizers": None}})


async def nodes_times_to_live(here: Cluster) -> None:
    """A node is told how long it may keep what it read."""
    told = await seen(here, "/api/v1/nodes/n1", lambda one: one["metadata"].get("annotations"))
    assert told["metadata"]["annotations"][node_ttl.ANNOTATION] == "0"


async def service_addresses(here: Cluster) -> None:
    """A further range of Services' addresses is ready, and kept while Services may need it."""
    path = "/apis/networking.k8s.io/v1/servicecidrs"
    await here.client.create(path, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.77.0.0/24"]}})
    await seen(here, f"{path}/more", lambda one: "Ready" in str(one.get("status")) and one["metadata"]["finalizers"])


async def classes_of_attributes(here: Cluster) -> None:
    """A VolumeAttributesClass that nobody uses goes."""
    path = "/apis/storage.k8s.io/v1/volumeattributesclasses"
    await here.client.create(path, {"metadata": {"name": "fast"}, "driverName": "x.io", "parameters": {"iops": "1"}})
    waiting = asyncio.ensure_future(gone(here, f"{path}/fast"))
    await here.client.delete(f"{path}/fast")
    await waiting


async def endpoints_of_pods(here: Cluster) -> None:
    """Both forms name a pod that is ready, with the node it is on."""
    await here.client.create(f"{CORE}/services", {"metadata": {"name": "s"}, "spec": SERVED})
    pod = {**TEMPLATE["spec"], "nodeName": "n1"}
    await here.client.create(f"{CORE}/pods", {"metadata": {"name": "served", "labels": {"app": "s"}}, "spec": pod})
    ready = [{"type": "Ready", "status": "True"}]
    status = {"phase": "Running", "podIP": "192.0.2.7", "podIPs": [{"ip": "192.0.2.7"}], "conditions": ready}
    await here.client.patch(f"{CORE}/pods/served/status", {"status": status})
    older = await seen(here, f"{CORE}/endpoints/s", lambda one: one.get("subsets"))
    assert [one["ip"] for one in older["subsets"][0]["addresses"]] == ["192.0.2.7"]
    async with asyncio.timeout(LONG_S):
        async for event in here.client.watch(SLICES, {"labelSelector": "kubernetes.io/service-name=s"}):
            found = event["object"].get("endpoints") or ()
            if [(one["addresses"], one["nodeName"], one["conditions"]["ready"]) for one in found] == [
                (["192.0.2.7"], "n1", True)
            ]:
                return


async def volumes_in_use(here: Cluster) -> None:
    """A bound volume that is deleted stays as long as its claim, and a claim that grows tells whom it waits for."""
    driver = {"csi": {"driver": "x.io", "volumeHandle": "h"}, "capacity": {"storage": "1Gi"}}
    spec = {**driver, "accessModes": ["ReadWriteOnce"], "storageClassName": "grows"}
    classes = "/apis/storage.k8s.io/v1/storageclasses"
    await here.client.create(
        classes, {"metadata": {"name": "grows"}, "provisioner": "x.io", "allowVolumeExpansion": True}
    )
    await here.client.create("/api/v1/persistentvolumes", {"metadata": {"name": "used"}, "spec": spec})
    path = f"{CORE}/persistentvolumeclaims"
    await here.client.create(path, {"metadata": {"name": "u"}, "spec": {**CLAIM, "storageClassName": "grows"}})
    await seen(here, f"{path}/u", lambda one: one["status"].get("phase") == "Bound")
    await here.client.patch(f"{path}/u", {"spec": {"resources": {"requests": {"storage": "2Gi"}}}})
    async with asyncio.timeout(LONG_S):
        async for event in here.client.watch(f"{CORE}/events"):
            if (event["object"]["reason"], event["object"]["involvedObject"]["name"]) == ("ExternalExpanding", "u"):
                break
    leaving = await here.client.delete("/api/v1/persistentvolumes/used")
    assert leaving["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
    waiting = asyncio.ensure_future(gone(here, "/api/v1/persistentvolumes/used"))
    await here.client.delete(f"{path}/u")
    await waiting


async def sick_devices(here: Cluster) -> None:
    """A pod goes when its device is tainted."""
    group = "/apis/resource.k8s.io/v1"
    claims = f"{group}/namespaces/default/resourceclaims"
    asked = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpus"}}]}}
    await here.client.create(claims, {"metadata": {"name": "mine"}, "spec": asked})
    pod = {**TEMPLATE["spec"], "nodeName": "n1", "resourceClaims": [{"name": "gpu", "resourceClaimName": "mine"}]}
    user = await here.client.create(f"{CORE}/pods", {"metadata": {"name": "computing"}, "spec": pod})
    reserved = [{"resource": "pods", "name": "computing", "uid": user["metadata"]["uid"]}]
    result = {"request": "gpu", "driver": "x.io", "pool": "n1", "device": "gpu-0"}
    given = {"allocation": {"devices": {"results": [result]}}, "reservedFor": reserved}
    await here.client.patch(f"{claims}/mine/status", {"status": given})
    pool = {"name": "n1", "generation": 1, "resourceSliceCount": 1}
    taint = {"key": "x.io/sick", "effect": "NoExecute"}
    devices = [{"name": "gpu-0", "taints": [taint]}]
    spec = {"driver": "x.io", "nodeName": "n1", "pool": pool, "devices": devices}
    waiting = asyncio.ensure_future(gone(here, f"{CORE}/pods/computing"))
    await here.client.create(f"{group}/resourceslices", {"metadata": {"name": "n1"}, "spec": spec})
    await waiting


async def uses_of_tokens(here: Cluster) -> None:
    """Since when the uses of old tokens are noted is told."""
    path = "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking"
    assert (await seen(here, path, lambda one: one.get("data")))["data"]["since"]


SCENARIOS: Final[tuple[Callable[[Cluster], Awaitable[None]], ...]] = (
    nodes_own_certificate,
    bootstrap_tokens_sign_and_go,
    roles_of_roles,
    ephemeral_volumes,
    volumes_and_claims,
    mirrored_endpoints,
    finished_jobs,
    stray_pods,
    nodes_times_to_live,
    service_addresses,
    classes_of_attributes,
    endpoints_of_pods,
    volumes_in_use,
    sick_devices,
    uses_of_tokens,
)


def authority(folder: Path) -> tuple[str, str]:
    """A certificate authority: its certificate, and the file with its key."""
    key, file = ec.generate_private_key(ec.SECP256R1()), folder / "ca.key"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=3650))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(key.private_bytes(*plain))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode(), str(file)


def test_each_acts_on_a_real_server(tmp_path: Path) -> None:
    """They act at the same time, as they do in a cluster."""
    pem, key_file = authority(tmp_path)
    all_of_them = ["*", "bootstrapsigner", "tokencleaner"]

    async def scenario() -> None:
        async with cluster() as here, acting(here, controllers=all_of_them, ca_pem=pem, ca_key_file=key_file):
            here.informers.start()
            await here.informers.synced()
            await seen(here, f"{CORE}/serviceaccounts/default", lambda _: True)  # which every pod needs
            outcomes = await asyncio.gather(*(one(here) for one in SCENARIOS), return_exceptions=True)
            failed = {
                one.__name__: repr(found)
                for one, found in zip(SCENARIOS, outcomes, strict=True)
                if isinstance(found, BaseException)
            }
            assert not failed

    asyncio.run(scenario())
