"""The relay against transports that misbehave, and its link to the supervisor."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgpack
import psutil
import pytest

from tests.relaykit import RelayProcess
from tests.waiting import wait_until
from zocalo_daemon.protocol import framing
from zocalo_daemon.protocol import worker as protocol

HELLO = [protocol.HELLO, protocol.VERSION, "raw/0", 1, "client", ""]
MESSAGE = [protocol.QUEUE, "q", {}, b"x", {}]


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    relay = RelayProcess(Path(tmp_path_factory.mktemp("relay")), "memory")
    yield relay
    relay.close()


class Raw:
    """A transport made by hand."""

    def __init__(self, relay: RelayProcess, hello: bool = True) -> None:
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.line.settimeout(20)
        self.line.connect(str(relay.path))
        self.unpacker = protocol.decoder()
        self.frames: list[list] = []
        if hello:
            # Of its own: the broker drops what a client of that name has sent before.
            self.send([*HELLO[:4], uuid.uuid4().hex, ""])
            assert self.read()[0] == protocol.WELCOME

    def send(self, *frames: list) -> None:
        self.line.sendall(b"".join(map(protocol.encode, frames)))

    def read(self) -> list:
        while not self.frames:
            data = self.line.recv(1 << 20)
            assert data, "closed"
            self.frames += protocol.frames(self.unpacker, data)
        return self.frames.pop(0)

    def is_closed(self) -> bool:
        try:
            while self.line.recv(1 << 20):
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self) -> None:
        self.line.close()


def works(relay: RelayProcess) -> bool:
    raw = Raw(relay)
    raw.send([protocol.SEND, 1, True, MESSAGE])
    answer = raw.read()
    raw.close()
    return answer == [protocol.CONFIRMED, 1]


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1\xc1\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
        protocol.encode([99]),
        protocol.encode([protocol.SEND, 1, True, MESSAGE]),  # before the hello
        protocol.encode(HELLO) + protocol.encode(HELLO),
        protocol.encode(HELLO) + protocol.encode([protocol.ACK, 1]),
        protocol.encode(HELLO) + protocol.encode([protocol.ACK, [], {}, None]),
        protocol.encode(HELLO) + protocol.encode([protocol.SUBSCRIBE, 1, 1, 9, "q", {}]),
        protocol.encode(HELLO) + protocol.encode([protocol.SEND, 1, False, [0, "q", {}, "text", {}]]),
        protocol.encode(HELLO) + protocol.encode([protocol.SEND, 1, False, [2, "q", {}, b"", {}]]),
        protocol.encode(HELLO) + protocol.encode([protocol.COMMIT, 1, True, [1], []]),
        # An array whose header promises more than the limit
        protocol.encode(HELLO) + b"\x92\x04\xc6\xff\xff\xff\xff" + b"x" * 100,
    ],
)
def test_a_bad_frame_closes_that_connection_with_one_line(relay, data):
    good = Raw(relay)
    bad = Raw(relay, hello=False)
    relay.reports.clear()
    bad.line.sendall(data)
    if data[-100:] == b"x" * 100:  # the relay must not collect what it promises
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(200):
                bad.line.sendall(bytes(1 << 20))
    assert bad.is_closed()
    good.send([protocol.SEND, 5, True, MESSAGE])
    assert good.read() == [protocol.CONFIRMED, 5]
    relay.request("queues")
    lines = [r for r in relay.reports if r["report"] == "log"]
    assert len(lines) == 1 and "closed" in lines[0]["message"]
    assert lines[0]["level"] == logging.ERROR
    good.close()


def test_another_version_is_refused_with_a_reason(relay):
    raw = Raw(relay, hello=False)
    raw.send([protocol.HELLO, 99, "", 1, "c", ""])
    answer = raw.read()
    assert answer[:3] == [protocol.FAILED, 0, "refused"] and "restart the worker" in answer[3]
    assert raw.is_closed()


def test_a_late_settlement_is_dropped_and_logged(relay):
    raw = Raw(relay)
    relay.reports.clear()
    raw.send([protocol.ACK, 1, 12345, False], [protocol.FLUSH, 1])
    assert raw.read() == [protocol.DONE, 1, None]
    relay.request("queues")
    assert any("does not hold" in r.get("message", "") for r in relay.reports)
    raw.close()


def test_a_delivery_that_is_named_twice_is_settled_once(relay):
    raw = Raw(relay)
    options = {"ack": True, "prefetch": 10}
    raw.send([protocol.SUBSCRIBE, 1, 1, protocol.QUEUE, "twice", options])
    assert raw.read() == [protocol.DONE, 1, "twice"]
    for number in (2, 3):
        raw.send([protocol.SEND, number, False, [protocol.QUEUE, "twice", {}, b"", {}]])
    first, second = raw.read()[2], raw.read()[2]
    raw.send([protocol.COMMIT, 4, False, [], [[protocol.ACK, 1, first, False, None]] * 2])
    wait_until(lambda: relay.queue("twice")["unsettled"] == 1, "the settlement")
    raw.send([protocol.UNSUBSCRIBE, 5, 1], [protocol.RELEASED, 1, [second, second]])
    wait_until(lambda: relay.queue("twice")["unsettled"] == 0, "the release")
    assert relay.queue("twice")["ready"] == 1
    raw.close()
    assert works(relay)


def test_a_transaction_with_a_late_delivery_does_not_happen_and_leaves_nothing_behind(relay):
    raw = Raw(relay)
    raw.send([protocol.SUBSCRIBE, 1, 1, protocol.QUEUE, "undo", {"ack": True, "prefetch": 1}])
    raw.send([protocol.SEND, 2, False, [protocol.QUEUE, "undo", {}, b"", {}]])
    raw.read()
    held = raw.read()[2]
    settlements = [[protocol.ACK, 1, one, False, None] for one in (held, held + 1000)]
    raw.send([protocol.COMMIT, 3, False, [[protocol.QUEUE, "undone", {}, b"", {}]], settlements])
    again = raw.read()
    assert again[0] == protocol.DELIVER and again[3] is True
    assert relay.queue("undone")["ready"] == 0
    raw.close()


def test_a_worker_that_does_not_read_gets_no_more_and_harms_nobody(relay):
    raw = Raw(relay)
    raw.send([protocol.SUBSCRIBE, 1, 1, protocol.QUEUE, "large", {"ack": True, "prefetch": 65535}])
    raw.send([protocol.SUBSCRIBE, 2, 2, protocol.TOPIC, "news", {}])
    assert raw.read()[0] == protocol.DONE and raw.read()[0] == protocol.DONE
    sender = Raw(relay)
    body = bytes(100_000)
    for number in range(300):
        sender.send(
            [protocol.SEND, 2 * number, True, [protocol.QUEUE, "large", {}, body, {}]],
            [protocol.SEND, 2 * number + 1, True, [protocol.TOPIC, "news", {}, body, {}]],
        )
        sender.read(), sender.read()
    figures = relay.queue("large")
    assert figures["unsettled"] < 60 and figures["ready"] > 240
    assert psutil.Process(relay.pid).memory_info().rss < 200e6
    assert works(relay)
    raw.close()
    wait_until(lambda: relay.queue("large")["ready"] == 300, "everything back")
    sender.close()


def test_a_worker_that_reads_again_gets_the_rest(relay):
    raw = Raw(relay)
    raw.send([protocol.SUBSCRIBE, 1, 1, protocol.QUEUE, "later", {"ack": True, "prefetch": 65535}])
    assert raw.read()[0] == protocol.DONE
    sender = Raw(relay)
    for number in range(100):
        sender.send([protocol.SEND, number, True, [protocol.QUEUE, "later", {}, bytes(100_000), {}]])
        sender.read()
    received = [raw.read()[2] for _ in range(100)]
    raw.send(*[[protocol.ACK, 1, one, False] for one in received], [protocol.FLUSH, 2])
    assert raw.read() == [protocol.DONE, 2, None]
    assert relay.queue("later")["ready"] == 0
    raw.close()
    sender.close()


def test_an_idle_relay_does_not_wake_up(relay):
    raws = [Raw(relay) for _ in range(5)]
    for raw in raws:
        raw.send([protocol.SUBSCRIBE, 1, 1, protocol.QUEUE, "idle", {"ack": True}])
        raw.read()
    raws[0].send([protocol.SEND, 1, True, [protocol.QUEUE, "idle", {}, b"", {}]])
    time.sleep(1.2)  # the last figures
    process = psutil.Process(relay.pid)
    before = process.num_ctx_switches().voluntary
    time.sleep(1.0)
    assert process.num_ctx_switches().voluntary - before <= 1
    for raw in raws:
        raw.close()


def test_figures_are_reported_by_pid_and_seldom(relay):
    raw = Raw(relay)
    raw.send([protocol.SUBSCRIBE, 1, 1, protocol.QUEUE, "figures", {"ack": True, "prefetch": 2}])
    raw.send(*[[protocol.SEND, 2 + n, False, [protocol.QUEUE, "figures", {}, b"", {}]] for n in range(4)])
    frames = [raw.read() for _ in range(3)]
    raw.send([protocol.ACK, 1, frames[1][2], False])
    relay.request("queues")  # reads the reports that wait
    relay.reports.clear()
    begin = time.monotonic()

    def figures() -> list[dict]:
        return [r for r in relay.reports if r["report"] == "figures"]

    mine = str(os.getpid())
    wanted = {"worker": "raw/0", "processed": 1, "in_flight": 2, "subscriptions": 1}

    def told() -> bool:
        own = figures()[-1]["workers"].get(mine) if figures() else None
        return own is not None and own["turns"] > 0 and {**own, "turns": 0} == {**wanted, "turns": 0}

    relay.read_until(told)
    # What the connections of other tests held goes back a little after they were closed.
    relay.read_until(lambda: figures()[-1]["transports"][0]["unsettled"] == 2)
    transport = figures()[-1]["transports"][0]
    assert transport["name"] == "default" and transport["driver"] == "memory"
    assert transport["state"] == "connected"
    assert len(figures()) <= 2 + (time.monotonic() - begin) / 0.5
    raw.close()


def test_a_forfeited_worker_gives_everything_back(relay):
    raw = Raw(relay)
    raw.send([protocol.SUBSCRIBE, 1, 1, protocol.QUEUE, "forfeit", {"ack": True, "prefetch": 5}])
    raw.send([protocol.SEND, 2, False, [protocol.QUEUE, "forfeit", {}, b"", {}]])
    raw.read(), raw.read()
    assert relay.request("forfeit", pid=os.getpid())["ok"]["held"] >= 1  # other tests have this pid, too
    assert relay.queue("forfeit")["ready"] == 1
    assert raw.is_closed()


def test_what_a_dead_worker_had_written_counts_before_its_deliveries_go_back(relay):
    raw = Raw(relay)
    raw.send([protocol.SUBSCRIBE, 1, 1, protocol.QUEUE, "last words", {"ack": True, "prefetch": 5}])
    raw.send(*[[protocol.SEND, 2 + n, False, [protocol.QUEUE, "last words", {}, b"", {}]] for n in range(2)])
    first = [raw.read() for _ in range(3)][1][2]
    os.kill(relay.pid, signal.SIGSTOP)
    # The news of its death comes first, and what it had written waits in its socket.
    relay.link.sendall(framing.encode({"id": 999, "op": "forfeit", "args": {"pid": os.getpid()}}))
    raw.send([protocol.SEND, 9, False, [protocol.QUEUE, "its last", {}, b"", {}]])
    raw.send([protocol.ACK, 1, first, False])
    os.kill(relay.pid, signal.SIGCONT)
    assert raw.is_closed()
    assert relay.queue("its last")["ready"] == 1
    assert relay.queue("last words")["ready"] == 1


# -- The link


def test_publishing_over_the_link(relay):
    assert (
        relay.request("publish", kind="queue", destination="link", body=b"1", headers={"a": 1})["ok"] is None
    )
    assert relay.queue("link")["ready"] == 1
    assert relay.request("publish", kind="topic", destination="t", body=b"1", expiration=1)["ok"] is None


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("publish", {}),
        ("publish", {"kind": "temporary", "destination": "q", "body": b""}),
        ("publish", {"kind": "queue", "destination": "", "body": b""}),
        ("publish", {"kind": "queue", "destination": "q", "body": "text"}),
        ("publish", {"kind": "queue", "destination": "q", "body": b"", "headers": []}),
        ("publish", {"kind": "queue", "destination": "q", "body": b"", "delay": "soon"}),
        ("publish", {"kind": "queue", "destination": "q", "body": b"", "transport": "none"}),
        ("queues", {"transport": "none"}),
        ("dlq.list", {"queues": "x"}),
        ("dlq.list", {"limit": "many"}),
        ("dlq.purge", {"ids": ["1"]}),
        ("dlq.reinject", {"destination": 5}),
        ("forfeit", {}),
        ("forfeit", {"pid": "1"}),
        ("forfeit", {"pid": 1, "crash": "2"}),
        ("nonsense", {}),
    ],
)
def test_wrong_requests_get_an_error(relay, op, args):
    error = relay.request(op, **args)["error"]
    assert error["code"] == "usage" and error["message"]
    assert works(relay)


def test_dead_letters_over_the_link(relay):
    raw = Raw(relay)
    raw.send([protocol.SUBSCRIBE, 1, 1, protocol.QUEUE, "poor", {"ack": True, "prefetch": 5}])
    odd = {"own": 1, "map": {1: "a"}, "time": msgpack.Timestamp(1)}
    for number in range(3):
        raw.send([protocol.SEND, 2 + number, False, [protocol.QUEUE, "poor", odd, b"x", {}]])
    raw.read()
    for frame in [raw.read() for _ in range(3)]:
        raw.send([protocol.NACK, 1, frame[2], False, None])
    wait_until(lambda: relay.queue("dlq.poor")["ready"] == 3, "the dead letters")
    letters = relay.request("dlq.list", queues=["po*"], limit=2)["ok"]
    assert len(letters) == 2
    assert letters[0]["queue"] == "dlq.poor" and letters[0]["origin"] == "poor"
    assert letters[0]["body"] == b"x" and letters[0]["headers"]["own"] == 1
    assert letters[0]["headers"]["map"] == {"1": "a"}
    after = relay.request("dlq.list", queues=["dlq.poor"], after=letters[1]["id"])["ok"]
    assert len(after) == 1
    assert relay.request("dlq.purge", queues=["poor"], ids=[letters[0]["id"]])["ok"] == {"count": 1}
    moved = relay.request("dlq.reinject", queues=["poor"], ids=[letters[1]["id"]], destination="elsewhere")
    assert moved["ok"] == {"count": 1} and relay.queue("elsewhere")["ready"] == 1
    raw.close()
    assert relay.request("dlq.reinject", queues=["poor"])["ok"] == {"count": 1}
    assert relay.queue("dlq.poor")["ready"] == 0


def test_many_requests_at_once(relay):
    for _ in range(50):
        assert relay.request("queues")["ok"]


def test_a_driver_that_is_not_there_is_one_line(tmp_path, capfd):
    with pytest.raises(AssertionError, match="closed its link"):
        RelayProcess(tmp_path, "nonsense")
    assert capfd.readouterr().err == (
        "transport 'default': driver nonsense is not available in this version\n"
    )


def test_log_lines_go_to_stderr_without_a_link(tmp_path, capfd):
    relay = RelayProcess(tmp_path, "memory")
    process = psutil.Process(relay.pid)
    assert "zocalod: relay" in process.cmdline()[0]
    relay.close()
    assert capfd.readouterr().err == ""
