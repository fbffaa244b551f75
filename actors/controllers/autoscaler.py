"""HorizontalPodAutoscalers: as many replicas as their metrics ask for, within their limits.

Source: kubernetes.io "Horizontal Pod Autoscaling"; upstream's podautoscaler/horizontal.go for order and wording.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from oarlock.actors.controllers import autoscaler_metrics, scales
from oarlock.actors.controllers.actions import Action, Answer, Ask, Burst, RecordEvent, ScaleTo, UpdateStatus
from oarlock.actors.controllers.autoscaler_limits import Past, limit, longest_period_s
from oarlock.actors.controllers.autoscaler_metrics import Proposal, Refused, Target
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.replica_calculator import Tolerance
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of
from oarlock.cluster.objects import quantity, selectors

Object = dict[str, Any]

SYNC_S = 15.0
_NO_SCALE = "the HPA controller was unable to get the target's current scale: {}"


@dataclass
class Turn:
    """One reconcile of an autoscaler: its status in the making, and the target's scale."""

    view: View
    key: str
    hpa: Object
    status: Object
    scale: scales.Scale = field(default_factory=lambda: scales.Scale({}))
    actions: list[Action] = field(default_factory=list)

    @property
    def spec(self) -> Mapping[str, Any]:
        """The autoscaler's spec."""
        found: Mapping[str, Any] = self.hpa["spec"]
        return found

    @property
    def asked(self) -> int:
        """The replicas that the target is asked for now."""
        return int((self.scale.body.get("spec") or {}).get("replicas", 0))

    @property
    def selector(self) -> str:
        """The target's pods, as its scale tells."""
        return str((self.scale.body.get("status") or {}).get("selector") or "")

    def set(self, kind: str, status: str, reason: str, message: str) -> None:
        """Set a condition; its time changes with its status only."""
        held: list[Object] = self.status.get("conditions") or []
        old = next((one for one in held if one["type"] == kind), None)
        since = old["lastTransitionTime"] if old is not None and old["status"] == status else self.view.stamp
        made = {"type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message}
        self.status["conditions"] = [made if one is old else one for one in held] if old is not None else [*held, made]

    def warn(self, reason: str, message: str) -> None:
        """Record a Warning."""
        self.actions.append(RecordEvent(self.hpa, reason, message, "Warning"))

    def end(self) -> list[Action]:
        """Return the actions, the status' write with them when it changed."""
        if self.status != (self.hpa.get("status") or {}):
            self.actions.append(UpdateStatus({**self.hpa, "status": self.status}))
        return self.actions


@dataclass
class Autoscaler:
    """Holds what limits need to know of the past, by key; lost with the process, as upstream's is."""

    past: dict[str, Past] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)

    def reconcile(self, key: str, view: View) -> list[Action]:
        """Return the questions that an autoscaler has to ask, which go on with its decision."""
        hpa = view.get("horizontalpodautoscalers", key)
        if hpa is None or hpa["metadata"].get("deletionTimestamp"):
            self.past.pop(key, None)
            self.chosen.pop(key, None)
            return []
        reference = hpa["spec"]["scaleTargetRef"]
        target = scales.Target(
            reference.get("apiVersion") or "v1", reference["kind"], hpa["metadata"]["namespace"], reference["name"]
        )
        turn = Turn(view, key, hpa, dict(hpa.get("status") or {}))
        return [scales.ask([target], lambda found: self._scaled(replace(turn, scale=found[0])))]

    def _scaled(self, turn: Turn) -> list[Action]:
        if turn.scale.error:
            turn.warn("FailedGetScale", turn.scale.error)
            turn.set("AbleToScale", "False", "FailedGetScale", _NO_SCALE.format(turn.scale.error))
            return turn.end()
        message = "the HPA controller was able to get the target's current scale"
        turn.set("AbleToScale", "True", "SucceededGetScale", message)
        past = self.past.setdefault(turn.key, Past())
        if not past.recommendations:
            past.recommendations.append((turn.view.now, turn.asked))
        least, most = turn.spec.get("minReplicas", 1), turn.spec["maxReplicas"]
        if turn.asked == 0 and least != 0:
            message = "scaling is disabled since the replica count of the target is zero"
            turn.set("ScalingActive", "False", "ScalingDisabled", message)
            return self._settle(turn, 0, None)
        if turn.asked > most:
            return self._rescale(turn, most, "Current number of replicas above Spec.MaxReplicas", None)
        if turn.asked < least:
            return self._rescale(turn, least, "Current number of replicas below Spec.MinReplicas", None)
        return self._measure(turn)

    def _measure(self, turn: Turn) -> list[Action]:
        if not turn.selector:
            turn.warn("SelectorRequired", "selector is required")
            turn.set("ScalingActive", "False", "InvalidSelector", "the HPA target's scale is missing a selector")
            return self._unknown(turn, [], "selector is required")
        selector = selectors.parse_labels(turn.selector)
        namespace = turn.hpa["metadata"]["namespace"]
        found = turn.view.chosen("pods", namespace, selector)
        self.chosen[turn.key] = turn.selector
        if rivals := self._rivals(turn.key, namespace, found):
            message = f"pods by selector {turn.selector} are controlled by multiple HPAs: [{' '.join(rivals)}]"
            turn.warn("AmbiguousSelector", message)
            turn.set("ScalingActive", "False", "AmbiguousSelector", message)
            return self._unknown(turn, [], message)
        present = int((turn.scale.body.get("status") or {}).get("replicas", 0))
        near = _tolerance(turn.spec.get("behavior") or {})
        target = Target(namespace, turn.selector, found, turn.asked, present, turn.view.now, near)
        metrics: Sequence[Object] = turn.spec.get("metrics") or _DEFAULT_METRICS

        def measured(answers: Sequence[Answer]) -> list[Action]:
            told = [
                autoscaler_metrics.evaluate(metric, target, answer)
                for metric, answer in zip(metrics, answers, strict=True)
            ]
            return self._decide(turn, told)

        return [*turn.actions, Ask([autoscaler_metrics.question(one, target) for one in metrics], measured)]

    def _rivals(self, key: str, namespace: str, found: Iterable[Object]) -> list[str]:
        """Return the autoscalers, this one with them, that want pods of this one's, if there are others."""
        labels = [pod["metadata"].get("labels") or {} for pod in found]
        others = [
            other
            for other, text in self.chosen.items()
            if other != key
            and other.startswith(f"{namespace}/")
            and any(selectors.parse_labels(text).matches(one) for one in labels)
        ]
        return sorted([key, *others]) if others else []

    def _decide(self, turn: Turn, told: Sequence[Proposal | Refused]) -> list[Action]:
        turn.actions = []
        statuses = [one.status for one in told if isinstance(one, Proposal)]
        refused = [one for one in told if isinstance(one, Refused)]
        for one in refused:
            turn.warn(one.reason, one.message)
        best = max((one for one in told if isinstance(one, Proposal)), key=lambda one: one.replicas, default=None)
        if best is None or (refused and best.replicas < turn.asked):
            message = f"the HPA was unable to compute the replica count: {refused[0].message}"
            turn.set("ScalingActive", "False", refused[0].reason, message)
            total = f"invalid metrics ({len(refused)} invalid out of {len(told)}), first error is: {refused[0].error}"
            return self._unknown(turn, statuses, total)
        message = f"the HPA was able to successfully calculate a replica count from {best.name}"
        turn.set("ScalingActive", "True", "ValidMetricFound", message)
        limited = limit(self.past.setdefault(turn.key, Past()), turn.view.now, turn.spec, turn.asked, best.replicas)
        turn.set("AbleToScale", "True", *limited.stabilized)
        turn.set("ScalingLimited", "True" if limited.limited else "False", *limited.limit)
        if limited.replicas == turn.asked:
            return self._settle(turn, turn.asked, statuses)
        above = best.replicas > turn.asked
        return self._rescale(
            turn, limited.replicas, f"{best.name} above target" if above else "All metrics below target", statuses
        )

    def _unknown(self, turn: Turn, statuses: list[Object], message: str) -> list[Action]:
        """Nothing can be decided: keep the replicas and tell why."""
        turn.warn("FailedComputeMetricsReplicas", message)
        turn.status["currentReplicas"] = turn.asked
        _put_metrics(turn.status, statuses)
        return turn.end()

    def _settle(self, turn: Turn, desired: int, statuses: list[Object] | None) -> list[Action]:
        turn.status.update(currentReplicas=turn.asked, desiredReplicas=desired)
        if statuses is not None:
            _put_metrics(turn.status, statuses)
        return turn.end()

    def _rescale(self, turn: Turn, desired: int, why: str, statuses: list[Object] | None) -> list[Action]:
        body = {**turn.scale.body, "spec": {**(turn.scale.body.get("spec") or {}), "replicas": desired}}
        done = RecordEvent(turn.hpa, "SuccessfulRescale", f"New size: {desired}; reason: {why}")
        failed = f"New size: {desired}; reason: {why}; error: {{error}}"

        def refused(message: str) -> Sequence[UpdateStatus]:
            told = replace(turn, status=dict(turn.status))
            text = f"the HPA controller was unable to update the target scale: {message}"
            told.set("AbleToScale", "False", "FailedUpdateScale", text)
            return [UpdateStatus({**turn.hpa, "status": told.status})]

        write = ScaleTo(turn.scale.path, body, done, RecordEvent(turn.hpa, "FailedRescale", failed, "Warning"))
        actions: list[Action] = [*turn.actions, Burst([write], refused)]
        after = replace(turn, status=dict(turn.status), actions=[])
        message = f"the HPA controller was able to update the target scale to {desired}"
        after.set("AbleToScale", "True", "SucceededRescale", message)
        after.status["lastScaleTime"] = turn.view.stamp
        self.past.setdefault(turn.key, Past()).scaled(turn.view.now, turn.asked, desired, longest_period_s(turn.spec))
        return [*actions, *self._settle(after, desired, statuses)]

    def keys(self, _plural: str, old: Object | None, new: Object | None, _view: View) -> Iterable[Due]:
        """An autoscaler is looked at when it is made or changed, and then every `SYNC_S`."""
        present = new if new is not None else old
        assert present is not None
        unchanged = old is not None and new is not None and old["spec"] == new["spec"]
        return [] if unchanged else [Due(key_of(present))]


_DEFAULT_METRICS: Sequence[Object] = (
    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
)


def _put_metrics(status: Object, statuses: list[Object]) -> None:
    status["currentMetrics"] = statuses or None


def _tolerance(behavior: Mapping[str, Any]) -> Tolerance:
    def of(direction: str) -> float:
        text = (behavior.get(direction) or {}).get("tolerance")
        return 0.1 if text is None else quantity.milli(text) / 1000

    return Tolerance(of("scaleUp"), of("scaleDown"))


def horizontal_pod_autoscaler() -> Controller:
    """Return the controller, with a memory of its own."""
    held = Autoscaler()
    return Controller(
        name="horizontalpodautoscaling",
        source="horizontal-pod-autoscaler",
        reads=("horizontalpodautoscalers",),
        keys=held.keys,
        reconcile=held.reconcile,
        looks_at=("pods",),
        workers=5,
        resync_s=SYNC_S,
        all_keys=lambda view: [key_of(one) for one in view.list("horizontalpodautoscalers")],
    )
