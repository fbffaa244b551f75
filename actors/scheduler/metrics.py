"""The scheduler's metrics, named as upstream's."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ATTEMPTS = Counter(
    "scheduler_schedule_attempts_total",
    "Number of attempts to schedule pods, by the result.",
    ["result", "profile"],
)
DURATION = Histogram(
    "scheduler_scheduling_attempt_duration_seconds",
    "Scheduling attempt latency in seconds (scheduling algorithm + binding).",
    ["result", "profile"],
    buckets=tuple(0.001 * 2**power for power in range(15)),
)
PENDING = Gauge("scheduler_pending_pods", "Number of pending pods, by the queue type.", ["queue"])
INCOMING = Counter(
    "scheduler_queue_incoming_pods_total",
    "Number of pods added to scheduling queues by event and queue type.",
    ["queue", "event"],
)
CACHE_SIZE = Gauge("scheduler_cache_size", "Number of nodes, pods, and assumed pods in the scheduler cache.", ["type"])
PREEMPTIONS = Counter("scheduler_preemption_attempts_total", "Total preemption attempts in the cluster till now.")
VICTIMS = Histogram(
    "scheduler_preemption_victims",
    "Number of selected preemption victims.",
    buckets=tuple(2**power for power in range(7)),
)
