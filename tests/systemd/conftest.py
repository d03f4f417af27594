"""Machines for tests: each has its own, and they end with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.systemd import tree
from tests.systemd.machine import Machine
from tests.systemd.packages import build


@pytest.fixture(scope="session")
def bookworm() -> Path:
    """The tree of Debian 12."""
    return tree.base("bookworm")


@pytest.fixture
def machine(bookworm: Path, tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Return a function that makes a Machine (not yet started) of a Debian 12 without anything of ours."""
    made: list[Machine] = []

    def make(binds: dict[Path, str] | None = None) -> Machine:
        made.append(Machine(bookworm, tmp_path / f"machine-{len(made)}", binds))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def packages(tmp_path_factory) -> dict[str, Path]:
    """Every kind of package, by kind."""
    kinds = ("deb", "rpm", "binary")
    return dict(zip(kinds, build(tmp_path_factory.mktemp("packages"), *kinds), strict=True))
