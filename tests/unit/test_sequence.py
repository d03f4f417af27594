"""`after` of services: names that are not there, and cycles."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocalo_daemon.config.load import load
from zocalo_daemon.config.sequence import cycles
from zocalo_daemon.errors import ConfigError


def problems(path: Path, **after: str) -> list[str]:
    services = "".join(f"  {name}:\n    class: C\n    after: {names}\n" for name, names in after.items())
    path.write_text(f"version: 1\nservices:\n{services}")
    try:
        load(path, {}, 0)
    except ConfigError as e:
        return [line.removeprefix(f"{path}:") for line in e.data["problems"]]
    return []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "zocalod.yaml"


def test_services_may_come_after_others(file: Path) -> None:
    assert problems(file, a="[]", b="[a]", c="[a, b]", d="[c, a, c]") == []
    assert load(file, {}, 0).services["c"].after == ("a", "b")


def test_a_service_that_is_not_there(file: Path) -> None:
    assert problems(file, dispatcher="", b="[a, dispatchr]") == [
        "8: services.b.after[0]: there is no service 'a'; expected dispatcher or b",
        "8: services.b.after[1]: there is no service 'dispatchr'; did you mean 'dispatcher'?",
    ]


def test_a_cycle_is_named_where_it_begins(file: Path) -> None:
    assert problems(file, a="[b]", b="[a]") == ["5: services.a.after: a cycle: a -> b -> a"]
    assert problems(file, x="[a]", a="[b]", b="[c]", c="[a]") == [
        "8: services.a.after: a cycle: a -> b -> c -> a"
    ]
    assert problems(file, a="[a]") == ["5: services.a.after: a cycle: a -> a"]
    assert problems(file, a="[b]", b="[a]", c="[d]", d="[c]") == [
        "5: services.a.after: a cycle: a -> b -> a",
        "11: services.c.after: a cycle: c -> d -> c",
    ]


def test_a_long_cycle_is_shown_in_part(file: Path) -> None:
    ring = {f"s{n}": f"[s{(n + 1) % 5000}]" for n in range(5000)}
    (line,) = problems(file, **ring)
    assert line == "5: services.s0.after: a cycle: s0 -> s1 -> s2 -> s3 -> s4 -> s5 -> s6 -> s7 -> … -> s0"


def test_what_is_no_list_of_names_is_told_once(file: Path) -> None:
    assert problems(file, a="b", b="[1, [a]]", c="{a: b}") == [
        "5: services.a.after: expected a list, for example [dispatcher], not 'b'",
        "8: services.b.after[0]: expected a name, but 1 is read as a number; put it in quotes: '1'",
        "8: services.b.after[1]: expected a name, not a list",
        "11: services.c.after: expected a list, for example [dispatcher], not a map",
    ]


@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(st.integers(0, n - 1)), min_size=n, max_size=n)))
def test_a_cycle_is_found_exactly_if_there_is_one(graph: list[list[int]]) -> None:
    follows = {str(number): [str(other) for other in others] for number, others in enumerate(graph)}
    found = list(cycles(follows))
    for cycle in found:
        assert cycle[0] == cycle[-1]
        assert all(after in follows[before] for before, after in pairwise(cycle))
    rest = dict(follows)
    while free := [name for name, others in rest.items() if not set(others) & set(rest)]:
        for name in free:
            del rest[name]
    assert bool(found) == bool(rest)
