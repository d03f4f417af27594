"""Metrics and health by HTTP, of real workers: rows "metrics" and "zocalo.service" of the compatibility."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket

import psutil

from tests.ports import free_port
from tests.waiting import wait_until

FORWARDER = {"class": "trial:Forwarder", "environment": {"source": "in", "target": "out"}}
COPIER = {"class": "trial:TransactionForwarder", "environment": {"source": "out", "target": "end"}}


def get(port, path, method="GET"):
    """Return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def value(port, name, **labels):
    """Return the value of one sample."""
    for line in get(port, "/metrics")[1].splitlines():
        found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if found and all(f'{key}="{one}"' in (found[1] or "") for key, one in labels.items()):
            return float(found[2])
    return None


def test_counts_are_exact_and_outlive_workers_and_relay_and_code(daemon):
    port = free_port()
    d = daemon({"f": FORWARDER, "t": COPIER}, metrics={"listen": f"127.0.0.1:{port}"}).start()
    for number in range(5):
        d.ctl("send", "in", str(number))
    wait_until(lambda: value(port, "workflows_transport_transaction_commit_total", service="t") == 5)
    mine = {"source": "trial:Forwarder", "service": "f"}

    def counts():
        return [
            value(port, f"workflows_{name}", **mine)
            for name in (
                *("transport_send_total", "transport_ack_total", "transport_nack_total"),
                *("transport_subscriptions_total", "transport_active_subscriptions"),
                "callback_processing_time_seconds_count",
            )
        ]

    wait_until(lambda: counts() == [5, 5, 0, 1, 1, 5], "the counts of a forwarder")
    assert value(port, "workflows_transport_transactions_in_progress", service="t") == 0
    assert value(port, "workflows_callback_processing_time_seconds_sum", **mine) > 0
    assert value(port, "zocalod_transport_connected", transport="embedded") == 1
    pid = d.kill("f/0")
    wait_until(lambda: d.instance("f/0")["pid"] not in (None, pid) and d.wait_state("f/0", "ready"))
    wait_until(lambda: counts() == [5, 5, 0, 2, 1, 5], "the same, and one more subscription")
    assert value(port, "zocalod_workers_ended_total", service="f") == 1
    d.ctl("reexec")
    wait_until(lambda: answers(port), "the port, after the new code has taken over")
    assert counts() == [5, 5, 0, 2, 1, 5]


def answers(port):
    try:
        return get(port, "/metrics")[0] == 200
    except OSError:
        return False


def test_health_is_progress_and_a_stopped_service_is_answered_for(daemon, tmp_path):
    port = free_port()
    slow = {"class": "trial:Slow", "environment": {"directory": str(tmp_path)}, "hang_timeout": "1h"}
    d = daemon({"f": FORWARDER, "slow": slow}, metrics={"listen": f"127.0.0.1:{port}"}).start()
    assert get(port, "/healthz")[0] == 200
    d.ctl("send", "slow", "60")
    wait_until((tmp_path / "started").exists)
    assert get(port, "/healthz/slow/0")[0] == 200, "busy, and not for too long"
    pid = d.instance("slow/0")["pid"]
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: get(port, "/healthz/slow/0")[0] == 503, "a worker that is stopped")
    assert get(port, "/healthz")[0] == 503
    assert "SIGSTOP" in json.loads(get(port, "/healthz")[1])["instances"]["slow/0"]["reason"]
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: get(port, "/healthz")[0] == 200, "it goes on")
    d.ctl("stop", "f")
    assert get(port, "/healthz/f")[0] == 503
    assert get(port, "/healthz")[0] == 200, "somebody wanted that"
    assert get(port, "/healthz/none")[0] == get(port, "/other")[0] == 404
    assert get(port, "/healthz", "HEAD") == (200, "")
    assert get(port, "/healthz", "POST")[0] == 405
    before = sum(psutil.Process(d.process.pid).cpu_times()[:2])
    for _ in range(20):
        get(port, "/healthz/f")
    assert sum(psutil.Process(d.process.pid).cpu_times()[:2]) - before < 1.0


def test_slow_greedy_and_broken_clients_harm_nobody(daemon):
    port = free_port()
    d = daemon({"f": FORWARDER}, metrics={"listen": f"127.0.0.1:{port}"}).start()
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    assert get(port, "/metrics")[0] == 200, "who says nothing has to go when others come"
    deaf = socket.create_connection(("127.0.0.1", port))
    deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    assert d.ctl("status").returncode == 0
    for request, status in (
        (b"GET /" + b"x" * 20_000, b"431"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
        (b"DELETE / HTTP/1.1\r\n\r\n", b"405"),
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as rude:
            rude.sendall(request)
            assert rude.recv(4096).split()[1] == status
    with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
        for letter in b"GET /healthz HTTP/1.1\r\n\r\n":
            slow.sendall(bytes([letter]))
        assert slow.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
    for one in (*silent, deaf):
        one.close()
    assert get(port, "/healthz")[0] == 200


def test_a_reload_moves_the_port_and_one_that_is_taken_is_tried_again(daemon):
    first, second = free_port(), free_port()
    d = daemon({"f": FORWARDER}, metrics={"listen": f"127.0.0.1:{first}"}).start()
    taken = socket.create_server(("127.0.0.1", second))
    d.configure({"f": FORWARDER}, metrics={"listen": f"127.0.0.1:{second}"})
    assert "metrics.listen" in d.ctl("reload").stdout
    wait_until(lambda: "metrics.listen: 127.0.0.1" in d.stderr(), "a line about the port")
    assert not answers(first)
    found = doctor(d)
    assert any(f["what"] == "metrics" and f["level"] == "problem" for f in found), found
    taken.close()
    wait_until(lambda: answers(second), "the port, now that it is free")
    assert any(f["what"] == "metrics" and f["level"] == "ok" for f in doctor(d))


def doctor(d):
    done = d.ctl("--json", "doctor", "--config", str(d.config_file), check=False)
    return json.loads(done.stdout)["findings"]
