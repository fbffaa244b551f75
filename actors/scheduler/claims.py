"""The claims a pod uses, and which volumes could serve them on a node. Source: upstream's volumebinding binder."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Impossible
from oarlock.actors.scheduler.snapshot import NodeState
from oarlock.actors.scheduler.storage import DELAYED, ClaimFacts, Storage, VolumeFacts

_UNSUPPORTED = "kubernetes.io/no-provisioner"
NO_VOLUME = "node(s) didn't find available persistent volumes to bind"
WRONG_NODE = "node(s) didn't match PersistentVolume's node affinity"
NO_SPACE = "node(s) did not have enough free storage"
GONE_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
_UNBOUND = "pod has unbound immediate PersistentVolumeClaims"


@dataclass(frozen=True, slots=True)
class PodClaims:
    """A pod's claims: those that have their volumes, and those that wait for the pod to have a node."""

    bound: tuple[ClaimFacts, ...]
    delayed: tuple[ClaimFacts, ...]


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """What is to be done before the pod can run on the node: (volume, claim) pairs to join, claims to provision."""

    bindings: tuple[tuple[str, str], ...] = ()
    provisions: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.bindings or self.provisions)


def claims_of(pod: PodFacts, storage: Storage) -> PodClaims:
    """Sort the pod's claims. Raises Impossible if one is missing, lost, going or not bound although it should be."""
    found = [_usable(pod, name, storage, ephemeral=ephemeral) for name, ephemeral in pod.claims]
    unbound = [claim for claim in found if not claim.bound]
    if not all(_is_delayed(claim, storage) for claim in unbound):
        raise Impossible(_UNBOUND)
    return PodClaims(tuple(claim for claim in found if claim.bound), tuple(unbound))


def existing(pod: PodFacts, name: str, storage: Storage) -> ClaimFacts:
    """Return the claim. Raises Impossible if it isn't there."""
    claim = storage.claim(f"{pod.namespace}/{name}")
    if claim is None:
        raise Impossible(f'persistentvolumeclaim "{name}" not found')
    return claim


def _usable(pod: PodFacts, name: str, storage: Storage, *, ephemeral: bool) -> ClaimFacts:
    claim = storage.claim(f"{pod.namespace}/{name}")
    if claim is None and ephemeral:
        raise Impossible(f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"')
    claim = existing(pod, name, storage)
    if claim.lost:
        raise Impossible(f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{claim.volume_name}"')
    if claim.terminating:
        raise Impossible(f'persistentvolumeclaim "{name}" is being deleted')
    if ephemeral and claim.owner_uid != pod.uid:
        raise Impossible(f"PVC {claim.key} was not created for pod {pod.key} (pod is not owner)")
    return claim


def _is_delayed(claim: ClaimFacts, storage: Storage) -> bool:
    found = storage.classes.get(claim.class_name)
    return found is not None and found.mode == DELAYED and not claim.volume_name


def plan(claims: PodClaims, node: NodeState, storage: Storage) -> VolumePlan | tuple[str, ...]:
    """Return what is to be done for the claims on this node, or why they can't be had there."""
    reasons: list[str] = []
    volumes = [storage.volume(claim.volume_name) for claim in claims.bound]
    for volume in volumes:
        if volume is None:
            reasons.append(GONE_VOLUME)
            break
        if not volume.reaches(node.name, node.labels):
            reasons.append(WRONG_NODE)
            break
    bindings: list[tuple[str, str]] = []
    provisions = [claim for claim in claims.delayed if claim.selected_node]
    if any(claim.selected_node != node.name for claim in provisions):
        return (*reasons, NO_VOLUME)
    taken: set[str] = set()
    for claim in sorted((one for one in claims.delayed if not one.selected_node), key=lambda one: one.size or 0):
        match = matching(claim, node, storage.volumes_of(claim.class_name), taken)
        if match is None:
            provisions.append(claim)
        else:
            taken.add(match.name)
            bindings.append((match.name, claim.key))
    if problem := next(filter(None, (_unprovisionable(claim, node, storage) for claim in provisions)), None):
        reasons.append(problem)
    order = (WRONG_NODE, NO_VOLUME, NO_SPACE, GONE_VOLUME)
    if reasons:
        return tuple(sorted(reasons, key=order.index))
    return VolumePlan(tuple(bindings), tuple(claim.key for claim in provisions))


def matching(
    claim: ClaimFacts, node: NodeState, volumes: Iterable[VolumeFacts], taken: Collection[str]
) -> VolumeFacts | None:
    """Return the smallest free volume that serves the claim on the node; one kept for the claim comes first.

    Source: component-helpers' volume.FindMatchingVolume.
    """
    best: VolumeFacts | None = None
    for volume in volumes:
        if volume.name in taken or (volume.claim and not volume.is_for(claim)):
            continue
        if volume.terminating or volume.mode != claim.mode or volume.attributes_class != claim.attributes_class:
            continue
        fits = volume.size >= (claim.size or 0)
        if volume.claim:
            if fits:
                return volume if volume.reaches(node.name, node.labels) else None
            continue
        is_free = volume.available and claim.access_modes <= volume.access_modes
        chosen = claim.selector is None or claim.selector.matches(volume.labels)
        if is_free and fits and chosen and volume.reaches(node.name, node.labels):
            best = volume if best is None or volume.size < best.size else best
    return best


def _unprovisionable(claim: ClaimFacts, node: NodeState, storage: Storage) -> str | None:
    """Say why no volume can be made for the claim on the node, or None if one can."""
    found = storage.classes.get(claim.class_name)
    if found is None or found.provisioner in ("", _UNSUPPORTED) or not found.allows(node.labels):
        return NO_VOLUME
    if claim.size is None or found.provisioner not in storage.counting_drivers:
        return None
    size = claim.size
    is_room = any(
        one.class_name == found.name and one.limit is not None and one.limit >= size and one.nodes.matches(node.labels)
        for one in storage.capacities.values()
    )
    return None if is_room else NO_SPACE
