"""The detector: three modules of 487 by 195 pixels above each other, photon counting, TIFF files.

Images are 32-bit signed integers. Pixels between the modules are -1, dead ones -2, as detectors of this
family write them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.int32]

MODULES, MODULE_HEIGHT, GAP, WIDTH = 3, 195, 17, 487
HEIGHT = MODULES * MODULE_HEIGHT + (MODULES - 1) * GAP
GAP_PIXEL, DEAD_PIXEL = -1, -2

_IMAGE_DESCRIPTION = 270  # TIFF tag, in which these detectors keep their header


def gap_rows() -> list[slice]:
    """Return the rows that no module covers."""
    pitch = MODULE_HEIGHT + GAP
    return [slice(i * pitch - GAP, i * pitch) for i in range(1, MODULES)]


def read(path: str | Path) -> Pixels:
    """Return the counts of an image.

    Raises:
        OSError: it is not there, is no image, or is truncated.
    """
    with Image.open(path) as image:
        return np.asarray(image, dtype=np.int32)


def write(path: Path, pixels: Pixels, header: str = "") -> None:
    """Write an image under a temporary name and rename it: whoever sees `path` sees all of it."""
    partial = path.with_name(f".{path.name}.part")
    image = Image.fromarray(pixels)
    image.save(partial, format="TIFF", compression="tiff_lzw", tiffinfo={_IMAGE_DESCRIPTION: header})
    os.replace(partial, path)  # noqa: PTH105 - the name of the system call says what is meant
