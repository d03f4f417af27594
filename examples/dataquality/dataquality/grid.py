"""A grid scan: the beam passes over columns and rows, back and forth."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid's columns and rows."""

    columns: int
    rows: int

    @classmethod
    def parse(cls, text: str) -> Grid:
        """Return the grid of a text like `20x15`.

        Raises:
            ValueError: it is no such text.
        """
        columns, _, rows = text.partition("x")
        if not (columns.isdecimal() and rows.isdecimal() and int(columns) and int(rows)):
            raise ValueError(f"{text!r} is no grid: it takes columns x rows, as in 20x15")
        return cls(int(columns), int(rows))

    @property
    def size(self) -> int:
        """Return the number of images."""
        return self.columns * self.rows

    def place(self, number: int) -> tuple[int, int]:
        """Return column and row of an image; the first is number 1, every second row runs backwards."""
        row, column = divmod(number - 1, self.columns)
        return (column if row % 2 == 0 else self.columns - 1 - column), row
