"""Machines for tests: each has its own, and they end with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.systemd import tree
from tests.systemd.machine import Machine
from tests.systemd.packages import ROOT, build, copy


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
def builds(tmp_path_factory) -> list[dict[str, Path]]:
    """Every kind of package, by kind; and once more, from a copy of the source in another place."""
    kinds, source = ("deb", "rpm", "binary"), copy(tmp_path_factory.mktemp("elsewhere") / "source")
    with ThreadPoolExecutor() as pool:
        places = [(tmp_path_factory.mktemp("packages"), root) for root in (ROOT, source)]
        made = [pool.submit(build, into, *kinds, root=root) for into, root in places]
        return [dict(zip(kinds, one.result(), strict=True)) for one in made]


@pytest.fixture(scope="session")
def packages(builds: list[dict[str, Path]]) -> dict[str, Path]:
    """Every kind of package, by kind."""
    return builds[0]
