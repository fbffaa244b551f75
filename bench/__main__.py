"""`python -m bench [NAME …]`: run the named benchmarks, or all, and put their tables into docs/benchmarks.md.

`--quick` runs those that can, as short as they go, to see that they work: the figures mean little and aren't kept.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from bench.report import ToolMissing, put_section

BENCHMARKS = (
    *(
        "request_path",
        "pod_checks",
        "idle",
        "store_memory",
        "etcd",
        "takeover",
        "saturation",
        "flaps",
        "ownership",
        "allocation",
        "scheduling",
    ),
    *(
        "api",
        "profile",
        "following",
        "definitions",
        "failover",
        "rollouts",
        "rolling",
        "restarts",
        "resync",
        "controllers",
        "size",
        "crowds",
    ),
)
HAVE_QUICK = (
    "etcd",
    "takeover",
    "saturation",
    "flaps",
    "ownership",
    "allocation",
    "scheduling",
    "following",
    "rolling",
    "restarts",
    "resync",
)


def main() -> int:
    parser = argparse.ArgumentParser("bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help=f"a short run of {', '.join(HAVE_QUICK)}; nothing is kept")
    arguments = parser.parse_args()
    names = arguments.names or (HAVE_QUICK if arguments.quick else BENCHMARKS)
    unknown = set(names) - set(HAVE_QUICK if arguments.quick else BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    missing = 0
    for name in names:
        benchmark = importlib.import_module(f"bench.{name}")
        try:
            body = benchmark.measure(quick=True) if arguments.quick else benchmark.measure()
        except ToolMissing as tool:
            print(f"{name}: {tool}", file=sys.stderr)
            missing += 1
            continue
        print(f"\n## {name}\n\n{body}\n", flush=True)
        if not arguments.quick:
            put_section(name, body)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
