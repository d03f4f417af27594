"""Objects as plain data and back."""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any

import msgpack
import pytest

from zocalo_daemon.errors import ProtocolError
from zocalo_daemon.supervision import lifecycle, plain, slots
from zocalo_daemon.values import Record, Value, field


class Colour(enum.StrEnum):
    RED = "red"


class Node(Record):
    name: str
    other: Node | None = None
    many: dict[int, Node] = field(default_factory=dict)


class Fixed(Value):
    number: int
    text: str = "as before"


TYPES = {"Colour": Colour, "Node": Node, "Fixed": Fixed}


def through(value: Any) -> Any:
    """Return what the new code has of a value: it goes as msgpack."""
    packed = msgpack.packb(plain.dump(value, TYPES), use_bin_type=True)
    return plain.load(msgpack.unpackb(packed, raw=False, strict_map_key=False), TYPES)


@pytest.mark.parametrize(
    "value",
    [
        None,
        1.5,
        b"\x00",
        "text",
        [1, [2, "three"]],
        {"map": {1: ("a", 2), (1, 2): None}},
        {1, 2},
        frozenset("ab"),
        Path("/run/zocalo"),
        Colour.RED,
        deque([1, 2], maxlen=7),
        {"object": 1},  # looks like what stands for one
        Fixed(1, "x"),
    ],
)
def test_a_value_comes_back_as_it_was(value):
    again = through(value)
    assert again == value
    assert type(again) is type(value)


def test_a_deque_keeps_its_limit_and_an_ordered_map_its_kind():
    again = through([deque([1], maxlen=3), OrderedDict([(2, "b"), (1, "a")])])
    assert again[0].maxlen == 3
    assert type(again[1]) is OrderedDict
    assert list(again[1]) == [2, 1]


def test_objects_that_refer_to_each_other_in_circles_still_do():
    one, two = Node("one"), Node("two")
    one.other, two.other, one.many = two, one, {3: two}
    first, second = through([one, two])
    assert (first.name, second.name) == ("one", "two")
    assert first.other is second
    assert second.other is first
    assert first.many == {3: second}


def test_a_new_field_has_its_default_and_one_that_is_gone_is_ignored():
    document = plain.dump(Fixed(1), TYPES)
    document["objects"][0]["fields"] = {"number": 2, "of another version": 3}
    assert plain.load(document, TYPES) == Fixed(2, "as before")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"value": {"object": 0}, "objects": []},
        {"value": {"object": 0}, "objects": [{"type": "Unknown", "fields": {}}]},
        {"value": {"object": 0}, "objects": [{"type": "Fixed", "fields": {}}]},  # no number, and no default
        {"value": {"enum": ["Colour", "BLUE"]}, "objects": []},
        {"value": {"nonsense": 1}, "objects": []},
        {"value": {"a": 1, "b": 2}, "objects": []},
    ],
)
def test_what_another_code_has_written_is_one_clear_error(document):
    with pytest.raises(ProtocolError, match="the state cannot be read"):
        plain.load(document, TYPES)


def test_what_is_not_plain_is_refused_when_it_is_written():
    with pytest.raises(TypeError, match="function cannot be handed over"):
        plain.dump({"a": [lambda: None]}, TYPES)
    with pytest.raises(TypeError, match="Node cannot be handed over"):
        plain.dump(Node("x"), {})


def test_the_types_of_a_module_are_its_values_records_and_enumerations():
    found = plain.types_of(slots, lifecycle)
    assert {"Slot", "Worker", "State"} <= set(found)
    assert "Timers" not in found
    assert "ServiceConfig" not in found  # imported there, defined elsewhere
