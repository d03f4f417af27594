"""Values and records: classes of named fields, for what the supervisor imports.

They are written as dataclasses are. Those of the standard library compile the methods of each class anew in
every process, half a millisecond for each, and import `inspect` with all that it needs: when the supervisor's
code is replaced, clients wait for that. Here all classes share the same few methods. To make an object takes
2 to 4 µs more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from typing import dataclass_transform
else:

    def dataclass_transform(**_options: Any) -> Callable[[type], type]:
        """Do nothing, as typing's own: forkservers run with Python 3.10 too, which has none."""
        return lambda kind: kind


_NONE: Any = object()  # as a default: there is none

T = TypeVar("T")


class Field:
    """What is to be known of a field: its default, or what makes one, and whether repr() shows it."""

    __slots__ = ("default", "default_factory", "repr")

    def __init__(self, default: Any, default_factory: Callable[[], Any] | None, *, repr_: bool) -> None:
        self.default, self.default_factory, self.repr = default, default_factory, repr_


def field(
    *, default: Any = _NONE, default_factory: Callable[[], Any] | None = None, repr: bool = True
) -> Any:
    """Say more of a field than its default.

    Args:
        default_factory: makes the default of each object anew.
        repr: whether repr() shows it; no secret is shown.
    """
    return Field(default, default_factory, repr_=repr)


class _Meta(type):
    """Makes slots of the annotated names; `__fields__` has what is to be known of each."""

    __fields__: dict[str, Field]

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _Meta:
        """Return the class; it inherits no fields."""
        fields = {}
        for one in namespace.get("__annotations__", ()):
            default = namespace.pop(one, _NONE)
            fields[one] = default if isinstance(default, Field) else Field(default, None, repr_=True)
        slots = tuple(fields)
        made = super().__new__(cls, name, bases, {**namespace, "__slots__": slots, "__match_args__": slots})
        made.__fields__ = fields
        return made


class _Fields(metaclass=_Meta):
    def __init__(self, *values: Any, **named: Any) -> None:
        kind = type(self)
        given = dict(zip(kind.__fields__, values, strict=False))
        twice = given.keys() & named.keys()
        if unknown := named.keys() - kind.__fields__.keys() or twice or values[len(kind.__fields__) :]:
            raise TypeError(f"{kind.__name__} does not take {', '.join(map(str, unknown))}")
        fill(self, {**given, **named})

    def __repr__(self) -> str:
        """Return it as it would be written."""
        shown = [name for name, one in type(self).__fields__.items() if one.repr]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


@dataclass_transform(field_specifiers=(field,), eq_default=False)
class Record(_Fields):
    """Something that changes, and is equal to nothing but itself."""


@dataclass_transform(field_specifiers=(field,), frozen_default=True)
class Value(_Fields):
    """Something that never changes, and is equal to what is of its class and has the same fields."""

    def __setattr__(self, name: str, _value: Any) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and _all(self) == _all(other)

    def __hash__(self) -> int:
        return hash(_all(self))


def fill(value: Any, given: Mapping[str, Any]) -> None:
    """Set every field of a new value or record, those not given to their defaults.

    Raises:
        TypeError: a field has neither; names that are no field are ignored.
    """
    for name, one in type(value).__fields__.items():
        if name in given:
            part = given[name]
        elif one.default_factory:
            part = one.default_factory()
        elif (part := one.default) is _NONE:
            raise TypeError(f"{type(value).__name__} lacks {name}")
        object.__setattr__(value, name, part)  # also that of a value


def made(kind: type[T], given: Mapping[str, Any]) -> T:
    """Return a value or record with these fields; names that are no field are ignored.

    Raises:
        TypeError: as of `fill`.
    """
    value = object.__new__(kind)
    fill(value, given)
    return value


def parts(value: Any, *without: str) -> dict[str, Any]:
    """Return the fields of a value or record, by name, but for those `without`."""
    return {name: getattr(value, name) for name in type(value).__fields__ if name not in without}


def replace(value: T, **changes: Any) -> T:
    """Return a value or record that differs in some fields."""
    return type(value)(**{**parts(value), **changes})


def _all(value: Any) -> tuple[Any, ...]:
    return tuple(getattr(value, name) for name in type(value).__fields__)
