"""What the parts of a cluster tell of themselves at /metrics."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.request
from collections import Counter
from collections.abc import Iterable, Mapping

from prometheus_client.parser import text_string_to_metric_families

from bench.clusters import BenchCluster
from oarlock.cluster.client.http import ApiClient

Buckets = Mapping[float, float]
"""Upper bound → how many observations were above the next lower bound and not above this one."""


async def pages(running: BenchCluster, client: ApiClient, jobs: tuple[str, ...]) -> list[str]:
    """Return the metrics of all running parts whose job begins with one of these. One that is gone is left out."""
    targets = json.loads(await client.text("/oarlock/v1/targets"))
    chosen = [one["targets"][0] for one in targets if one["labels"].get("job", "").startswith(jobs)]
    read = await asyncio.gather(*(asyncio.to_thread(_page, running, one) for one in chosen), return_exceptions=True)
    for one in read:
        if isinstance(one, BaseException) and not isinstance(one, OSError):
            raise one
    return [one for one in read if isinstance(one, str)]


def total(texts: Iterable[str], name: str, /, **labels: str) -> float:
    """Return the sum of a counter or gauge over all series with these labels, of all pages together."""
    return sum(value for text in texts for given, value in _samples(text, name) if _has(given, labels))


def buckets(texts: Iterable[str], name: str, /, **labels: str) -> Buckets:
    """Return a histogram's observations with these labels, of all pages together."""
    found: Counter[float] = Counter()
    for text in texts:
        below: Counter[tuple[tuple[str, str], ...]] = Counter()
        for given, value in _samples(text, f"{name}_bucket"):
            if _has(given, labels):
                others = tuple(sorted((key, one) for key, one in given.items() if key != "le"))
                found[float(given["le"])] += value - below[others]
                below[others] = value
    return found


def largest(before: Buckets, after: Buckets) -> float | None:
    """Return the lowest known bound of all observations between two readings, None if there were none."""
    return max((one for one, count in after.items() if count > before.get(one, 0)), default=None)


def _has(given: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(given.get(name) == wanted for name, wanted in labels.items())


def _samples(text: str, name: str) -> Iterable[tuple[Mapping[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                yield sample.labels, sample.value


def _page(running: BenchCluster, address: str) -> str:
    pki = running.folder.pki
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    with urllib.request.urlopen(f"https://{address}/metrics", context=context, timeout=10) as answer:
        return str(answer.read().decode())
