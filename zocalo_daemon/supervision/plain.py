"""Objects as plain data and back, for newer code whose classes may be a little different (pure).

Records may refer to each other in circles. What is written is scalars, lists and maps with one key, which
says what the value is. Only the classes that the reader names are made, without running any code of theirs:
keys of a field that it does not know are ignored, missing ones have their default.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from zocalo_daemon.errors import ProtocolError
from zocalo_daemon.values import Record, Value, fill, parts

_SCALARS = (type(None), bool, int, float, str, bytes)
_COLLECTIONS: dict[type, str] = {
    list: "list",
    tuple: "tuple",
    set: "set",
    frozenset: "frozenset",
    dict: "map",
    OrderedDict: "ordered",
    deque: "deque",
}
_BACK: dict[str, Callable[[Any], Any]] = {
    **{name: kind for kind, name in _COLLECTIONS.items()},
    "deque": lambda parts: deque(*parts),
    "path": Path,
}

Types = Mapping[str, type]


def types_of(*modules: ModuleType) -> dict[str, type]:
    """Return the values, records and enumerations that these modules define, by name."""
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and issubclass(value, (Value, Record, enum.Enum))
    }


def dump(value: Any, types: Types) -> dict[str, Any]:
    """Return what `load` makes `value` of again.

    Raises:
        TypeError: something in it is neither plain nor of one of `types`.
    """
    dumper = _Dumper(types)
    packed = dumper.pack(value)
    return {"value": packed, "objects": dumper.objects}


def load(document: Mapping[str, Any], types: Types) -> Any:
    """Return what `dump` was given.

    Raises:
        ProtocolError: it was written by code that is too different.
    """
    try:
        return _Loader(document["objects"], types).unpack(document["value"])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as e:
        raise ProtocolError(f"the state cannot be read: {type(e).__name__}: {e}") from None


class _Dumper:
    def __init__(self, types: Types) -> None:
        self.objects: list[dict[str, Any]] = []
        self._types = types
        self._numbers: dict[int, int] = {}  # by id(), which stays taken: the caller holds what is dumped

    def pack(self, value: Any) -> Any:
        kind = type(value)
        if kind in _SCALARS:
            return value
        if kind in _COLLECTIONS:
            packed: Any = self._pack_collection(value)
            return packed if kind is list else {_COLLECTIONS[kind]: packed}
        if isinstance(value, Path):
            return {"path": str(value)}
        if self._types.get(kind.__name__) is not kind:
            raise TypeError(f"{kind.__name__} cannot be handed over")
        if isinstance(value, enum.Enum):
            return {"enum": [kind.__name__, value.name]}
        return {"object": self._number(value)}

    def _pack_collection(self, value: Any) -> Any:
        if isinstance(value, dict):
            return [[self.pack(key), self.pack(item)] for key, item in value.items()]
        items = [self.pack(item) for item in value]
        return [items, value.maxlen] if isinstance(value, deque) else items

    def _number(self, value: Any) -> int:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self.objects)
            packed: dict[str, Any] = {}
            self.objects.append({"type": type(value).__name__, "fields": packed})
            packed.update({name: self.pack(part) for name, part in parts(value).items()})
        return number


class _Loader:
    def __init__(self, objects: list[dict[str, Any]], types: Types) -> None:
        self._types = types
        # All are there before the first is filled: they refer to each other.
        self._objects: list[Any] = [object.__new__(types[one["type"]]) for one in objects]
        for value, one in zip(self._objects, objects, strict=True):
            fill(value, {name: self.unpack(part) for name, part in one["fields"].items()})

    def unpack(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.unpack(item) for item in value]
        if not isinstance(value, dict):
            return value
        ((kind, packed),) = value.items()
        if kind == "object":
            return self._objects[packed]
        if kind == "enum":
            return self._types[packed[0]][packed[1]]  # type: ignore[index]
        return _BACK[kind](self.unpack(packed))
