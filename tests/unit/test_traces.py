"""faulthandler's dumps among lines of output."""

from __future__ import annotations

import faulthandler
import tempfile
import threading

from zocalo_daemon.supervision.traces import find, place

FATAL = """Fatal Python error: Segmentation fault

Thread 0x00007f1 (most recent call first):
  File "/lib/selectors.py", line 468 in select
  ...
Current thread 0x00007f0 [python] (most recent call first):
  File "/usr/lib/ctypes/__init__.py", line 519 in string_at
  File "/x/spots.py", line 7 in receive

Extension modules: msgpack._cmsgpack (total: 1)""".splitlines()


def test_a_dump_is_found_between_other_lines():
    lines = ["before", *FATAL[:4], "a line of another thread", *FATAL[4:], "after"]
    assert find(lines) == [line for line in FATAL if line]
    assert place(find(lines)) == "__init__.py:519 in string_at"


def test_of_several_dumps_the_last_error_counts():
    trace = ["Current thread 0x1 (most recent call first):", '  File "a.py", line 1 in f']
    lines = [*trace, FATAL[0].replace("Segmentation fault", "Aborted"), *FATAL[2:8]]
    assert find(lines)[0] == "Fatal Python error: Aborted"
    assert find([*trace, "more"]) == trace


def test_lines_without_a_dump_have_none():
    assert find([]) == find(["Traceback (most recent call last):", '  File "a.py", line 1, in f']) == []
    assert place([]) == place(["Current thread 0x1 (most recent call first):"]) == ""
    assert place(["Current thread 0x1 (most recent call first):", "  <no Python frame>"]) == ""


def test_what_this_python_writes_is_understood():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file)
        stop.set()
        thread.join()
        file.seek(0)
        written = file.read().splitlines()
    dump = find(["something else", *written])
    assert [line for line in written if line] == dump
    assert place(dump).endswith("in test_what_this_python_writes_is_understood")
