"""The files of the trail never have more than they may, and lose the oldest lines only."""

import tempfile
import threading
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from zocalo_daemon import trail


def numbers(directory):
    data = b"".join(Path(path).read_bytes() for path in trail.parts(directory))
    return [int(line) for line in data.split()]


def total(directory):
    return sum(Path(path).stat().st_size for path in trail.parts(directory))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 400),
    st.lists(
        st.tuples(st.integers(1, 60), st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7])), min_size=1, max_size=120
    ),
)
def test_bounded_and_in_order_whatever_is_appended(part, chunks):
    with tempfile.TemporaryDirectory() as directory:
        count, longest = 0, 0
        for size, pad in chunks:
            lines = b"".join(b"%08d%s\n" % (count + i, b" " * pad) for i in range(size))
            count += size
            longest = max(longest, len(lines))
            trail.append(directory, lines, part)
            assert total(directory) <= part * trail.PARTS + 2 * longest
            assert len(trail.parts(directory)) <= trail.PARTS + 1
            left = numbers(directory)
            # The latest are there, without a gap: only the oldest were dropped.
            assert left == list(range(count - len(left), count))


def test_less_may_be_kept_from_now_on():
    with tempfile.TemporaryDirectory() as directory:
        for number in range(200):
            trail.append(directory, b"%09d\n" % number, 100)
        assert total(directory) > 1000
        trail.prune(directory, 300)
        assert 0 < total(directory) <= 300 + 110
        assert numbers(directory)[-1] == 199
        trail.prune(directory, 0)
        assert trail.parts(directory) == []


def test_many_append_at_once():
    with tempfile.TemporaryDirectory() as directory:

        def work(base):
            for number in range(base, base + 300):
                trail.append(directory, b"%09d\n" % number, 2000)

        threads = [threading.Thread(target=work, args=(base,)) for base in (1000, 2000, 3000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(numbers(directory)) == [b + n for b in (1000, 2000, 3000) for n in range(300)]


def test_the_size_of_a_file():
    assert trail.part_of(0) == 0
    assert trail.part_of(1) == trail.LEAST
    assert trail.part_of(64 << 20) * trail.PARTS == 64 << 20
