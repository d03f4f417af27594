"""What the tests of processes share: a foreign interpreter, made once per session."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@pytest.fixture(scope="module", autouse=True)
def no_subreaper() -> Iterator[None]:
    """Have this process adopt no more orphans once a module that plays the supervisor is done."""
    yield
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def other_python() -> str:
    """Return a Python of another minor version that can run services, else the one that runs now."""
    places = [Path.home() / ".pyenv/versions", Path(sys.base_prefix).parent]
    found = [p for place in places for p in sorted(place.glob("*/bin/python3"))]
    found += [Path(d) / f"python3.{m}" for d in os.environ.get("PATH", "").split(":") for m in (12, 13, 10)]
    for python in found:
        try:
            probe = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
            done = subprocess.run(
                [python, "-c", probe], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            continue
        version = tuple(map(int, done.stdout.split()))
        if (3, 10) <= version < (3, 14) and version != sys.version_info[:2]:
            return str(python)
    return sys.executable


@pytest.fixture(scope="session")
def foreign(tmp_path_factory) -> Path:
    """The interpreter of an environment with nothing but workflows and msgpack."""
    home = tmp_path_factory.mktemp("foreign") / "venv"
    subprocess.run([other_python(), "-m", "venv", home], check=True, timeout=60)
    python = home / "bin/python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "workflows", "msgpack"]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        if os.environ.get("CI"):
            pytest.fail(done.stderr)
        pytest.skip(f"workflows cannot be installed in another environment: {done.stderr[-300:]}")
    return python


@pytest.fixture(scope="session")
def bare(tmp_path_factory) -> Path:
    """The interpreter of an empty environment."""
    home = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True, timeout=60)
    return home / "bin/python"
