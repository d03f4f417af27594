"""Spot finding on one image: what stands out of its surroundings, in connected pixels.

The threshold is the index of dispersion (variance over mean) of the surroundings: photon counts follow a
Poisson distribution, for which it is 1, so that a spot shows whatever the background is. The same idea is
behind the spot finders of XDS and DIALS (Winter et al., Acta Cryst. D74 (2018) 85-97, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]

_BOX = 7  # pixels; wide enough for a spot and some of its surroundings
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=np.int8)


@dataclass(frozen=True, slots=True)
class SpotFinding:
    """What was found on one image.

    Args:
        positions: (row, column) of the centre of each spot.
        counts: photons in each spot, background included.
        background: mean counts of a pixel that belongs to no spot.
    """

    positions: list[tuple[float, float]]
    counts: list[int]
    background: float

    @property
    def number(self) -> int:
        """Return the number of spots."""
        return len(self.counts)


def strong_pixels(
    image: npt.NDArray[np.int32], sigma_background: float = 6.0, sigma_strong: float = 3.0
) -> Mask:
    """Return which pixels stand out; negative pixels (gaps, dead ones) neither do nor count as surroundings.

    Args:
        sigma_background: by how many standard deviations the dispersion must be over that of plain noise.
        sigma_strong: by how many the pixel itself must be over the mean of its box.
    """
    valid = image >= 0
    counts = np.where(valid, image, 0).astype(np.float64)
    number, total, squares = (_box_sum(values) for values in (valid.astype(np.float64), counts, counts**2))
    enough = valid & (number > _BOX) & (total > 0.5)
    number, total = np.where(enough, number, 2.0), np.where(enough, total, 1.0)
    mean = total / number
    variance = (squares - total * mean) / (number - 1)
    dispersed = variance > mean * (1 + sigma_background * np.sqrt(2 / (number - 1)))
    strong: Mask = enough & dispersed & (counts > mean + sigma_strong * np.sqrt(mean))
    return strong


def find_spots(
    image: npt.NDArray[np.int32],
    sigma_background: float = 6.0,
    sigma_strong: float = 3.0,
    min_pixels: int = 3,
) -> SpotFinding:
    """Return the spots of an image: connected strong pixels, at least `min_pixels` of them."""
    strong = strong_pixels(image, sigma_background, sigma_strong)
    labels, found = ndimage.label(strong, structure=_EIGHT_NEIGHBOURS)
    index = np.arange(1, found + 1)
    sizes = ndimage.sum_labels(strong, labels, index)
    spots = index[np.asarray(sizes) >= min_pixels]
    centres = ndimage.center_of_mass(image, labels, spots) if spots.size else []
    photons = ndimage.sum_labels(image, labels, spots) if spots.size else []
    quiet = image[(image >= 0) & ~strong]
    return SpotFinding(
        positions=[(round(float(y), 2), round(float(x), 2)) for y, x in centres],
        counts=[int(n) for n in photons],
        background=float(quiet.mean()) if quiet.size else 0.0,
    )


def _box_sum(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    mean: npt.NDArray[np.float64] = ndimage.uniform_filter(values, _BOX, mode="constant")
    return mean * _BOX**2
