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


@pytest.mark.parametrize("size", [32, 200, 1000])
def test_what_malloc_hands_out_comes_from_no_gap_either(size: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HEAP, str(size)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert int(done.stdout) <= 2, "but for what the function itself has freed"


@pytest.mark.parametrize("size", [48, 112, 512])
def test_new_objects_go_into_no_gap_once_the_gaps_are_filled(size: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GAPS, str(size)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert int(done.stdout) <= 2, "new objects, but for those that take the place of the function's own"
