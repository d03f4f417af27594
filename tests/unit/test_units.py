"""Durations, sizes and percentages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocalo_daemon.config.units import fraction, seconds, show_fraction, show_seconds, show_size, size


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500ms", 0.5),
        ("0.5s", 0.5),
        ("30s", 30),
        ("10m", 600),
        ("10min", 600),
        ("2h", 7200),
        ("1d", 86400),
        (" 1 s ", 1),
    ],
)
def test_seconds(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("2GiB", 2 * 1024**3), ("512MiB", 512 * 1024**2), ("1GB", 10**9), ("1.5kB", 1500), ("7B", 7)],
)
def test_size(text: str, value: int) -> None:
    assert size(text) == value


def test_fraction() -> None:
    assert fraction("200%") == 2.0
    assert fraction("12.5%") == 0.125


@pytest.mark.parametrize("read", [seconds, size, fraction])
@pytest.mark.parametrize("text", ["", "s", "1", "-1s", "1e3s", "1..2s", "1x", "٣s", "1 2s", "9" * 5000 + "s"])
def test_what_is_no_measure(read, text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|unknown unit"):
        read(text)


@given(st.integers(1, 10**9))
def test_what_is_shown_is_read_as_the_same(number: int) -> None:
    assert size(show_size(number)) == number
    assert seconds(show_seconds(float(number))) == number
    assert fraction(show_fraction(number % 5000 / 16)) == number % 5000 / 16
