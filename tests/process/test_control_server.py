"""The control socket with real clients."""

import contextlib
import os
import resource
import socket
import struct
import time

import pytest

from tests.process.control_harness import DEADLINE, Client, Daemon
from tests.waiting import wait_until
from zocalo_daemon.control.connection import MAX_HELLO, MAX_OPEN
from zocalo_daemon.control.outbox import MAX_CHUNK_BYTES
from zocalo_daemon.control.server import peer_of
from zocalo_daemon.errors import NoSuchService
from zocalo_daemon.protocol import control
from zocalo_daemon.protocol.framing import MAX_FRAME, Decoder, encode


@pytest.fixture
def make(tmp_path):
    started = []

    def start(**options):
        started.append(Daemon(tmp_path / "sock", **options))
        return started[-1]

    yield start
    for daemon in started:
        daemon.stop()


@pytest.fixture
def connect(tmp_path):
    with contextlib.ExitStack() as stack:

        def new(greet=True):
            client = Client(tmp_path / "sock", greet)
            stack.callback(client.close)
            return client

        yield new


def echo(request):
    request.ok(request.args)


# -- who is there


def test_hello_names_version_and_role(make, connect):
    make(role="view")
    assert connect().hello == {"versions": [1, 1], "daemon": "9.9", "role": "view"}


def test_role_is_asked_with_the_credentials_of_the_kernel(make, connect):
    daemon = make()
    connect()
    uid, gid, pid, groups = daemon.asked_about[0]
    assert (uid, gid, pid) == (os.getuid(), os.getgid(), os.getpid())
    assert sorted(groups) == sorted(os.getgroups())


def test_peer_command_is_printable():
    one, other = socket.socketpair()
    with one, other:
        assert peer_of(one).command.isprintable()


def test_hello_and_request_may_come_together(make, connect):
    make(handler=echo)
    client = connect(greet=False)
    client.send(control.client_hello("test"), control.request(1, "status", {"services": []}))
    assert "hello" in client.receive()
    assert client.receive() == {"id": 1, "ok": {"services": []}}


def test_no_common_version(make, connect):
    make()
    client = connect(greet=False)
    client.send({"hello": {"versions": [7, 9], "client": "future"}})
    assert "7 to 9" in client.receive()["error"]["message"]
    assert client.closed()


def test_request_before_hello_is_refused(make, connect):
    daemon = make(handler=echo)
    client = connect(greet=False)
    client.ask(1, "status")
    assert client.receive()["error"]["code"] == "protocol"
    assert client.closed()
    assert daemon.requests == []


def test_hello_that_never_ends_is_refused(make, connect):
    make()
    client = connect(greet=False)
    client.sock.sendall(struct.pack(">I", MAX_FRAME) + bytes(MAX_HELLO))
    assert "no hello" in client.receive()["error"]["message"]
    assert client.closed()


# -- requests


def test_answers_may_come_late_and_in_any_order(make, connect):
    daemon = make()
    client = connect()
    client.ask(1, "start", targets=["a"])
    client.ask(2, "status")
    wait_until(lambda: len(daemon.requests) == 2)
    daemon.do(lambda: daemon.requests[1].ok("second"))
    daemon.do(lambda: daemon.requests[0].error(NoSuchService("no service a")))
    assert client.receive() == {"id": 2, "ok": "second"}
    error = client.receive()
    assert error["id"] == 1
    assert error["error"]["code"] == "no-such-service"


def test_only_the_first_answer_counts(make, connect):
    def twice(request):
        request.ok(1)
        request.ok(2)
        request.chunk(3)

    make(handler=twice)
    client = connect()
    client.ask(1, "status")
    client.ask(2, "status")
    assert [client.receive() for _ in range(2)] == [{"id": 1, "ok": 1}, {"id": 2, "ok": 1}]


def test_unknown_operation_is_a_usage_error_and_the_connection_lives(make, connect):
    make(handler=echo)
    client = connect()
    client.ask(1, "explode")
    assert client.receive()["error"]["code"] == "usage"
    client.ask(2, "status")
    assert client.receive() == {"id": 2, "ok": {}}


@pytest.mark.parametrize("role", control.ROLES)
def test_every_operation_needs_its_role(make, connect, role):
    daemon = make(role=role, handler=echo)
    client = connect()
    for number, (op, needed) in enumerate(control.OPERATIONS.items(), 1):
        client.ask(number, op)
        answer = client.receive()
        if control.ROLES.index(role) >= control.ROLES.index(needed):
            assert "ok" in answer, op
        else:
            assert answer["error"]["code"] == "not-permitted", op
    assert all(
        control.ROLES.index(control.OPERATIONS[request.op]) <= control.ROLES.index(role)
        for request in daemon.requests
    )


def test_changes_are_logged_with_who_and_without_bodies(make, connect):
    daemon = make(handler=echo)
    client = connect()
    client.ask(1, "send", queue="q", body=b"secret-1", headers={"token": "secret-2"})
    client.receive()
    client.ask(2, "status")
    client.receive()
    (line,) = daemon.lines
    assert f"uid {os.getuid()}, pid {os.getpid()}" in line
    assert "send" in line
    assert "'q'" in line
    assert "secret" not in line


def test_a_defect_of_the_handler_is_an_answer_and_a_log_line(make, connect):
    def broken(request):
        raise KeyError("oops")

    daemon = make(handler=broken)
    client = connect()
    client.ask(1, "status")
    assert client.receive()["error"]["code"] == "failed"
    assert "oops" in daemon.lines[0]


def test_an_answer_that_is_too_large_becomes_an_error(make, connect):
    make(handler=lambda request: request.ok(bytes(MAX_FRAME)))
    client = connect()
    client.ask(1, "status")
    assert "over the limit" in client.receive()["error"]["message"]


def test_too_many_open_requests(make, connect):
    make()
    client = connect()
    for number in range(1, MAX_OPEN + 2):
        client.ask(number, "status")
    assert client.receive()["error"]["code"] == "unavailable"


@pytest.mark.parametrize(
    "frame",
    [
        {"id": 0, "op": "status"},
        {"id": True, "op": "status"},
        {"id": 2**63, "op": "status"},
        {"id": "1", "op": "status"},
        {"op": "status"},
        {"id": 1, "op": 5},
        {"id": 1, "op": "status", "args": []},
        {},
    ],
)
def test_malformed_request_closes_that_connection_only(make, connect, frame):
    make(handler=echo)
    bad, good = connect(), connect()
    bad.send(frame)
    assert bad.receive()["error"]["code"] == "protocol"
    assert bad.closed()
    good.ask(1, "status")
    assert good.receive() == {"id": 1, "ok": {}}


@pytest.mark.parametrize(
    "data", [b"\xff" * 8, struct.pack(">I", 3) + b"\xc1\xc1\xc1", b"GET / HTTP/1.1\r\n\r\n"]
)
def test_garbage_closes_that_connection_after_an_error(make, connect, data):
    make()
    client = connect()
    client.sock.sendall(data)
    assert client.receive()["error"]["code"] == "protocol"
    assert client.closed()


def test_reusing_the_id_of_an_open_request_is_malformed(make, connect):
    make()
    client = connect()
    client.ask(1, "status")
    client.ask(1, "status")
    assert client.receive()["error"]["code"] == "protocol"


# -- followers


def test_cancel_ends_a_follower(make, connect):
    closed = []

    def follow(request):
        request.closed = lambda: closed.append(request.number)
        request.chunk("first")

    make(handler=follow)
    client = connect()
    client.ask(7, "logs", follow=True)
    assert client.receive() == {"id": 7, "chunk": "first"}
    client.send(control.cancel(7), control.cancel(8), {"cancel": []})
    assert client.receive() == {"id": 7, "ok": None}
    assert closed == [7]


def test_a_client_that_goes_away_closes_what_it_asked(make, connect):
    closed = []

    def wait(request):
        request.closed = lambda: closed.append(request.op)

    daemon = make(handler=wait)
    client = connect()
    client.ask(1, "start")
    client.ask(2, "logs")
    wait_until(lambda: len(daemon.requests) == 2)
    client.close()
    wait_until(lambda: sorted(closed) == ["logs", "start"])
    assert daemon.do(lambda: len(daemon.server)) == 0
    daemon.do(lambda: daemon.requests[0].ok("nobody hears this"))


def test_a_client_that_goes_away_has_its_pieces_forgotten(make, connect):
    def keep(request):
        request.pieces[:] = [["origin", 1], 5] if request.args else []
        request.ok()

    daemon = make(handler=keep)
    other, client = connect(), connect()
    client.ask(1, "piece", data=b"12345")
    client.receive()
    client.close()
    other.close()
    wait_until(lambda: daemon.do(lambda: len(daemon.server)) == 0)
    assert [(request.op, request.args) for request in daemon.requests] == [
        ("piece", {"data": b"12345"}),
        ("piece", {}),
    ]
    assert daemon.lines == []


def test_a_slow_follower_misses_items_and_is_told_when_it_reads(make, connect):
    daemon = make()
    client = connect()
    client.ask(1, "logs", follow=True)
    wait_until(lambda: daemon.requests)
    request = daemon.requests[0]
    sent = 20_000
    kept = sum(daemon.do(lambda: [request.chunk("x" * 200 + str(i)) for i in range(sent)]))
    assert 0 < kept < sent
    assert kept * 200 < 2 * MAX_CHUNK_BYTES
    daemon.do(lambda: request.ok(None))
    got, missed = 0, 0
    while "ok" not in (frame := client.receive()):
        got += "chunk" in frame
        missed += frame.get("missed", 0)
    assert (got, missed) == (kept, sent - kept)


def test_a_follower_that_reads_again_is_told_before_the_next_item(make, connect):
    daemon = make()
    client = connect()
    client.ask(1, "logs", follow=True)
    wait_until(lambda: daemon.requests)
    request = daemon.requests[0]
    daemon.do(lambda: [request.chunk("x" * 1000) for _ in range(5000)])
    while "missed" not in client.receive():
        pass
    assert daemon.do(lambda: request.chunk("next"))
    assert client.receive() == {"id": 1, "chunk": "next"}


def test_a_client_that_never_reads_blocks_nobody_and_is_bounded(make, connect):
    daemon = make(handler=lambda request: request.ok("x" * 100_000))
    deaf, other = connect(), connect()
    deaf.sock.setblocking(False)
    data = b"".join(encode(control.request(i, "status", {})) for i in range(1, 3000))
    with contextlib.suppress(BlockingIOError):
        deaf.sock.send(data)
    other.ask(1, "status")
    assert other.receive()["id"] == 1
    wait_until(lambda: len(daemon.requests) > 3)
    turns = daemon.do(lambda: daemon.turns)
    time.sleep(0.2)
    assert daemon.do(lambda: daemon.turns) - turns < 10, "the loop spins"
    assert len(daemon.requests) < 100, "requests of a client that does not read must wait"
    deaf.sock.settimeout(DEADLINE)
    got = [deaf.receive()["id"] for _ in range(500)]
    assert got == list(range(1, 501)), "and go on when it reads"


def test_answers_beyond_the_bound_close_the_connection(make, connect):
    daemon = make()
    client = connect()
    for number in range(1, 6):
        client.ask(number, "status")
    wait_until(lambda: len(daemon.requests) == 5)
    daemon.do(lambda: [request.ok("x" * 3_000_000) for request in list(daemon.requests)])
    assert daemon.do(lambda: len(daemon.server)) == 0


# -- crowds


def test_beyond_the_limit_a_client_is_told_and_closed(make, connect):
    make(max_clients=4, handler=echo)
    kept = [connect() for _ in range(4)]
    extra = connect(greet=False)
    assert extra.receive()["error"]["code"] == "unavailable"
    assert extra.closed()
    kept[0].close()
    wait_until(lambda: _served(connect))


def _served(connect):
    client = connect(greet=False)
    client.send(control.client_hello("t"))
    return "hello" in client.receive()


def test_clients_without_hello_make_room(make, connect):
    make(max_clients=4)
    idle = [connect(greet=False) for _ in range(4)]
    assert connect().hello
    assert idle[0].receive()["error"]["code"] == "unavailable"


def test_some_places_are_kept_for_admins(make, connect):
    daemon = make(max_clients=4, role="view")
    for _ in range(3):
        connect()
    assert connect(greet=False).receive()["error"]["code"] == "unavailable"
    daemon.role = "admin"
    assert connect().hello["role"] == "admin"


def test_no_descriptor_left_is_told_and_does_not_spin(make, connect):
    daemon = make(handler=echo)
    client = connect()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(DEADLINE)
    fillers = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (sock.fileno() + 8, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.open(os.devnull, os.O_RDONLY))
        turns = daemon.turns
        sock.connect(str(daemon.path))
        (frame,) = Decoder().feed(sock.recv(1000))
        assert "descriptor" in frame["error"]["message"]
        client.ask(1, "status")
        assert client.receive() == {"id": 1, "ok": {}}
        time.sleep(0.2)
        assert daemon.turns - turns < 20, "the loop spins"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers:
            os.close(fd)
        sock.close()
    assert connect().hello
