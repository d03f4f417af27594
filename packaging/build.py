"""Makes packages: `python packaging/build.py [--release N] DIRECTORY deb|rpm|binary…`.

deb and rpm are for the version of Python that runs this, the binary for all. What is made depends on the
files that git knows, on the lock file, and on that Python: same input, same bytes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import binary
import deb
import image
import rpm

PACKAGES = {"deb": deb.make, "rpm": rpm.make}


def main() -> int:
    """Make what is asked for, and print where it is."""
    parser = argparse.ArgumentParser(description="Make packages of zocalo_daemon.")
    parser.add_argument("--release", default="1", help="tells builds of one version apart")
    parser.add_argument("directory", type=Path)
    parser.add_argument("kinds", nargs="+", choices=[*PACKAGES, "binary"])
    args = parser.parse_args()
    args.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        files = Path(work) / "image"
        if PACKAGES.keys() & set(args.kinds):
            image.make(files)
        for kind in args.kinds:
            if kind == "binary":
                made = binary.make(Path(work) / "binary", args.directory)
            else:
                root = Path(work) / kind
                shutil.copytree(files, root, symlinks=True)
                made = PACKAGES[kind](root, args.directory.resolve(), args.release)
            sys.stdout.write(f"{made}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
