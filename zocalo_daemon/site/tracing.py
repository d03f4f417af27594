"""OpenTelemetry: the spans of a worker, sent to a collector by OTLP over HTTP.

Names and attributes of spans are those of workflows, whose middleware makes them. CommonService would also
set up the rest, but then an idle worker wakes up every five seconds, may take half a minute to end, writes
lines for every batch that nobody takes, and dies of a message with an odd header. So it is done here.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk import resources
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.version import __version__ as sdk_version
from workflows.transport.middleware.otel_tracing import OTELTracingMiddleware

KEPT = 2048  # spans that wait, while the collector is away or slow
BATCH = 512  # spans in one request
LINGER = 1.0  # seconds that the first span of a batch waits for others
FLUSH = 1.0  # seconds that the end of a worker may wait for what is under way
SCOPE = "workflows.services.common_service"  # what made the spans, as CommonService says it


def load() -> None:
    """Have all there that a worker needs, before the fork: 6 MiB are imported when an exporter is made."""
    trace_exporter.OTLPSpanExporter(endpoint="http://localhost/v1/traces")
    provider = TracerProvider(resource=_resource("", ""), shutdown_on_exit=False)
    with provider.get_tracer(SCOPE).start_as_current_span("rehearsal") as span:
        span.set_attribute("service_name", "")
    if isinstance(span, ReadableSpan):  # it is not where the environment turns OpenTelemetry off
        encode_spans([span]).SerializeToString()


def prepare(service: Any, transport: Any, instance: str, where: Mapping[str, Any]) -> None:
    """Have spans made of what a service receives, settles and sends; in the process that runs it.

    Args:
        where: "endpoint", and "timeout" in seconds.
    """
    name = service.get_name()
    provider = TracerProvider(resource=_resource(name, instance))
    exporter = trace_exporter.OTLPSpanExporter(endpoint=where["endpoint"], timeout=where["timeout"])
    provider.add_span_processor(Sender(exporter, where["endpoint"]))
    trace.set_tracer_provider(provider)
    propagate.set_global_textmap(Careful(propagate.get_global_textmap()))
    transport.add_middleware(OTELTracingMiddleware(trace.get_tracer(SCOPE), service_name=name))


def _resource(name: str, instance: str) -> resources.Resource:
    """Return what all spans have in common.

    Not by Resource.create(), which leaves a thread behind.
    """
    own = resources.Resource(
        {
            resources.TELEMETRY_SDK_LANGUAGE: "python",
            resources.TELEMETRY_SDK_NAME: "opentelemetry",
            resources.TELEMETRY_SDK_VERSION: sdk_version,
            resources.SERVICE_INSTANCE_ID: instance,
        }
    )
    environment = resources.OTELResourceDetector().detect()
    return own.merge(environment).merge(resources.Resource({resources.SERVICE_NAME: name}))


class Careful(TextMapPropagator):
    """Takes a header that is no trace context for none, whatever it holds."""

    def __init__(self, inner: TextMapPropagator) -> None:
        self._inner = inner

    def extract(self, carrier: Any, context: Context | None = None, *more: Any, **options: Any) -> Context:
        """Return the context of a message."""
        try:
            return self._inner.extract(carrier, context, *more, **options)
        except Exception:  # a number or a map where there should be text
            return Context() if context is None else context

    def inject(self, carrier: Any, context: Context | None = None, *more: Any, **options: Any) -> None:
        """Put the context into the headers of a message."""
        self._inner.inject(carrier, context, *more, **options)

    @property
    def fields(self) -> set[str]:
        """The headers that it uses."""
        return self._inner.fields


class Sender(SpanProcessor):
    """Hands spans to a thread, which is started by the first of them and sleeps while there are none."""

    def __init__(self, exporter: SpanExporter, where: str) -> None:
        self._exporter, self._where = exporter, where
        self._reason = _Reason()
        logging.getLogger(trace_exporter.__name__).addFilter(self._reason)
        self._away = False
        self._begin()
        os.register_at_fork(after_in_child=self._begin)  # which copies no thread, but a lock that one holds

    def _begin(self) -> None:
        self._thread: threading.Thread | None = None
        self._spans: deque[ReadableSpan] = deque()
        self._changed = threading.Condition()
        self._under_way = self._ending = False
        self._dropped = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span; never blocks."""
        if not (span.context and span.context.trace_flags.sampled):
            return
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="OpenTelemetry", daemon=True)
                self._thread.start()
            if len(self._spans) >= KEPT:
                self._dropped += 1
                return
            self._spans.append(span)
            if len(self._spans) in (1, BATCH):
                self._changed.notify_all()

    def shutdown(self) -> None:
        """Wait a moment for what is on its way, unless the collector is away."""
        self.force_flush(int(FLUSH * 1000))

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Wait until everything is sent; False if it is not in time."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
            left = timeout_millis / 1000
            done = self._changed.wait_for(lambda: self._away or not (self._spans or self._under_way), left)
            self._ending = False
        return done and not self._away

    def _run(self) -> None:
        while True:
            batch = self._batch()
            taken = self._exporter.export(batch) is SpanExportResult.SUCCESS
            with self._changed:
                self._under_way = False
                self._dropped += 0 if taken else len(batch)
                self._note(not taken)
                self._changed.notify_all()

    def _batch(self) -> list[ReadableSpan]:
        with self._changed:
            self._changed.wait_for(lambda: self._spans)
            self._changed.wait_for(lambda: self._ending or len(self._spans) >= BATCH, LINGER)
            batch = list(islice(self._spans, BATCH))
            for _ in batch:
                self._spans.popleft()
            self._under_way = True
        return batch

    def _note(self, away: bool) -> None:
        if away and not self._away:
            self._say(f"does not take traces ({self._reason.text}): they are dropped until it does")
        elif self._away and not away:
            self._say(f"takes traces again; {self._dropped} spans were dropped")
            self._dropped = 0
        self._away = away

    def _say(self, text: str) -> None:
        sys.stderr.write(f"OpenTelemetry {self._where} {text}\n")


class _Reason(logging.Filter):
    """Keeps the last thing that the exporter had to say, and the log free of it."""

    text = "unknown"

    def filter(self, record: logging.LogRecord) -> bool:
        """Let no record pass."""
        self.text = record.getMessage()[:200]
        return False
