"""ScanPlot: collects the results of a scan, and plots them once all have arrived.

Takes results of SpotCounter and the `finally` message of FileWatcher. Parameters of its recipe step:
`output_filename`; `grid` (as in 20x15); `timeout`, the seconds to wait for results that are missing.
Output: {"file", "images", "spots", "best"}.

It keeps every message in hand until the plot is on disk and settles them all in one transaction: if it
dies before, all of them are delivered again. For this it must be the only consumer of its queue.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import workflows.recipe
from workflows.services.common_service import CommonService

from dataquality.collecting import Collection
from dataquality.figure import save
from dataquality.grid import Grid

_IN_HAND = 20_000  # messages; the largest scan that can be plotted
_TIMEOUT = 60.0  # seconds


class ScanPlot(CommonService):
    """Plots the spots of a scan."""

    _service_name = "Scan Plot"
    _logger_name = "dataquality.scanplot"

    def initializing(self) -> None:
        """Subscribe."""
        self._scans: dict[str, tuple[workflows.recipe.RecipeWrapper, Collection]] = {}
        self._register_idle(1, self.give_up_waiting)
        workflows.recipe.wrap_subscribe(
            self.transport,
            "scanplot",
            self.collect,
            acknowledgement=True,
            exclusive=True,
            prefetch_count=_IN_HAND,
            log_extender=self.extend_log,
        )

    def collect(self, rw: workflows.recipe.RecipeWrapper, header: dict[str, Any], message: Any) -> None:
        """Take a message in hand; plot if it was the last one."""
        scan = str(rw.environment.get("ID", ""))
        _, collection = self._scans.setdefault(scan, (rw, Collection()))
        try:
            collection.add(header, message, time.monotonic())
        except (TypeError, ValueError) as e:
            self.log.error("Rejected a message: %s", e)
            rw.transport.nack(header)
            return
        if collection.complete:
            self._plot(scan)

    def give_up_waiting(self) -> None:
        """Plot the scans whose missing results have not come in time; what has no summary is rejected."""
        for scan, (rw, collection) in list(self._scans.items()):
            timeout = float(rw.recipe_step.get("parameters", {}).get("timeout", _TIMEOUT))
            if not collection.overdue(time.monotonic(), timeout):
                continue
            if collection.summary:
                missing = collection.summary["files-seen"] - len(collection.results)
                self.log.warning("Plotting a scan without the results of %d images", missing)
                self._plot(scan)
            else:
                self.log.error("Rejected %d messages of an unfinished scan", len(collection.headers))
                self._reject(scan)

    def _plot(self, scan: str) -> None:
        rw, collection = self._scans[scan]
        parameters = rw.recipe_step.get("parameters", {})
        try:
            grid = Grid.parse(parameters["grid"]) if parameters.get("grid") else None
            path = Path(parameters["output_filename"])
            best = save(path, collection, grid)
        except (OSError, KeyError, ValueError) as e:
            self.log.error("This scan cannot be plotted: %s", e)
            self._reject(scan)
            return
        spots = sum(result["spots"] for result in collection.results.values())
        report = {"file": str(path), "images": len(collection.results), "spots": spots, "best": best}
        transaction = rw.transport.transaction_begin(subscription_id=collection.headers[0]["subscription"])
        for header in collection.headers:
            rw.transport.ack(header, transaction=transaction)
        rw.send(report, transaction=transaction)
        rw.transport.transaction_commit(transaction)
        del self._scans[scan]
        self.log.info("Plotted %d images with %d spots: %s", report["images"], spots, path)

    def _reject(self, scan: str) -> None:
        rw, collection = self._scans.pop(scan)
        for header in collection.headers:
            rw.transport.nack(header)
