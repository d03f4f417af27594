"""Placeholders of recipes, against what workflows makes of them."""

import pytest
from workflows.recipe import Recipe

from zocalo_daemon.client.placeholders import wrong

GOOD = [
    "text",
    "{name}",
    "/data/{visit}/{name:}",
    "{{1,2}}",
    "{name!r}",
    "{number:05d}",
    "{data[key]}",
    "{list[0]}",
    "{$REPLACE:list}",
    "{$REPLACE:nothing}",
    "{unknown}",
    "{print $1}",
]
BAD = [
    "{",
    "}",
    "{name",
    "{name}}",
    "{}",
    "{0}",
    "{0[a]}",
    "{1.a}",
    "{name!z}",
    "{name!}",
    '{"a": 1}',
    "{'a': {name}}",
    "{$REPLACE",
    "{$REPLACE:}",
    "{$REPLACE:{list}",
]
PARAMETERS = {"name": "n", "visit": "v", "number": 7, "list": [1], "data": {"key": 2}}


def apply(text):
    recipe = Recipe({"1": {"queue": "q", "parameters": {"p": text}}, "start": [[1, []]]})
    recipe.apply_parameters(PARAMETERS)


@pytest.mark.parametrize("text", GOOD)
def test_what_can_be_filled_in_is_right(text):
    apply(text)
    assert list(wrong({"1": {"a": [text]}})) == []


@pytest.mark.parametrize("text", BAD)
def test_what_never_can_be_is_told(text):
    with pytest.raises((ValueError, IndexError, TypeError)):
        apply(text)
    ((path, problem),) = wrong({"1": {"a": [text]}})
    assert path == ("1", "a", 0)
    assert problem.endswith("; braces that are no placeholder are doubled: {{ }}")


def test_keys_are_filled_in_too():
    assert [path for path, _ in wrong({"1": {"{x}": 1, "{y": 2}})] == [("1", "{y")]


def test_depth_does_not_matter():
    deep = "{"
    for _ in range(2000):
        deep = [deep]
    assert len(list(wrong(deep))) == 1
