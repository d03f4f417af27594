"""Dispatcher: takes requests for processing, puts their recipes together and starts them.

A request is a message on the queue `processing_recipe`; docs/services/dispatcher.md describes it. What
becomes of it is decided in `request`; the class carries that out.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from opentelemetry import trace
from workflows.recipe import RecipeWrapper

from zocalo_daemon.services import logbook
from zocalo_daemon.services.envelope import NotNow, Rejected
from zocalo_daemon.services.recipe_service import RecipeService
from zocalo_daemon.services.request import (
    QUEUE,
    Filter,
    PassOn,
    Request,
    apply_parameters,
    load_custom_recipe,
    load_recipes_from_files,
    parse,
    read_request,
    settle_readiness,
)

Hook = Callable[[dict[str, Any], dict[str, Any]], Any]


class Dispatcher(RecipeService):
    """Starts recipes on request; see the module."""

    _service_name = "Dispatcher"
    _logger_name = "zocalo.service.dispatcher"

    def initializing(self) -> None:
        """Read the site configuration, load hooks and filters, subscribe."""
        storage = getattr(self._environment.get("config"), "storage", None) or {}
        installed = entry_points()  # once: it reads the metadata of every package
        self._hooks: dict[str, Hook] = _plugins(installed, "zocalo.services.dispatcher.ready_for_processing")
        self._filters: dict[str, Filter] = {
            **_plugins(installed, "zocalo.services.dispatcher.filters"),
            "load_custom_recipe": load_custom_recipe,
            "load_recipes_from_files": load_recipes_from_files(storage.get("zocalo.recipe_directory")),
            "apply_parameters": apply_parameters,
        }
        self._logbook = self._open_logbook(storage.get("zocalo.dispatcher.logbook_location"))
        self._transport.subscribe(QUEUE, self.receive, acknowledgement=True)

    def _open_logbook(self, location: str | None) -> Path | None:
        if not location:
            self.log.info("No logbook: the site configuration sets no zocalo.dispatcher.logbook_location")
            return None
        try:
            Path(location).mkdir(0o775, parents=True, exist_ok=True)
        except OSError as e:
            self.log.error("No logbook: cannot make %s: %s", location, e.strerror)
            return None
        return Path(location)

    def process(self, wrapper: Any, header: dict[str, Any], message: Any) -> None:
        """Start what a request asks for, or put it off, or reject it."""
        began = time.monotonic()
        request = read_request(message, lambda: str(uuid.uuid4()))
        if wrapper:
            self.log.info("Request inside a recipe starts a new one with ID %s", request.recipe_id)
        _trace_data_collection(request.parameters)
        with self.extend_log("recipe_ID", request.recipe_id):
            try:
                self._dispatch(request, header)
            except Rejected as e:  # here, so that the reason is logged with the new recipe's ID
                self._reject(header, e)
            else:
                self.log.info("Request handled in %.4f seconds", time.monotonic() - began)

    def _dispatch(self, request: Request, header: dict[str, Any]) -> None:
        if not self._ready(request):
            self._send_back(settle_readiness(request, time.time()), header)
            return
        try:
            message = parse(request, self._filters)
        except NotNow as e:
            self.log.warning("Request cannot be handled now: %s", e)
            self._send_back(settle_readiness(request, time.time(), f"not to be handled: {e}"), header)
            return
        wrapper = RecipeWrapper(
            recipe=message["recipe"], transport=self._transport, environment={"ID": request.recipe_id}
        )
        if self._logbook:
            self._write_logbook(self._logbook, request, header, message)
        self._pass_on(header, lambda transaction: wrapper.start(transaction=transaction))

    def _ready(self, request: Request) -> bool:
        """Ask the hooks. One that fails counts as "not yet": what it needs may be back within the limit."""
        for name, ready in self._hooks.items():
            try:
                if not ready(request.message, request.parameters):
                    return False
            except Exception as e:  # a site's hook may raise anything
                self.log.warning("Hook %s failed: %s: %s", name, type(e).__name__, e)
                return False
        return True

    def _send_back(self, action: PassOn, header: dict[str, Any]) -> None:
        headers = {key: value for key, value in header.items() if key.startswith("zocalo.")}
        options: dict[str, Any] = {"headers": headers} if headers else {}
        if action.delay:
            options["delay"] = action.delay
        self._pass_on(
            header,
            lambda transaction: self._transport.send(
                action.queue, action.message, transaction=transaction, **options
            ),
        )
        self.log.info("Request is %s", action.why)

    def _write_logbook(
        self, root: Path, request: Request, header: dict[str, Any], message: dict[str, Any]
    ) -> None:
        path = logbook.entry_path(root, request.recipe_id, time.localtime())
        if path is None:
            self.log.warning(
                "Recipe ID %r gives no file name, nothing is written to the logbook", request.recipe_id
            )
            return
        try:
            text = logbook.entry_text(header, request.message, message, message["recipe"].recipe)
            logbook.write_entry(path, text)
        except (OSError, ValueError, TypeError, RecursionError) as e:
            reason = getattr(e, "strerror", None) or f"{type(e).__name__}: {e}"
            self.log.error("Nothing is written to the logbook: cannot write %s: %s", path, reason)


def _plugins(installed: Any, group: str) -> dict[str, Any]:
    return {point.name: point.load() for point in sorted(installed.select(group=group), key=lambda p: p.name)}


def _trace_data_collection(parameters: dict[str, Any]) -> None:
    span = trace.get_current_span()
    collection = parameters.get("ispyb_dcid") or parameters.get("dcid")
    if collection and span.is_recording():
        span.set_attribute("dcid", collection)
