"""A beamline without a beam: writes the images of a grid scan over two crystals at detector pace.

    dataquality-simulate --grid 20x15 --rate 20 DIRECTORY

The beam passes over the grid row by row, back and forth. Two crystals lie in it; their spots fade towards
their edges. For some frames in a row the beam is lost: those are blank.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dataquality import images
from dataquality.grid import Grid

_MOST_SPOTS = 110
_BLANK = 6  # frames without beam
_CRYSTALS = ((0.34, 0.58, 0.21, 0.30), (0.78, 0.27, 0.12, 0.17))  # x, y, half widths; fractions of the grid
_HEADER = (
    "# Detector: simulated, 172e-6 m x 172e-6 m pixels\n# Exposure_period {period:.4f} s\n# Image {number}\n"
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One exposure: its number (from 1) and how many spots are on it; no beam leaves it blank."""

    number: int
    spots: int
    beam: bool


def plan(grid: Grid) -> Iterator[Frame]:
    """Yield the frames of a scan in the order of their measurement."""
    lost = range(round(0.62 * grid.size), round(0.62 * grid.size) + min(_BLANK, grid.size // 10))
    for number in range(1, grid.size + 1):
        beam = number not in lost
        yield Frame(number, round(_MOST_SPOTS * _diffraction(grid, number)) if beam else 0, beam)


def expose(frame: Frame, rng: np.random.Generator) -> images.Pixels:
    """Return the counts of a frame: Poisson noise around background and spots."""
    expected = _EMPTY_BEAM.copy() if frame.beam else np.full((images.HEIGHT, images.WIDTH), 0.002)
    for row, column, counts in _spots(frame.spots, rng):
        _add_spot(expected, row, column, counts)
    pixels = rng.poisson(expected).astype(np.int32)
    for gap in images.gap_rows():
        pixels[gap] = images.GAP_PIXEL
    pixels[_DEAD] = images.DEAD_PIXEL
    return pixels


def run(directory: Path, grid: Grid, rate: float, seed: int = 7) -> None:
    """Write all images of a scan, `rate` a second, as `scan_00001.tif` and so on."""
    directory.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    for frame in plan(grid):
        pixels = expose(frame, np.random.default_rng((seed, frame.number)))
        time.sleep(max(0.0, begin + frame.number / rate - time.monotonic()))
        header = _HEADER.format(period=1 / rate, number=frame.number)
        images.write(directory / f"scan_{frame.number:05d}.tif", pixels, header)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--grid", default="20x15", help="columns x rows (20x15)")
    parser.add_argument("--rate", type=float, default=20.0, help="images a second (20)")
    args = parser.parse_args()
    try:
        grid = Grid.parse(args.grid)
    except ValueError as e:
        parser.error(str(e))
    run(args.directory, grid, args.rate)


_CENTRE = (images.HEIGHT * 0.52, images.WIDTH * 0.49)  # pixels; where the direct beam would hit
_DEAD = (np.array([40, 41, 300, 455, 456]), np.array([77, 77, 402, 19, 20]))


def _diffraction(grid: Grid, number: int) -> float:
    """Return how well the crystals diffract at an image's place, from 0 to 1."""
    column, row = grid.place(number)
    x, y = (column + 0.5) / grid.columns, (row + 0.5) / grid.rows
    distances = (math.hypot((x - cx) / wx, (y - cy) / wy) for cx, cy, wx, wy in _CRYSTALS)
    return max(max(0.0, 1 - distance**2) ** 0.7 for distance in distances)


def _empty_beam() -> npt.NDArray[np.float64]:
    """Return the expected counts without a crystal: air scatter, the solvent's ring, the beam stop."""
    rows, columns = np.mgrid[0 : images.HEIGHT, 0 : images.WIDTH]
    radius = np.hypot(rows - _CENTRE[0], columns - _CENTRE[1])
    stop = (radius < 17) | ((np.abs(columns - _CENTRE[1]) < 5) & (rows > _CENTRE[0]))
    background: npt.NDArray[np.float64] = (
        0.8 + 14 * np.exp(-radius / 60) + 3.5 * np.exp(-(((radius - 190) / 45) ** 2))
    )
    return background * (1 - 0.98 * ndimage.gaussian_filter(stop.astype(float), 3))


def _spots(number: int, rng: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    """Yield row, column and photons of spots: apart from each other, on modules, clear of the beam stop."""
    placed: list[tuple[float, float]] = []
    gaps = [(rows.start + rows.stop) / 2 for rows in images.gap_rows()]
    while len(placed) < number:
        row = rng.uniform(6, images.HEIGHT - 6)
        column = rng.uniform(6, images.WIDTH - 6)
        off_gaps = all(abs(row - gap) > images.GAP / 2 + 6 for gap in gaps)
        off_stop = abs(column - _CENTRE[1]) > 12 and math.hypot(row - _CENTRE[0], column - _CENTRE[1]) > 40
        if off_gaps and off_stop and all(math.hypot(row - r, column - c) > 13 for r, c in placed):
            placed.append((row, column))
            yield row, column, 150 + rng.exponential(500)


def _add_spot(expected: npt.NDArray[np.float64], row: float, column: float, counts: float) -> None:
    """Add a spot of 1.1 pixels' width to the expected counts, in place."""
    top, left = int(row) - 5, int(column) - 5
    rows, columns = np.mgrid[top : top + 11, left : left + 11]
    shape = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * 1.1**2))
    expected[top : top + 11, left : left + 11] += counts * shape / shape.sum()


_EMPTY_BEAM = _empty_beam()

if __name__ == "__main__":
    main()
