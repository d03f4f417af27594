"""The trail: what a worker notes on its page, and how lines are read."""

import os
import threading
from functools import partial
from pathlib import Path

import pytest

from zocalo_daemon import trail as file
from zocalo_daemon.protocol import board, tally
from zocalo_daemon.protocol import trail as layout
from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.worker import trail
from zocalo_daemon.worker.trail import Trail

RECIPE = {1: {"queue": "spots", "output": 2}, "2": {"topic": "in dex"}, "start": [[1, []]]}


def message(node=1, name="4a1b", **more):
    return {"recipe": RECIPE, "recipe-pointer": node, "environment": {"ID": name}, **more}


@pytest.fixture
def page():
    return memoryview(bytearray(layout.PAGE))


@pytest.fixture
def noting(page, tmp_path):
    made = Trail(page, "spots/0", partial(trail.write, str(tmp_path / "trail")), 1 << 20)
    made._save_at = 1 << 62  # until the page is full
    return made


def lines(page):
    return list(layout.found(layout.lines_of(page), ""))


def saved(tmp_path):
    data = b"".join(Path(path).read_bytes() for path in file.parts(str(tmp_path / "trail")))
    return list(layout.found(data, ""))


def test_a_run_is_one_line_with_what_it_has_sent(noting, page):
    run = noting.begin(message(), "spots", 7)
    assert layout.number_at(page, layout.STATE) == layout.RUNNING
    assert layout.unfinished("running", layout.head_of(page))["node"] == "1"
    # what a wrapper sends has the very environment that it was made of
    for node in (2, 2, 1):
        noting.sent({**message(node), "environment": run.environment}, run)
    noting.settled(protocol.ACK, 7, None)
    noting.end(run)
    assert layout.number_at(page, layout.STATE) == layout.SETTLED
    (line,) = lines(page)
    assert line["sent"] == "2=in_dex*2 1=spots*1"
    assert line["kind"] == "run" and line["outcome"] == "done" and line["took"] >= 0
    assert (line["recipe"], line["node"], line["instance"], line["queue"]) == (
        "4a1b", "1", "spots/0", "spots"
    )  # fmt: skip
    assert (line["pid"], line["delivery"]) == (os.getpid(), 7) and not noting.open


@pytest.mark.parametrize(
    ("kind", "requeue", "outcome", "detail"),
    [
        (protocol.ACK, None, "done", ""),
        (protocol.NACK, True, "again", ""),
        (protocol.NACK, None, "rejected", ""),
        (protocol.NACK, False, "rejected", ""),
        (protocol.NACK, "no image", "rejected", "no image"),
    ],
)
def test_how_a_delivery_was_settled_before_and_after_the_end(noting, page, kind, requeue, outcome, detail):
    for number, early in ((1, True), (2, False)):
        run = noting.begin(message(), "spots", number)
        if early:
            noting.settled(kind, number, requeue)
        noting.end(run)
        if not early:
            assert layout.number_at(page, layout.STATE) == layout.OPEN
            noting.settled(kind, number, requeue)
        assert layout.number_at(page, layout.STATE) == layout.SETTLED
    before, held, after = lines(page)
    assert (before["kind"], before["outcome"], before["detail"]) == ("run", outcome, detail)
    assert (held["kind"], held["outcome"]) == ("run", "held")
    assert (after["kind"], after["outcome"], after["detail"]) == ("settled", outcome, detail)
    assert after["delivery"] == 2 and after["time"] >= held["time"]


def test_an_exception_counts_more_than_how_it_was_settled(noting, page):
    run = noting.begin(message(), "spots", 1)
    noting.settled(protocol.ACK, 1, None)
    run.raised(KeyError("x\ny"))
    noting.end(run)
    (line,) = lines(page)
    assert line["outcome"] == "raised" and line["detail"].startswith("KeyError: ")


def test_with_the_relay_gone_what_is_in_hand_comes_again(noting, page):
    held = noting.begin(message(), "spots", 1)
    noting.end(held)
    running = noting.begin(message(2), "spots", 2)
    raised = noting.begin(message(3), "spots", 3)
    raised.raised(ValueError("x"))
    noting.end(raised)
    noting.lost("the relay has gone")
    assert layout.number_at(page, layout.STATE) == layout.OPEN  # what died of it, the supervisor says
    noting.end(running)
    assert [(one["kind"], one["outcome"]) for one in lines(page)] == [
        ("run", "held"), ("run", "raised"), ("settled", "again"), ("run", "again")
    ]  # fmt: skip


def test_what_is_sent_outside_of_a_run_or_for_another_recipe_has_a_line_of_its_own(noting, page):
    noting.sent(message(), None)
    run = noting.begin(message(), "spots", 3)
    noting.sent(message(2, "other"), run)
    noting.settled(protocol.ACK, 3, None)
    noting.end(run)
    first, second, third = lines(page)
    assert (first["kind"], first["node"], first["queue"], first["delivery"]) == ("sent", "1", "spots", 0)
    assert (second["kind"], second["recipe"], second["delivery"]) == ("sent", "other", 3)
    assert third["kind"] == "run" and not third["sent"]


@pytest.mark.parametrize(
    "odd",
    [
        {"recipe-pointer": 1},
        {"recipe-pointer": 1, "environment": []},
        {"recipe-pointer": 1, "environment": {"ID": None}},
        {"recipe-pointer": 1, "environment": {"ID": "\U0001f600" * 64}},
    ],
)
def test_messages_without_an_id_that_fits_are_not_noted(noting, page, odd):
    assert noting.begin(odd, "\U0001f600" * 100, 1) is None
    assert not lines(page) and not noting.open


@pytest.mark.parametrize("pointer", [None, [1], {"a": 1}, "1\t2\n3", "x" * 5000, 2.5, 10**60])
def test_odd_values_make_no_odd_lines(noting, page, pointer):
    odd = {"recipe-pointer": pointer, "environment": {"ID": "a\tb\nc" + "d" * 100}, "recipe": [1]}
    noting.sent(odd, None)
    run = noting.begin(odd, "queue\twith\ntabs", 1)
    noting.sent({**odd, "environment": run.environment}, run)
    noting.settled(protocol.NACK, 1, "why\nnot\t?" * 100)
    noting.end(run)
    made = lines(page)
    assert len(made) == (2 if type(pointer) is int else 3)
    assert all(one["recipe"].startswith("a?b?cd") for one in made)


def test_a_page_that_is_full_goes_to_the_file(noting, page, tmp_path):
    for number in range(1, 201):
        run = noting.begin(message(name=f"id-{number}"), "spots", number)
        noting.settled(protocol.ACK, number, None)
        noting.end(run)
    assert lines(page) and len(saved(tmp_path)) > 100
    assert [one["delivery"] for one in saved(tmp_path) + lines(page)] == list(range(1, 201))


def test_lines_do_not_stay_on_the_board_for_long_if_more_come(page, tmp_path):
    noting = Trail(page, "spots/0", partial(trail.write, str(tmp_path / "trail")), 1 << 20)
    for number in (1, 2):
        noting.end(noting.begin(message(), "spots", number))
    assert len(saved(tmp_path)) == 1 and len(lines(page)) == 1
    noting._save_at = 0
    noting.end(noting.begin(message(), "spots", 3))
    assert len(saved(tmp_path)) == 3 and not lines(page)


def test_nothing_is_noted_once_the_supervisor_says_so(noting, page):
    layout.set_number(page, layout.PART, 0)
    assert noting.begin(message(), "spots", 1) is None
    noting.sent(message(), None)
    assert not lines(page)


def test_a_directory_that_cannot_be_written_harms_nobody(page, tmp_path):
    (tmp_path / "trail").write_text("no directory")
    noting = Trail(page, "spots/0", partial(trail.write, str(tmp_path / "trail")), 1 << 20)
    for number in range(1, 100):
        noting.end(noting.begin(message(), "spots", number))
    assert noting._used <= layout.ROOM


def test_a_fork_of_a_service_notes_nothing(noting, page):
    noting.detach()
    run = noting.begin(message(), "spots", 1)
    assert run is None and not lines(page)


def test_threads_do_not_mix_their_lines(noting, page, tmp_path):
    def work(base):
        for number in range(base, base + 200):
            run = noting.begin(message(name=f"id-{number}"), "spots", number)
            noting.settled(protocol.ACK, number, None)
            noting.end(run)

    threads = [threading.Thread(target=work, args=(base,)) for base in (1000, 2000, 3000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [one for one in saved(tmp_path) + lines(page)]
    assert sorted(one["delivery"] for one in made) == [
        base + number for base in (1000, 2000, 3000) for number in range(200)
    ]
    assert all(one["recipe"] == f"id-{one['delivery']}" for one in made)


def test_a_board_of_an_older_version_has_no_pages():
    old = memoryview(bytearray(tally.FILE_SIZE))
    assert layout.page(old, 1) is None
    assert (
        trail.of_worker(old.cast("Q"), 1, "spots/0", {"trail": {"directory": "/x", "part": 1}}, -1)
        is trail.UNTRACED
    )
    assert (
        trail.of_worker(None, 1, "spots/0", {"trail": {"directory": "/x", "part": 1}}, -1) is trail.UNTRACED
    )


def test_what_workers_leave_behind_with_their_supervisor_is_saved(tmp_path):
    words = memoryview(bytearray(tally.FILE_SIZE + 4 * layout.PAGE))
    directory = str(tmp_path / "trail")
    pages = [words[tally.FILE_SIZE + n * layout.PAGE :][: layout.PAGE] for n in range(4)]
    noting = Trail(pages[1], "spots/0", partial(trail.write, directory), 1 << 20)
    noting._save_at = 1 << 62
    noting.end(noting.begin(message(), "spots", 1))
    noting.begin(message(2), "spots", 2)

    class Whole:
        """As long as a board, without its memory."""

        def cast(self, _kind):
            return self

        def __len__(self):
            return layout.FILE_SIZE

        def __getitem__(self, part):
            return words[part]

    for _ in range(2):  # by two forkservers
        trail.save_rest(Whole(), [1, 2], directory)
    done, cut = saved(tmp_path)
    assert (done["kind"], cut["kind"], cut["outcome"], cut["node"]) == ("run", "died", "cut", "2")


def test_lines_that_are_torn_or_of_another_version_are_left_out():
    good = layout.line("run", "1\tabcd\t1\ta/0\t2\t3\tq", 4, "done", "")
    for bad in (good[7:], good[:-9], b"x\n", b"\xff\xfe\n", good.replace(b"\t2\t", b"\tx\t"), b"\n"):
        assert [one["took"] for one in layout.found(bad + b"\n" + good, "abc")] == [4]
    assert board.ENTRIES * layout.PAGE + tally.FILE_SIZE == layout.FILE_SIZE


def test_a_prefix_is_looked_for_in_the_column_of_ids_alone():
    one = layout.line("run", "1\tabcd\t1\ta/0\t2\t3\tq", 4, "done", "")
    other = layout.line("run", "1\tefgh\t1\ta/0\t2\t3\tabc", 4, "done", "abc")
    assert [line["recipe"] for line in layout.found(one + other + one, "abc")] == ["abcd", "abcd"]
    assert len(list(layout.found(one + other, ""))) == 2
