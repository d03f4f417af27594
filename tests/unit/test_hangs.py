"""Scripts: workers that make no progress, and workers that the kernel does not let run."""

from __future__ import annotations

from tests.rosterkit import KILLED, OK, Script, service, serving
from zocalo_daemon.supervision.events import Exit

ABORTED = Exit(-6)


def test_a_worker_that_hangs_is_ended_by_stages_and_replaced():
    script = serving(service())
    assert script.hung(1, "no progress for 600 s on the delivery in hand") == ["hung spot/0", "trace 1"]
    assert script.later(0.4) == []
    assert script.later(0.1) == ["abort 1"]
    assert script.later(1.9) == []
    assert script.later(0.1) == ["kill 1"]
    assert script.roster.next_deadline() is None
    assert script.exited(1, KILLED) == ["exited spot/0", "spawn 2"]
    said = "signal SIGKILL: killed, because it made no progress for 600 s on the delivery in hand"
    assert script.roster.slot("spot/0").last_exit == said
    assert script.texts["exited"] == f"{said}; another is started at once"


def test_a_hang_counts_like_a_crash():
    script = serving(service(limit=1))
    script.hung(1)
    script.later(0.5)
    script.exited(1, ABORTED)
    script.ready(2)
    script.hung(2)
    assert script.exited(2, OK) == ["exited spot/0", "failed spot/0"]


def test_hung_is_hung():
    script = serving(service())
    script.hung(1)
    assert script.hung(1) == []
    assert script.later(0.5) == ["abort 1"]
    assert script.hung(1) == []


def test_a_worker_that_hangs_in_its_start_is_not_ready_any_more():
    script = Script(service())
    script.forked(1)
    script.hung(1, "no progress for 600 s in initializing()")
    assert script.ready(1) == []
    assert script.state() == "starting"
    script.later(0.5)
    assert script.exited(1, ABORTED) == ["exited spot/0"]
    assert script.state() == "backoff"


def test_a_worker_that_hangs_in_its_end_is_not_waited_for():
    script = serving(service(stop_timeout=3600))
    script.down("spot/0")
    assert script.hung(1, "no progress for 600 s in in_shutdown()") == ["hung spot/0", "trace 1"]
    script.later(0.5)
    assert script.later(2) == ["kill 1"]
    assert script.exited(1, KILLED) == ["exited spot/0", "stopped spot/0"]
    assert "in_shutdown()" in script.roster.slot("spot/0").last_exit


def test_a_worker_that_was_killed_already_does_not_hang():
    script = serving(service(stop_timeout=5))
    script.down("spot/0")
    assert script.later(5) == ["kill 1"]
    assert script.hung(1) == []


def test_stop_of_a_worker_that_hangs_changes_nothing_of_its_end():
    script = serving(service(stop_timeout=3600))
    script.hung(1)
    assert script.down("spot/0") == []
    assert script.state() == "draining"
    assert script.later(0.5) == ["abort 1"]
    assert script.exited(1, ABORTED) == ["exited spot/0", "stopped spot/0"]


def test_a_replacement_that_hangs_leaves_the_old_worker():
    script = serving(service())
    script.renew("spot/0")
    script.forked(2)
    script.hung(2)
    assert script.ready(2) == []
    script.later(0.5)
    assert script.exited(2, ABORTED) == ["exited spot/0", "kept spot/0"]
    assert script.state() == "ready"


def test_a_replacement_that_hangs_is_ended_also_when_it_has_taken_over():
    script = serving(service())
    script.renew("spot/0")
    script.forked(2)
    script.hung(2)
    script.exited(1, KILLED)
    assert script.state() == "starting"
    assert script.later(0.5) == ["abort 2"]
    assert script.later(2) == ["kill 2"]


def test_a_former_worker_that_hangs_is_ended():
    script = serving(service())
    script.renew("spot/0")
    script.ready(2)
    assert script.hung(1) == ["hung spot/0", "trace 1"]
    assert script.later(0.5) == ["abort 1"]
    assert script.exited(1, ABORTED) == ["exited spot/0"]
    assert script.state() == "ready"


def test_a_worker_that_hangs_is_not_asked_to_finish():
    script = serving(service())
    script.hung(1)
    script.renew("spot/0")
    assert script.ready(2) == ["started spot/0", "ready spot/0"]
    assert script.later(0.5) == ["abort 1"]


def test_who_is_stopped_by_the_kernel_is_named_once():
    script = serving(service())
    assert script.stalled(1) == ["stalled spot/0"]
    assert script.stalled(1) == []
    assert script.texts["stalled"] == "stopped by SIGSTOP"
    assert script.state() == "ready"
    assert script.stalled(1, "") == ["resumed spot/0"]
    assert script.stalled(1, "") == []


def test_the_reason_says_what_is_so_just_now():
    script = serving(service())
    script.stalled(1)
    assert script.reason() == "stopped by SIGSTOP"
    script.stalled(1, "")
    assert script.reason() is None
    script.stalled(1)
    script.hung(1)
    assert script.reason() == "no progress for 600 s"
    script.exited(1, KILLED)
    assert script.reason() == "signal SIGKILL: killed, because it made no progress for 600 s"
