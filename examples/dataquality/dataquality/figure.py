"""The plot of a scan: spots per image, the grid, and the best image with its spots."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dataquality import images
from dataquality.collecting import Collection
from dataquality.grid import Grid

_SPOTS, _BLANK, _BEST, _INK = "#2a6f97", "#d9480f", "#e8590c", "#343a40"
_BLANK_BACKGROUND = 0.1  # counts per pixel; no beam leaves less than that


def save(path: Path, collection: Collection, grid: Grid | None) -> int:
    """Write the plot under a temporary name, rename it, and return the number of the best image.

    Raises:
        ValueError: there is nothing to plot, or the grid is smaller than the scan.
        OSError: it cannot be written.
    """
    results = [collection.results[number] for number in sorted(collection.results)]
    if not results:
        raise ValueError("there is no result")
    if grid and results[-1]["file-number"] > grid.size:
        raise ValueError(f"image {results[-1]['file-number']} is outside the grid")
    best = max(results, key=lambda result: result["spots"])
    figure = _draw(results, best, grid)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    FigureCanvasAgg(figure).print_png(str(partial))
    os.replace(partial, path)  # noqa: PTH105 - the name of the system call says what is meant
    return int(best["file-number"])


def _draw(results: list[dict[str, Any]], best: dict[str, Any], grid: Grid | None) -> Figure:
    figure = Figure(figsize=(11, 7), dpi=110, layout="constrained", facecolor="white")
    upper, lower = figure.subfigures(2, 1, height_ratios=(2, 3))
    _draw_series(upper.subplots(), results, best)
    left, right = lower.subplots(1, 2, width_ratios=(3, 2))
    if grid:
        _draw_grid(left, results, best, grid)
    else:
        _draw_histogram(left, results)
    _draw_image(right, best)
    blank = sum(_is_blank(result) for result in results)
    total = sum(result["spots"] for result in results)
    figure.suptitle(
        f"{len(results)} images, {total:,} spots, {blank} blank", fontsize=14, color=_INK, fontweight="bold"
    )
    return figure


def _is_blank(result: dict[str, Any]) -> bool:
    return bool(result["background"] < _BLANK_BACKGROUND)


def _draw_series(axes: Axes, results: list[dict[str, Any]], best: dict[str, Any]) -> None:
    numbers = np.array([result["file-number"] for result in results])
    spots = np.array([result["spots"] for result in results])
    blank = np.array([_is_blank(result) for result in results])
    axes.bar(numbers, spots, width=1.0, color=_SPOTS, linewidth=0)
    top = max(1, spots.max()) * 1.12
    axes.bar(numbers[blank], np.full(blank.sum(), top), width=1.0, color=_BLANK, alpha=0.35, label="no beam")
    axes.plot(best["file-number"], best["spots"], "v", color=_BEST, markersize=8, label="most spots")
    axes.set(xlabel="image", ylabel="spots", xlim=(numbers[0] - 1, numbers[-1] + 1), ylim=(0, top))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper right", frameon=False, ncols=2)


def _draw_grid(axes: Axes, results: list[dict[str, Any]], best: dict[str, Any], grid: Grid) -> None:
    spots = np.full((grid.rows, grid.columns), np.nan)
    for result in results:
        column, row = grid.place(result["file-number"])
        if _is_blank(result):
            axes.plot(column, row, "x", color=_BLANK, markersize=6)
        else:
            spots[row, column] = result["spots"]
    mesh = axes.imshow(spots, cmap="YlGnBu", interpolation="nearest", vmin=0)
    axes.plot(*grid.place(best["file-number"]), "o", color=_BEST, fillstyle="none", markersize=13, mew=2)
    axes.set(title="spots over the grid", xlabel="column", ylabel="row", facecolor="#f1f3f5")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.figure.colorbar(mesh, ax=axes, shrink=0.85, label="spots")


def _draw_histogram(axes: Axes, results: list[dict[str, Any]]) -> None:
    axes.hist([result["spots"] for result in results], bins=30, color=_SPOTS)
    axes.set(title="images by number of spots", xlabel="spots", ylabel="images")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_image(axes: Axes, best: dict[str, Any]) -> None:
    """Draw the best image; a file that is gone by now leaves the panel empty, not the plot undone."""
    axes.set(title=f"image {best['file-number']}: {best['spots']} spots", xticks=[], yticks=[])
    try:
        pixels = images.read(best["file"])
    except OSError:
        axes.text(0.5, 0.5, "no longer there", ha="center", transform=axes.transAxes, color=_INK)
        return
    shown = np.where(pixels < 0, np.nan, np.sqrt(np.maximum(pixels, 0)))
    axes.imshow(shown, cmap="Greys", vmin=0, vmax=9, interpolation="antialiased")
    axes.set_facecolor("#ced4da")
    positions = np.array(best.get("positions", [])).reshape(-1, 2)
    axes.scatter(positions[:, 1], positions[:, 0], s=34, facecolors="none", edgecolors=_BEST, linewidths=0.8)
