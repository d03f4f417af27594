"""Fixtures that every kind of test may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemonkit import Daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Return a function that makes a Daemon (not yet started); all of them end with the test."""
    made: list[Daemon] = []

    def make(services: dict[str, Any], *, name: str = "d", **more: Any) -> Daemon:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        made.append(Daemon(directory, services, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()
