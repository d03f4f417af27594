"""What AMQP carries most, against pika's own frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties, frame, spec
from pika.data import decode_table

from zocalo_daemon.brokers import rabbitmq_wire as wire
from zocalo_daemon.brokers.rabbitmq_parameters import properties_of_arrival

HEADERS = {"workflows-recipe": "True", "x-death": [{"queue": "in", "count": 1}]}


def delivery(body=b"text", channel=1, properties=None, piece=8) -> bytes:
    """The frames of a delivery, as pika would write them."""
    method = spec.Basic.Deliver("1.7", 42, True, "metrics", "in.ü")
    frames = [
        frame.Method(channel, method),
        frame.Header(channel, len(body), properties or BasicProperties()),
    ]
    frames += [frame.Body(channel, body[at : at + piece]) for at in range(0, len(body), piece)]
    return b"".join(one.marshal() for one in frames)


def confirm(channel=1) -> bytes:
    return bytes(frame.Method(channel, spec.Basic.Ack(7)).marshal())


class Reader:
    """Feeds `read`, and keeps what it passes on."""

    def __init__(self) -> None:
        self.seen: list = []
        self.rest = b""

    def feed(self, data: bytes) -> None:
        data = self.rest + data
        taken = wire.read(data, decode_table, lambda *both: self.seen.append(both), self.seen.append)
        self.rest = data[taken:]


@given(st.lists(st.integers(1, 200), max_size=8))
def test_any_chunking_gives_the_same(sizes):
    stream = (
        delivery()
        + confirm()
        + delivery(b"", 2)
        + delivery(b"x" * 30, 1)
        + bytes(frame.Heartbeat().marshal())
    )
    reader = Reader()
    for size in [*sizes, len(stream)]:
        piece, stream = stream[:size], stream[size:]
        reader.feed(piece)
    arrivals = [one[1].body if isinstance(one, tuple) else one[:1] for one in reader.seen]
    assert arrivals == [b"text", b"\x01", b"", b"x" * 30, b"\x08"]
    assert not reader.rest


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"headers": {}},
        {"headers": HEADERS},
        {"content_type": "a/b", "content_encoding": "gzip", "headers": HEADERS, "delivery_mode": 2},
        {"headers": HEADERS, "priority": 4, "expiration": "100", "message_id": "one", "timestamp": 1},
    ],
)
def test_a_delivery_is_what_pika_makes_of_it(properties):
    reader = Reader()
    reader.feed(delivery(properties=BasicProperties(**properties)))
    others = {key: value for key, value in properties.items() if key not in ("headers", "delivery_mode")}
    encoded = b"".join(BasicProperties(**properties).encode()) if others else None
    expected = wire.Arrival(42, True, "metrics", "in.ü", properties.get("headers", {}), b"text", encoded)
    assert reader.seen == [(1, expected)]
    kept = {key: value for key, value in others.items() if key != "expiration"}
    assert properties_of_arrival(reader.seen[0][1].properties) == kept


def test_properties_that_pika_has_read_are_kept_too():
    read = BasicProperties(headers=HEADERS, priority=4, delivery_mode=1)
    method = spec.Basic.Deliver("1.7", 42, True, "metrics", "in")
    found = properties_of_arrival(wire.Arrival.of(method, read, b"text").properties)
    assert found == {"priority": 4, "delivery_mode": 1}


def test_frames_that_are_not_together_are_left_to_pika():
    method = frame.Method(1, spec.Basic.Deliver("1.7", 42, False, "", "in")).marshal()
    header = frame.Header(1, 4, BasicProperties()).marshal()
    body = frame.Body(1, b"text").marshal()
    for frames in ([method, confirm(2), header, body], [method, header, confirm(2), body]):
        reader = Reader()
        reader.feed(b"".join(frames))
        assert reader.seen == frames


def test_a_large_message_is_left_to_pika_as_its_frames_come():
    whole = delivery(bytes(1024 * 1024), piece=128 * 1024)
    reader = Reader()
    reader.feed(whole[: 300 * 1024])
    assert len(reader.seen) == 4  # method, header, two of the body
    assert b"".join(reader.seen) + reader.rest == whole[: 300 * 1024]


def test_a_protocol_header_is_left_to_pika():
    reader = Reader()
    reader.feed(b"AMQP\x00\x00\x09\x01")
    assert reader.seen == [b"AMQP\x00\x00\x09\x01"]


@pytest.mark.parametrize("body", [b"", b"text", b"x" * 198, b"x" * 199])
@pytest.mark.parametrize("mandatory", [True, False])
def test_a_message_is_written_as_pika_reads_it(body, mandatory):
    properties = BasicProperties(headers=HEADERS, delivery_mode=2)
    encoded = b"".join(properties.encode())
    data = wire.message(3, "metrics", "in.ü", encoded, body, mandatory=mandatory, limit=99)
    frames = []
    while data:
        size, made = frame.decode_frame(data)
        frames.append(made)
        data = data[size:]
    method, header, *bodies = frames
    assert {one.channel_number for one in frames} == {3}
    assert vars(method.method) == vars(spec.Basic.Publish(0, "metrics", "in.ü", mandatory, False))
    assert (header.body_size, header.properties) == (len(body), properties)
    assert b"".join(one.fragment for one in bodies) == body
    assert all(len(one.fragment) <= 99 for one in bodies)


@pytest.mark.parametrize("name", ["x" * 256, "\udcff"])
def test_a_name_that_amqp_cannot_carry_is_refused(name):
    with pytest.raises(ValueError):
        wire.message(1, "", name, b"\x00\x00", b"", mandatory=True, limit=99)


def test_headers_that_no_frame_can_carry_are_refused():
    encoded = b"".join(BasicProperties(headers={"long": "x" * 100}).encode())
    with pytest.raises(ValueError, match="is the limit"):
        wire.message(1, "", "in", encoded, b"", mandatory=True, limit=99)
