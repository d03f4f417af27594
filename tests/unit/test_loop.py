"""The loop of a driver: what is due, what is ready, and that its descriptor says so."""

from __future__ import annotations

import os
import select
import threading

import pytest

from zocalo_daemon.brokers.loop import READ, Loop


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def loop(clock):
    loop = Loop(clock)
    yield loop
    loop.close()


def is_readable(loop):
    return bool(select.select([loop], [], [], 0)[0])


def test_timers_in_their_order_unless_cancelled(loop, clock):
    calls = []
    loop.call_later(2, lambda: calls.append("two"))
    loop.call_later(1, lambda: calls.append("one"))
    gone = loop.call_later(0.5, lambda: calls.append("gone"))
    loop.cancel(gone)
    assert loop.timeout() == 1.0
    clock.now += 3
    loop.turn()
    assert calls == ["one", "two"] and loop.timeout() is None


def test_a_ready_descriptor_makes_the_loop_readable(loop):
    reader, writer = os.pipe()
    seen = []
    loop.add(reader, READ, lambda events: seen.append(os.read(reader, 10)))
    assert not is_readable(loop)
    os.write(writer, b"x")
    assert is_readable(loop)
    loop.turn()
    assert seen == [b"x"] and not is_readable(loop)
    loop.remove(reader)
    os.write(writer, b"y")
    assert not is_readable(loop)
    os.close(reader)
    os.close(writer)


def test_a_thread_wakes_the_loop(loop):
    calls = []
    thread = threading.Thread(target=lambda: loop.call_soon(lambda: calls.append(1)))
    thread.start()
    thread.join()
    assert is_readable(loop)
    loop.turn()
    assert calls == [1] and not is_readable(loop)
