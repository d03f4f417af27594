"""Durations, sizes and percentages as people write them, both ways.

Units of sizes follow IEC 80000-13: GiB is 1024³ bytes and GB 1000³. Bare letters (2G) are refused, since
systemd and Docker mean 1024 by them and disk makers 1000.
"""

from __future__ import annotations

import math
import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1} | {
    letter + end: base**power
    for power, letter in enumerate("kMGT", 1)
    for end, base in (("B", 1000), ("iB", 1024))
}
_BYTES["KiB"] = _BYTES.pop("kiB")
_NUMBER = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([a-zA-Z%]*)", re.ASCII)


def seconds(text: str) -> float:
    """Return the seconds of "500ms", "0.5s", "10m", "2h" or "1d".

    Raises:
        ValueError: it has no unit or another one; the message says what to write.
    """
    number, unit = _split(text, "expected a duration, for example 30s, 500ms or 10m")
    if unit not in _SECONDS:
        raise ValueError(f"unknown unit of time '{unit}'; use ms, s, m, h or d")
    return number / 1000 if unit == "ms" else number * _SECONDS[unit]


def size(text: str) -> int:
    """Return the bytes of "2GiB", "512MiB" or "1GB".

    Raises:
        ValueError: it has no unit or another one; the message says what to write.
    """
    number, unit = _split(text, "expected a size, for example 2GiB or 512MiB")
    if unit not in _BYTES:
        known = {name.lower(): name for name in _BYTES}
        fits = known.get(unit.lower()) or known.get(unit.lower() + "ib")
        hint = f"did you mean {number:g}{fits}?" if fits else "use KiB, MiB, GiB or kB, MB, GB"
        raise ValueError(f"unknown unit of size '{unit}'; {hint}")
    return int(number * _BYTES[unit])


def fraction(text: str) -> float:
    """Return "200%" as 2.0.

    Raises:
        ValueError: it is no percentage; the message says what to write.
    """
    number, unit = _split(text, "expected a percentage, for example 200% for two cores")
    if unit != "%":
        raise ValueError("expected a percentage, for example 200% for two cores")
    return number / 100


def show_seconds(value: float) -> str:
    """Return seconds in the largest unit that needs no decimals: 600.0 is "10m"."""
    for unit in ("d", "h", "m", "s"):
        if value >= _SECONDS[unit] and math.fmod(value, _SECONDS[unit]) == 0:
            return f"{int(value / _SECONDS[unit])}{unit}"
    return f"{value:.12g}s"


def show_size(value: int) -> str:
    """Return bytes in the largest binary unit that needs no decimals: 2147483648 is "2GiB"."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if value and value % _BYTES[unit] == 0:
            return f"{value // _BYTES[unit]}{unit}"
    return f"{value}B"


def show_fraction(value: float) -> str:
    """Return 2.0 as "200%"."""
    return f"{value * 100:.12g}%"


def _split(text: str, expected: str) -> tuple[float, str]:
    match = _NUMBER.fullmatch(text.strip())
    if match is None or not match[2]:
        raise ValueError(expected)
    return float(match[1]), match[2]
