"""Idle timers under load: defect 16 of the peers, that they starve, is absent."""

from __future__ import annotations

import pytest

from zocalo_daemon.worker.idle import LEAST, IdleTimer


class Service:
    """What CommonService keeps of a timer, with a clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 100.0
        self.ran: list[float] = []
        self.timer = IdleTimer(self.register, lambda: self.time)
        self.handle = self.timer.between(lambda callback: callback)(lambda header, message: None)

    def register(self, idle_time, callback):
        self.idle_time, self.callback = idle_time, callback

    def tick(self):
        self.ran.append(self.time)

    def _shutdown(self):
        raise AssertionError("a busy service was ended")

    def busy(self, seconds, step=0.25):
        """Have a message every quarter of a second."""
        for _ in range(int(seconds / step)):
            self.time += step
            self.handle({}, None)


@pytest.mark.parametrize(("idle_time", "ran"), [(0.01, [101.0, 102.0, 103.0]), (1.5, [101.5, 103.0])])
def test_a_timer_runs_between_messages_when_it_is_overdue(idle_time, ran):
    service = Service()
    service.timer.register(idle_time, service.tick)
    assert service.idle_time == idle_time
    service.busy(3.0)
    assert service.ran == ran


def test_what_ran_while_there_was_nothing_to_do_counts():
    service = Service()
    service.timer.register(1.0, service.tick)
    service.busy(0.75)
    service.callback()  # by the main loop
    service.busy(0.75)
    assert service.ran == [100.75]
    service.busy(LEAST)
    assert service.ran == [100.75, 101.75]


def test_the_last_one_that_was_registered_counts():
    service = Service()
    service.timer.register(1.0, lambda: pytest.fail("it was replaced"))
    service.timer.register(2.0, service.tick)
    service.busy(3.0)
    service.timer.register(None, None)
    service.busy(3.0)
    assert service.ran == [102.0]
    assert service.callback is None


def test_a_service_that_ends_when_it_is_idle_is_left_alone():
    service = Service()
    service.timer.register(1.0, service._shutdown)
    assert service.callback == service._shutdown
    service.busy(5.0)


def test_a_timer_that_fails_is_the_services_affair():
    service = Service()
    service.timer.register(0.5, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        service.busy(2.0)
