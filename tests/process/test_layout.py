import subprocess
import sys

import pytest

# In an interpreter of its own: what pytest has left in memory makes this one unpredictable.
GAPS = """
import sys
from zocalo_daemon.worker import layout
size = int(sys.argv[1])
made = [bytes(size - 33) for _ in range(2000)]
gaps = {id(one) for one in made[::2]}
del made[::2]
assert id(bytes(size - 33)) in gaps, "there was no gap"
filling = layout.fill_gaps()
fresh = [bytes(size - 33) for _ in range(20)]
print(len(gaps & {id(one) for one in fresh}))
"""

HEAP = """
import ctypes, sys
from zocalo_daemon.worker import layout
size = int(sys.argv[1])
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_size_t, [ctypes.c_size_t]
made = [libc.malloc(size) for _ in range(2000)]
gaps = set(made[::2])
for one in gaps:
    libc.free(one)
assert libc.malloc(size) in gaps, "there was no gap"
assert 0 < layout.fill_heap() < 20_000
fresh = [libc.malloc(size) for _ in range(20)]
print(len(gaps & set(fresh)))
"""

POOLED = """
import logging
from zocalo_daemon.worker import layout
layout.pool_loggers()
loggers, between = [], []
for number in range(20):
    loggers.append(logging.getLogger(f"layout.pooled.{number}"))
    between.append([[] for _ in range(500)])  # of the same size as a logger
print(len({id(logger) // 4096 for logger in loggers}))
"""

GATHERED = """
import logging
from zocalo_daemon.worker import layout
loggers = [logging.getLogger(f"layout.{number}") for number in range(20)]
filling = layout.fill_gaps()
layout.gather_loggers()
places = [id(one) for logger in loggers for one in (logger.handlers, logger._cache)]
assert filling
print(len({place // 4096 for place in places}))
"""


def printed(program: str, *arguments: str) -> int:
    """Run a program in an interpreter; return the number that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return int(done.stdout)


@pytest.mark.parametrize("size", [32, 200, 1000])
def test_what_malloc_hands_out_comes_from_no_gap_either(size: int) -> None:
    assert printed(HEAP, str(size)) <= 2, "but for what the function itself has freed"


@pytest.mark.parametrize("size", [48, 112, 512])
def test_new_objects_go_into_no_gap_once_the_gaps_are_filled(size: int) -> None:
    assert printed(GAPS, str(size)) <= 2, "but for what the function itself has dropped"


def test_loggers_lie_together_whatever_is_made_in_between():
    # Each in a page of its own otherwise; holes in older pages may take a few.
    assert printed(POOLED) <= 4


def test_the_containers_of_loggers_lie_together():
    assert printed(GATHERED) <= 4
