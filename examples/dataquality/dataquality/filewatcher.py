"""FileWatcher: waits for the images of a scan and sends each one on.

Parameters of its recipe step: `pattern`, `pattern-start`, `pattern-end`, `timeout`, `timeout-first`,
`burst-limit`, `interval` (see watching.Watch). Outputs: `first`, `every` and `last` image, each
{"file", "file-number"}; `timeout`; `any` if at least one image came; `finally` in any case, with
{"files-expected", "files-seen", "success"}.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import workflows.recipe
from workflows.services.common_service import CommonService

from dataquality.watching import Outcome, State, Watch, look


class FileWatcher(CommonService):
    """Waits for files to appear."""

    _service_name = "File Watcher"
    _logger_name = "dataquality.filewatcher"

    def initializing(self) -> None:
        """Subscribe."""
        workflows.recipe.wrap_subscribe(
            self.transport, "filewatcher", self.watch, acknowledgement=True, log_extender=self.extend_log
        )

    def watch(self, rw: workflows.recipe.RecipeWrapper, header: dict[str, Any], message: Any) -> None:
        """Send on what is new, and a message to ourselves if that is not all: in one transaction, so that
        whatever dies and whenever, no image is sent twice and none is forgotten."""
        try:
            watch = Watch.from_parameters(rw.recipe_step.get("parameters", {}))
            state = State.from_payload(message, time.time())
        except (TypeError, ValueError) as e:
            self.log.error("Rejected a message: %s", e)
            rw.transport.nack(header)
            return
        found, state, outcome = look(watch, state, time.time(), lambda path: Path(path).is_file())
        transaction = rw.transport.transaction_begin(subscription_id=header["subscription"])
        rw.transport.ack(header, transaction=transaction)
        for number in found:
            self._send_image(rw, watch, number, transaction)
        if outcome in (Outcome.DONE, Outcome.TIMEOUT):
            self._finish(rw, watch, state, outcome, transaction)
        else:
            delay = watch.interval if outcome is Outcome.WAIT else 0
            rw.checkpoint(state.payload(), delay=delay, transaction=transaction)
        rw.transport.transaction_commit(transaction)

    def _send_image(
        self, rw: workflows.recipe.RecipeWrapper, watch: Watch, number: int, transaction: int
    ) -> None:
        image = {"file": watch.path(number), "file-number": number}
        if number == watch.start:
            self.log.info("The first of %d images is there: %s", watch.expected, image["file"])
            rw.send_to("first", image, transaction=transaction)
        rw.send_to("every", image, transaction=transaction)
        if number == watch.end:
            rw.send_to("last", image, transaction=transaction)

    def _finish(
        self,
        rw: workflows.recipe.RecipeWrapper,
        watch: Watch,
        state: State,
        outcome: Outcome,
        transaction: int,
    ) -> None:
        done = outcome is Outcome.DONE
        summary = {"files-expected": watch.expected, "files-seen": state.seen, "success": done}
        seconds = time.time() - state.began
        if done:
            self.log.info("All %d images were there after %.1f s", state.seen, seconds)
        else:
            late = watch.path(watch.start + state.seen)
            self.log.warning("Gave up on %s after %.1f s, with %d images seen", late, seconds, state.seen)
            rw.send_to("timeout", {**summary, "file": late}, transaction=transaction)
        if state.seen:
            rw.send_to("any", summary, transaction=transaction)
        rw.send_to("finally", summary, transaction=transaction)
