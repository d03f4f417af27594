"""pika, and all that is pika's: one AMQP connection and its channels, driven by a Loop.

pika does the protocol (handshake, frames, heartbeats, channels); the socket is a Stream, so that everything
that one turn of the relay's loop has to say leaves in one write. A thread for pika's SelectConnection would
have to be woken for every message, twice. What pika calls back is passed on in plain values.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pika
import pika.channel
import pika.connection
import pika.exceptions
from pika import spec
from pika.data import decode_table

from zocalo_daemon.brokers.loop import Callback, Loop, Timer
from zocalo_daemon.brokers.rabbitmq_reasons import reason_of
from zocalo_daemon.brokers.rabbitmq_wire import MALFORMED, Arrival, message, read
from zocalo_daemon.brokers.stream import Stream

HANDSHAKE = 10.0  # seconds for the broker to answer in AMQP once bytes can flow

Problem = tuple[int, str]  # reply code of AMQP (0: the connection is gone) and text

logging.getLogger("pika").setLevel(logging.CRITICAL)  # whatever it complains about, we are told too


class Channel(pika.channel.Channel):  # type: ignore[misc]  # pika has no types
    """A channel that hands on whatever is delivered, by plain functions.

    pika rejects what still arrives for a consumer while that is cancelled; we may want to keep it.
    """

    def __init__(self, connection: Any, number: int, on_open: Callable[[Any], None]) -> None:
        super().__init__(connection, number, on_open)
        self.on_arrival: Callable[[Arrival], None] = lambda _: None

    def _on_deliver(self, method_frame: Any, header_frame: Any, body: bytes) -> None:
        method = method_frame.method
        self.on_arrival(Arrival.of(method, header_frame.properties, body))

    def on_end(self, callback: Callable[[Problem], None]) -> None:
        """Have the reason passed on when the channel ends without our asking."""
        self.add_on_close_callback(lambda _channel, reason: callback(_problem(reason)))

    def on_cancelled(self, callback: Callable[[str], None]) -> None:
        """Have the tag of a consumer passed on that the broker ends (its queue is gone)."""
        self.add_on_cancel_callback(lambda frame: callback(str(frame.method.consumer_tag)))

    def on_confirm(
        self, confirm: Callable[[int, bool, bool], None], returned: Callable[[str, str, bytes], None]
    ) -> None:
        """Turn confirms on.

        Args:
            confirm: takes the number of a publication, whether all before it are meant too, and whether it
                is safe (or refused).
            returned: takes exchange, routing key and body of a publication that reached no queue.
        """
        self.confirm_delivery(
            lambda frame: confirm(
                frame.method.delivery_tag, frame.method.multiple, isinstance(frame.method, spec.Basic.Ack)
            ),
            lambda _frame: None,
        )
        self.add_on_return_callback(
            lambda _channel, method, _properties, body: returned(method.exchange, method.routing_key, body)
        )

    def consume(
        self, queue: str, tag: str, prefetch: int, done: Callback, *, no_ack: bool = False, **options: Any
    ) -> None:
        """Start a consumer; `options` are `exclusive` and `arguments`."""
        if not no_ack:
            self.basic_qos(prefetch_count=prefetch)
        self.basic_consume(
            queue, lambda *_: None, auto_ack=no_ack, consumer_tag=tag, callback=lambda _: done(), **options
        )

    def send(self, exchange: str, key: str, body: bytes, properties: Any, *, mandatory: bool) -> None:
        """Publish a message.

        Raises:
            ValueError: AMQP cannot carry it; nothing was sent.
        """
        self._raise_if_not_open()
        try:
            data = message(
                self.channel_number,
                *(exchange, key, b"".join(properties.encode()), body),
                mandatory=mandatory,
                limit=self.connection._body_max_length,
            )
        except Exception as e:  # what struct, assert and str.encode raise within pika, and some of its own
            raise ValueError(f"a header or name that AMQP cannot carry: {e}") from None
        self.connection._output_marshaled_frames([data])

    def ask_queue(self, name: str, done: Callable[[str, int, int], None], **options: Any) -> None:
        """Declare a queue, or look at it with `passive`; `done` takes name, messages ready, consumers."""
        self.queue_declare(
            name,
            callback=lambda frame: done(
                frame.method.queue, frame.method.message_count, frame.method.consumer_count
            ),
            **options,
        )


class Connection(pika.connection.Connection):  # type: ignore[misc]
    """A connection from the first attempt to its end.

    Args:
        parameters: as `parameters_of` makes them.
        on_up: called when channels can be opened.
        on_down: called once with a reason for people, before or after `on_up`.
        on_blocked: called with the broker's reason when it takes no messages for now, and "" when it does.
    """

    _frame_buffer: bytes  # of pika: what has come of a frame that is not whole

    def __init__(
        self,
        loop: Loop,
        parameters: Any,
        *,
        on_up: Callback,
        on_down: Callable[[str], None],
        on_blocked: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._on_down = on_down
        self._stream: Stream | None = None
        self._heard = 0.0  # when the broker sent anything
        self._watch: Timer | None = None
        super().__init__(
            parameters,
            on_open_callback=lambda _: self._stands(on_up),
            on_open_error_callback=lambda _, e: self._end(e),
            on_close_callback=lambda _, e: self._end(e),
            internal_connection_workflow=False,
        )
        self.add_on_connection_blocked_callback(lambda _, frame: on_blocked(str(frame.method.reason)))
        self.add_on_connection_unblocked_callback(lambda _, _frame: on_blocked(""))
        self._stream = Stream(
            loop,
            (parameters.host, parameters.port),
            parameters.ssl_options.context if parameters.ssl_options else None,
            on_up=self._greet,
            on_data=self._take,
            on_lost=lambda reason: self._on_stream_terminated(pika.exceptions.StreamLostError(reason)),
        )

    @property
    def pending(self) -> bool:
        """Whether there is something to write."""
        return self._stream is not None and self._stream.pending

    def flush(self) -> None:
        """Write what there is."""
        if self._stream is not None:
            self._stream.flush()

    def open_channel(self, on_open: Callable[[Channel], None], on_end: Callable[[Problem], None]) -> Channel:
        """Open a channel."""
        made: Channel = self.channel(on_open_callback=on_open)
        made.on_end(on_end)
        return made

    def abandon(self) -> None:
        """End it at once and silently."""
        self._on_down = lambda _: None
        if self._stream is not None:
            self._stream.close()
        self._stop_watching()
        self._remove_heartbeat()

    def _greet(self) -> None:
        self._watch = self._loop.call_later(
            HANDSHAKE,
            partial(self._give_up, f"no answer within {HANDSHAKE:g} s; does the broker hang?"),
        )
        self._on_stream_connected()

    def _stands(self, on_up: Callback) -> None:
        self._stop_watching()
        self._listen()
        on_up()

    def _listen(self) -> None:
        # pika looks after 35 seconds, and after 35 more.
        if not self.params.heartbeat:
            return  # the broker wants none
        left = self._heard + 2 * self.params.heartbeat - self._loop.clock()
        if left > 0:
            self._watch = self._loop.call_later(left, self._listen)
        else:
            self._give_up(f"the broker was silent for {2 * self.params.heartbeat:g} s")

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._loop.cancel(self._watch)

    def _give_up(self, reason: str) -> None:
        if self._stream is not None:
            self._stream.close()
        self._on_stream_terminated(pika.exceptions.StreamLostError(reason))

    def _take(self, data: bytes) -> None:
        self._heard = self._loop.clock()
        try:
            self._on_data_available(data)
        except (pika.exceptions.AMQPError, AssertionError, ValueError, KeyError, TypeError, *MALFORMED) as e:
            # What pika cannot read ends the connection, not the relay.
            self._give_up(f"bad data: {e!r}")

    def _on_data_available(self, data_in: bytes) -> None:
        if not self.is_open:
            super()._on_data_available(data_in)
            return
        self.bytes_received += len(data_in)  # pika concludes from it that the broker lives
        data: bytes = self._frame_buffer + data_in
        self._frame_buffer = b""
        taken = read(data, decode_table, self._deliver, super()._on_data_available)
        self._frame_buffer = data[taken:]

    def _deliver(self, number: int, arrival: Arrival) -> None:
        channel = self._channels.get(number)
        if channel is not None:
            channel.on_arrival(arrival)

    def _end(self, error: BaseException) -> None:
        self._stop_watching()
        text = getattr(error, "reply_text", "") or str(error.args[0] if error.args else error)
        user, vhost = self.params.credentials.username, self.params.virtual_host
        tls = bool(self.params.ssl_options)
        self._on_down(reason_of(type(error).__name__, text, user=user, vhost=vhost, tls=tls))

    # -- What pika asks of an adapter

    def _create_channel(self, channel_number: int, on_open_callback: Any) -> Channel:
        return Channel(self, channel_number, on_open_callback)

    def _adapter_connect_stream(self) -> None:
        raise NotImplementedError("the constructor connects")

    def _adapter_disconnect_stream(self) -> None:
        if self._stream is not None:
            self._stream.flush()
            self._stream.close()
        self._loop.call_soon(partial(self._on_stream_terminated, None))

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.write(data)

    def _adapter_call_later(self, delay: float, callback: Callback) -> Timer:
        return self._loop.call_later(delay, callback)

    def _adapter_remove_timeout(self, timeout_id: Timer) -> None:
        self._loop.cancel(timeout_id)

    def _adapter_add_callback_threadsafe(self, callback: Callback) -> None:
        self._loop.call_soon(callback)


def _problem(reason: BaseException) -> Problem:
    if isinstance(reason, pika.exceptions.ChannelClosed):
        return int(reason.reply_code), str(reason.reply_text)
    return 0, str(reason)
