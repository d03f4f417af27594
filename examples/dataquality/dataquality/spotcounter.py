"""SpotCounter: counts the spots of one image.

Takes {"file", "file-number"}; parameters of its recipe step: `sigma-background`, `sigma-strong`,
`min-pixels`. Output: {"file-number", "file", "spots", "background", "brightest", "seconds", "worker",
"positions"}, the positions as [row, column].
An image that cannot be read is rejected: its message waits among the dead letters.
"""

from __future__ import annotations

import os
import time
from typing import Any

import workflows.recipe
from workflows.services.common_service import CommonService

from dataquality import images
from dataquality.spots import find_spots


class SpotCounter(CommonService):
    """Counts spots on detector images."""

    _service_name = "Spot Counter"
    _logger_name = "dataquality.spotcounter"

    def initializing(self) -> None:
        """Subscribe."""
        workflows.recipe.wrap_subscribe(
            self.transport, "spotcounter", self.count, acknowledgement=True, log_extender=self.extend_log
        )

    def count(self, rw: workflows.recipe.RecipeWrapper, header: dict[str, Any], message: Any) -> None:
        """Send on the spots of one image; the message is settled together with its result."""
        begin = time.perf_counter()
        parameters = rw.recipe_step.get("parameters", {})
        try:
            found = find_spots(
                images.read(message["file"]),
                sigma_background=float(parameters.get("sigma-background", 6)),
                sigma_strong=float(parameters.get("sigma-strong", 3)),
                min_pixels=int(parameters.get("min-pixels", 3)),
            )
            number = int(message["file-number"])
        except (OSError, KeyError, TypeError, ValueError) as e:
            self.log.error("Rejected a message: %s", e)
            rw.transport.nack(header)
            return
        result = {
            "file-number": number,
            "file": message["file"],
            "spots": found.number,
            "background": round(found.background, 3),
            "brightest": max(found.counts, default=0),
            "seconds": round(time.perf_counter() - begin, 4),
            "worker": os.getpid(),
            "positions": found.positions,
        }
        transaction = rw.transport.transaction_begin(subscription_id=header["subscription"])
        rw.transport.ack(header, transaction=transaction)
        rw.send(result, transaction=transaction)
        rw.transport.transaction_commit(transaction)
