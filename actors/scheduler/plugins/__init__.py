"""Filters and scores, one a file. Source of their behaviour: kube-scheduler v1.36's default profile."""

from __future__ import annotations

from collections.abc import Mapping

from oarlock.actors.scheduler.framework import Filter, Gate, Score, Step
from oarlock.actors.scheduler.plugins.allocation_score import AllocationScore, least_allocated
from oarlock.actors.scheduler.plugins.balanced_allocation import BalancedAllocation
from oarlock.actors.scheduler.plugins.dynamic_resources import DynamicResources, gate
from oarlock.actors.scheduler.plugins.dynamic_steps import DynamicSteps
from oarlock.actors.scheduler.plugins.image_locality import ImageLocality
from oarlock.actors.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from oarlock.actors.scheduler.plugins.inter_pod_preference import InterPodPreference
from oarlock.actors.scheduler.plugins.node_affinity import NodeAffinity
from oarlock.actors.scheduler.plugins.node_name import NodeName
from oarlock.actors.scheduler.plugins.node_ports import NodePorts
from oarlock.actors.scheduler.plugins.node_resources_fit import NodeResourcesFit
from oarlock.actors.scheduler.plugins.node_unschedulable import NodeUnschedulable
from oarlock.actors.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from oarlock.actors.scheduler.plugins.pod_topology_preference import PodTopologyPreference
from oarlock.actors.scheduler.plugins.pod_topology_spread import PodTopologySpread
from oarlock.actors.scheduler.plugins.taint_toleration import TaintToleration
from oarlock.actors.scheduler.plugins.volume_binding import VolumeBinding
from oarlock.actors.scheduler.plugins.volume_restrictions import VolumeRestrictions
from oarlock.actors.scheduler.plugins.volume_steps import VolumeSteps
from oarlock.actors.scheduler.plugins.volume_zone import VolumeZone
from oarlock.actors.scheduler.profile import DEFAULT_NAME, Profile

FILTERS: tuple[Filter, ...] = (
    NodeUnschedulable(),
    NodeName(),
    TaintToleration(),
    NodeAffinity(),
    NodePorts(),
    NodeResourcesFit(),
    VolumeRestrictions(),
    NodeVolumeLimits(),
    VolumeBinding(),
    VolumeZone(),
    PodTopologySpread(),
    InterPodAffinity(),
    DynamicResources(),
)
"""In the order in which a node is asked: only the first that refuses it is named to the user."""

SCORES: tuple[tuple[Score, int], ...] = (
    (TaintToleration(), 3),
    (NodeAffinity(), 2),
    (AllocationScore(least_allocated), 1),
    (PodTopologyPreference(), 2),
    (InterPodPreference(), 2),
    (DynamicResources(), 1),
    (BalancedAllocation(), 1),
    (ImageLocality(), 1),
)
"""With what each weighs."""

STEPS: tuple[Step, ...] = (VolumeSteps(), DynamicSteps())

GATES: Mapping[str, Gate] = {DynamicResources.name: gate}
"""What holds pods back before any attempt, by the plugin's name; scheduling gates are the queue's own."""

DEFAULT = Profile(DEFAULT_NAME, FILTERS, SCORES, STEPS, gates=tuple(GATES.values()))
