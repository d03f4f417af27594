"""What wrapped jobs inherit from, with the interface of zocalo.wrapper.

A job that inherits from zocalo's own class runs as well: nobody asks for the class, only for its methods.
"""

from __future__ import annotations

import logging
import time
from typing import Any, ClassVar

from zocalo_daemon.wrapper.status import StatusNotifications


class BaseWrapper:
    """A step of a recipe that is a job of its own.

    Payloads go to the output of the step that is named with each method, and nowhere if the step has none of
    that name. A method returns once its message is safe.

    Args:
        environment: `config` is the site configuration.

    Attributes:
        recwrap: the RecipeWrapper of the step, once it is set.
        log: a logger whose lines have the recipe ID as `recipe_ID`.
        status_thread: what is broadcast about the job, once it is set.
    """

    _logger_name = "zocalo.wrapper"
    recwrap: Any = None
    status_thread: StatusNotifications

    def __init__(self, *_args: Any, environment: dict[str, Any] | None = None, **_more: Any) -> None:
        self._environment = {} if environment is None else environment
        self._log_extra: dict[str, Any] = {}
        self.log = logging.LoggerAdapter(logging.getLogger(self._logger_name), self._log_extra)

    def set_recipe_wrapper(self, recwrap: Any) -> None:
        """Say which step of which recipe this is."""
        self.recwrap = recwrap
        if "ID" in recwrap.environment:
            self._log_extra["recipe_ID"] = recwrap.environment["ID"]

    def run(self) -> bool:
        """Do the work; return whether it succeeded. What is raised counts as a failure."""
        raise NotImplementedError(f"{type(self).__name__} has no method run()")

    def prepare(self, payload: Any = "") -> None:
        """Send to `starting`."""
        self._send("starting", payload)

    def update(self, payload: Any = "") -> None:
        """Send to `updates`."""
        self._send("updates", payload)

    def record_result_individual_file(self, payload: Any = "") -> None:
        """Send to `result-individual-file`."""
        self._send("result-individual-file", payload)

    def record_result_all_files(self, payload: Any = "") -> None:
        """Send to `result-all-files`."""
        self._send("result-all-files", payload)

    def success(self, payload: Any = "") -> None:
        """Send to `success`."""
        self._send("success", payload)

    def failure(self, payload: Any = "") -> None:
        """Send to `failure`, as text."""
        self._send("failure", str(payload))

    def done(self, payload: Any = "") -> None:
        """Send to `completed`, after success and failure alike."""
        self._send("completed", payload)

    @property
    def config(self) -> Any:
        """The site configuration."""
        return self._environment.get("config")

    def _send(self, output: str, payload: Any) -> None:
        if self.recwrap:
            self.recwrap.send_to(output, payload)


class DummyWrapper(BaseWrapper):
    """Waits, and succeeds."""

    _logger_name = "zocalo.wrapper.DummyWrapper"
    pauses: ClassVar = (10.0, 10.0)  # seconds before and after it changes the name of its task

    def run(self) -> bool:
        """Wait 20 seconds."""
        first, second = self.pauses
        self.log.info("This is a dummy wrapper: it waits for %g seconds", first + second)
        time.sleep(first)
        self.status_thread.taskname += " (still running)"
        time.sleep(second)
        return True
