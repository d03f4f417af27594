"""Why a worker has ended, in words."""

from __future__ import annotations

import pytest

from zocalo_daemon.supervision.causes import Death, Deed, explain
from zocalo_daemon.supervision.events import Exit
from zocalo_daemon.supervision.oom import Evidence

RAISED = {"error": "KeyError: 'x' (a.py:1 in f)", "kind": "KeyError"}


@pytest.mark.parametrize(
    ("code", "more", "word", "text"),
    [
        (1, RAISED, "exception", "KeyError: 'x' (a.py:1 in f)"),
        (1, {"error": "SystemExit: 3 (a.py:1 in f)", "kind": "SystemExit"}, "exit", "it called sys.exit"),
        (1, {"error": "KeyboardInterrupt", "kind": "KeyboardInterrupt"}, "interrupt", "SIGINT"),
        (3, {}, "exit", "os._exit(3)"),
        (75, {}, "cut-off", "closed its channel"),
        (0, {}, "exit", "os._exit(0)"),
        (-11, {"place": "a.py:1 in f"}, "fault", "segmentation fault at a.py:1 in f"),
        (-7, {}, "fault", "bus error"),
        (-6, {}, "fault", "aborted by itself"),
        (-24, {}, "limit", "processor time"),
        (-9, {}, "killed", "killed from outside"),
        (-9, {"oom": Evidence.CERTAIN}, "oom", "killed by the kernel for lack of memory"),
        (-9, {"oom": Evidence.CERTAIN, "memory": 2**30}, "oom", "memory: its limits.memory is 1GiB"),
        (-9, {"memory": 2**30}, "killed", "killed from outside"),
        (-9, {"oom": Evidence.PROBABLE}, "oom", "probably killed by the kernel"),
        (-15, {}, "signal", "from outside"),
        (-64, {}, "signal", "from outside"),
        # A worker that was to finish, and has not done so.
        (-11, {"deed": Deed.ASKED}, "fault", "segmentation fault"),
        (1, {"deed": Deed.ASKED, **RAISED}, "exception", "KeyError"),
        (-9, {"deed": Deed.ASKED}, "killed", "killed from outside"),
    ],
)
def test_a_crash(code, more, word, text):
    cause = explain(Death(Exit(code), **more))
    assert cause.word == word
    assert text in cause.text
    assert cause.crash and cause.blamed


@pytest.mark.parametrize(
    ("deed", "word", "blamed"),
    [
        (Deed.HANG, "hang", True),
        (Deed.START_TIMEOUT, "start-timeout", True),
        (Deed.STOP_TIMEOUT, "stop-timeout", False),
    ],
)
@pytest.mark.parametrize("code", [-9, -6, 0, 1])
def test_what_the_supervisor_has_killed_for_being_slow_is_said_in_its_own_words(deed, word, blamed, code):
    cause = explain(Death(Exit(code), deed, note="killed, because", **RAISED))
    assert (cause.word, cause.text, cause.crash, cause.blamed) == (word, "killed, because", True, blamed)


@pytest.mark.parametrize(
    ("code", "more"),
    [
        (0, {"deed": Deed.ASKED}),
        (0, {"deed": Deed.ASKED, "finishing": True}),
        (-9, {"deed": Deed.KILLED}),
        (1, {"deed": Deed.KILLED}),
        (0, {"finishing": True}),  # by itself: CommonService has run in_shutdown()
    ],
)
def test_an_end_that_is_no_crash(code, more):
    cause = explain(Death(Exit(code), **more))
    assert not cause.crash and not cause.blamed
