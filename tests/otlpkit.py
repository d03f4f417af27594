"""A collector of OpenTelemetry for tests: OTLP over HTTP on loopback, away and back when it is told."""

from __future__ import annotations

import contextlib
import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """Takes spans until it is stopped; `spans` has them as they came.

    Args:
        wait: seconds that it takes over each request.
    """

    def __init__(self, wait: float = 0.0) -> None:
        self.spans: list[dict[str, Any]] = []
        self.requests: list[int] = []  # spans of each
        self.port = 0
        self.released = threading.Event()
        self._wait = wait
        self._server: ThreadingHTTPServer | None = None

    @property
    def endpoint(self) -> str:
        """Where it takes spans."""
        return f"http://127.0.0.1:{self.port}/v1/traces"

    def start(self) -> Collector:
        """Listen: on the port of the time before, if there was one."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    data = gzip.decompress(data)
                collector.released.wait(collector._wait)
                collector._take(data)
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Be away: nobody listens."""
        self.released.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def reserve(self) -> Collector:
        """Find a port where nobody listens."""
        self.start()
        self.stop()
        return self

    def named(self, name: str, **attributes: Any) -> list[dict[str, Any]]:
        """Return the spans of a name that have all of these attributes."""
        return [
            span
            for span in list(self.spans)
            if span["name"] == name and attributes.items() <= span["attributes"].items()
        ]

    def _take(self, data: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(data)
        taken = [
            {
                "name": span.name,
                "trace": span.trace_id.hex(),
                "id": span.span_id.hex(),
                "parent": span.parent_span_id.hex(),
                "attributes": _values(span.attributes),
                "resource": _values(one.resource.attributes),
                "scope": scope.scope.name,
            }
            for one in request.resource_spans
            for scope in one.scope_spans
            for span in scope.spans
        ]
        self.requests.append(len(taken))
        self.spans += taken


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
