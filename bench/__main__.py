"""`python -m bench [NAME …]`: run the named benchmarks, or all, and put their tables into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import importlib
import sys

from bench.report import put_section

BENCHMARKS = ("idle", "store", "api", "failover")


def main() -> int:
    parser = argparse.ArgumentParser("bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    names = parser.parse_args().names or BENCHMARKS
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}")
    for name in names:
        table = importlib.import_module(f"bench.{name}").measure()
        print(f"\n## {name}\n\n{table}\n", flush=True)
        put_section(name, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
