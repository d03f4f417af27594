"""Fixtures that every kind of test may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility import DEFECTS, ROWS, TROUBLES, ids
from tests.daemonkit import Daemon


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that prove what sites rely on; put what takes minutes first."""
    items.sort(key=lambda item: "soak" not in item.path.name)  # nothing waits for them then
    proofs = {one for text in (*ROWS.values(), *DEFECTS.values(), *TROUBLES.values()) for one in ids(text)}
    here = Path(__file__).parent
    for item in items:
        if (str(item.path.relative_to(here)), getattr(item, "originalname", "")) in proofs:
            item.add_marker("compatibility")


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
