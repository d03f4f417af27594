"""Values and records are made, compared and shown as dataclasses would be."""

from __future__ import annotations

import pytest

from zocalo_daemon.values import Record, Value, field, made, parts, replace


class Point(Value):
    """With a default, one that is made anew, and a secret."""

    x: int
    y: int = 2
    names: list[str] = field(default_factory=list)
    secret: str = field(default="", repr=False)

    @property
    def sum(self) -> int:
        return self.x + self.y


class Other(Value):
    x: int
    y: int = 2


class Counter(Record):
    count: int = 0


def test_fields_come_in_their_order_or_by_name():
    assert parts(Point(1, names=["a"])) == {"x": 1, "y": 2, "names": ["a"], "secret": ""}
    assert parts(Point(3, 4), "names", "secret") == {"x": 3, "y": 4}
    assert Point(1).names is not Point(1).names
    assert Point(1).sum == 3


@pytest.mark.parametrize(
    ("values", "named", "said"),
    [
        ((), {}, "Other lacks x"),
        ((1, 2, 3), {}, "Other does not take 3"),
        ((1,), {"x": 1}, "Other does not take x"),
        ((1,), {"z": 1}, "Other does not take z"),
    ],
)
def test_what_does_not_fit_is_an_error(values, named, said):
    with pytest.raises(TypeError, match=said):
        Other(*values, **named)


def test_values_are_equal_by_class_and_fields_and_records_by_identity():
    assert Other(1) == Other(1, 2)
    assert hash(Other(1)) == hash(Other(1))
    assert Other(1) != Other(2)
    assert Other(1) != Counter(1)
    assert Point(1) != Other(1)
    assert Counter() != Counter()
    assert len({Counter(), Counter()}) == 2


def test_a_value_never_changes_and_a_record_does():
    value, record = Other(1), Counter()
    with pytest.raises(AttributeError, match=r"Other\.x cannot be changed"):
        value.x = 2
    with pytest.raises(AttributeError, match=r"Other\.x cannot be changed"):
        del value.x
    record.count += 1
    assert record.count == 1
    with pytest.raises(AttributeError):
        record.cuont = 2
    assert replace(value, y=5) == Other(1, 5)


def test_no_secret_is_shown():
    assert repr(Point(1, secret="geheim")) == "Point(x=1, y=2, names=[])"


def test_patterns_know_the_order_of_fields():
    match Other(1, 7):
        case Other(x, y):
            assert (x, y) == (1, 7)


def test_what_is_made_of_older_data_has_its_defaults():
    assert made(Other, {"x": 1, "gone": 3}) == Other(1)
    with pytest.raises(TypeError, match="Other lacks x"):
        made(Other, {})
