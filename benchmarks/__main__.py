"""Measure, and print a table (or JSON); exit status 1 if a target is missed."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import figures, memory, supervision
from benchmarks.figures import Row

FIGURES: dict[str, Callable[[Path], list[Row]]] = {
    "replacement": figures.replacement,
    "startup": figures.startup,
    "memory": memory.memory,
    "throughput": figures.throughput,
    "control": figures.control_latency,
    "supervision": supervision.supervision,
}


def measure(name: str) -> list[Row]:
    """Return the rows of one figure, measured in a directory that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="zocalo-bench-") as directory:
        return FIGURES[name](Path(directory))


def line(row: Row) -> str:
    """Return a row of the table."""
    sign = "≤" if row.lower_is_better else "≥"
    peer = (
        f"{row.peer:10.4g}  {row.ratio:6.1f} times better  {row.peer_name}" if row.peer and row.ratio else ""
    )
    verdict = "met" if row.met else "MISSED"
    return f"{row.figure:<44} {row.value:9.4g} {row.unit:<6} {sign} {row.target:<6g} {verdict:<7}{peer}"


def main() -> None:
    """Run the figures that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    args = parser.parse_args()
    unknown = [name for name in args.figures if name not in FIGURES]
    if unknown:
        parser.error(f"no figure {unknown[0]}; there are {', '.join(FIGURES)}")
    rows: list[Row] = []
    if not args.json:
        load = os.getloadavg()[0]
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f} before the run")
    for name in args.figures or FIGURES:
        for row in measure(name):
            rows.append(row)
            if not args.json:
                print(line(row), flush=True)
    if args.json:
        print(json.dumps([{**vars(row), "met": row.met, "ratio": row.ratio} for row in rows], indent=2))
    sys.exit(not all(row.met for row in rows))


if __name__ == "__main__":
    main()
