"""What `zocaloctl trace` makes of the lines of the trail."""

from argparse import Namespace

import pytest

from zocalo_daemon.client import trace
from zocalo_daemon.client.runs import recipes_of, summary
from zocalo_daemon.client.table import width
from zocalo_daemon.errors import UsageError, ZocaloError
from zocalo_daemon.protocol import trail

S = 1_000_000


def line(
    kind,
    at,
    node="1",
    delivery=1,
    *,
    outcome="",
    took=None,
    sent="",
    detail="",
    pid=9,
    name="4a1b",
    who="a/0",
):
    about = {
        "recipe": name,
        "node": node,
        "instance": who,
        "pid": pid,
        "delivery": delivery,
        "queue": "q" + node,
    }
    made = {"kind": kind, "time": at * S, **about}
    return made | {"took": took, "outcome": outcome, "sent": sent, "detail": detail}


def run(at, node="1", delivery=1, outcome="done", **more):
    return line("run", at, node, delivery, outcome=outcome, took=more.pop("took", S // 10), **more)


def known(*lines):
    return summary("4a1b", list(lines))


def outcomes(found):
    return [(one["node"], one["outcome"], one["then"]) for one in found["runs"]]


def test_the_columns_are_those_of_the_trail():
    assert tuple(line("run", 1)) == trail.COLUMNS


def test_a_recipe_that_is_done():
    start = line("sent", 1, "1", 5, who="dispatcher/0", pid=8)
    found = known(start, run(2, sent="2=q2*2"), run(3, "2", 2), run(4, "2", 3))
    assert found["state"] == "done" and not found["waiting"]
    assert [one["instance"] for one in found["starts"]] == ["dispatcher/0"]
    assert outcomes(found) == [("1", "done", ""), ("2", "done", ""), ("2", "done", "")]
    assert (found["begun"], found["last"]) == (S, 4 * S + S // 10)


def test_what_was_sent_and_has_not_begun_waits():
    found = known(run(2, sent="2=q2*3 3=q3*1"), run(3, "2", 2))
    assert found["state"] == "waiting"
    assert [(one["node"], one["messages"], one["of"], one["by"]) for one in found["waiting"]] == [
        ("2", 2, 3, "a/0"),
        ("3", 1, 1, "a/0"),
    ]


def test_what_runs_counts_before_all_else():
    found = known(run(2, sent="2=q2*2", outcome="rejected"), line("running", 3, "2", 2, took=5 * S))
    assert found["state"] == "running" and outcomes(found)[1] == ("2", "running", "")


def test_a_delivery_that_was_held_is_what_became_of_it():
    found = known(run(2, outcome="held"), line("settled", 5, outcome="rejected", detail="too dark"))
    assert outcomes(found) == [("1", "rejected", "")] and found["state"] == "failed"
    assert found["runs"][0]["took"] == S // 10 and found["runs"][0]["detail"] == "too dark"


def test_a_crash_after_an_exception_is_one_run_and_its_message_comes_again():
    start = line("sent", 1, "1", 0, who="x/0")
    crash = line("died", 2, outcome="crashed", detail="report 3: ValueError: no")
    found = known(start, run(2, outcome="raised", detail="ValueError: no"), crash)
    assert (
        outcomes(found) == [("1", "crashed", "")] and found["runs"][0]["detail"] == "report 3: ValueError: no"
    )
    assert found["state"] == "waiting" and found["waiting"][0]["messages"] == 1
    over = line("settled", 3, outcome="dead-lettered", detail="1 worker has died of it")
    found = known(start, run(2, outcome="raised"), crash, over)
    assert outcomes(found) == [("1", "crashed", "dead-lettered")] and found["state"] == "failed"
    assert found["runs"][0]["detail"] == "report 3: ValueError: no"


def test_a_recipe_whose_message_was_done_the_second_time_is_done():
    start = line("sent", 1, "1", 0, who="x/0")
    found = known(start, line("died", 2, outcome="cut"), run(3, delivery=2, pid=10))
    assert found["state"] == "done" and outcomes(found) == [("1", "cut", ""), ("1", "done", "")]


def test_messages_of_a_topic_are_runs_of_their_own():
    assert len(known(run(2, delivery=0), run(3, delivery=0))["runs"]) == 2


def test_the_beginning_may_be_lost():
    found = known(line("settled", 5, outcome="done"))
    assert outcomes(found) == [("1", "done", "")] and found["runs"][0]["took"] is None


def test_lines_that_are_there_twice_count_once_and_the_latest_recipe_stands_last():
    first, other = run(1), run(2, name="other")
    found = recipes_of([first, other, dict(first), run(3, delivery=2)])
    assert list(found) == ["other", "4a1b"] and len(found["4a1b"]) == 2


ANSWER = {"host": "i03-control", "since": S, "now": 9 * S, "size": 1, "left_out": 0, "recipes": ["4a1b"]}


def shown(*lines, columns=None, every=False, **answer):
    return trace.render(known(*lines), {**ANSWER, **answer}, columns, colour=False, every=every)


def test_many_that_ended_well_share_a_row_unless_all_are_wanted():
    many = [run(2 + i, "2", 10 + i, took=S * (1 + i)) for i in range(4)]
    text = shown(*many, run(8, "2", 20, outcome="rejected"))
    assert sum("rejected" in row for row in text) == 1
    (row,) = (row for row in text if "done 4 times" in row)
    assert " a " in row and "2.5s on average, 4.0s at most" in row
    assert sum(" a/0 " in row for row in shown(*many, every=True)) == 4


def test_every_line_fits_on_a_narrow_terminal():
    start = line("sent", 1, "1", 5, who="dispatcher/0", pid=8)
    crash = line("died", 2, outcome="crashed", detail="report 12: segmentation fault at " + "x" * 150)
    over = line("settled", 3, outcome="dead-lettered")
    many = [run(4 + i, "2", 10 + i, who="spotfinder-of-the-beamline/12") for i in range(5)]
    text = shown(start, crash, over, *many, line("running", 9, "7", 40), columns=80, left_out=3)
    assert all(width(row) <= 80 for row in text), text
    assert any("report 12" in row for row in text) and any("oldest 3 lines" in row for row in text)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "the record of i03-control goes back to "),
        ({"since": None}, "is empty; other hosts have their own"),
        ({"size": 0}, "keeps no record (`trail: 0` in zocalod.yaml)"),
    ],
)
def test_a_recipe_that_nobody_knows(more, said):
    class Daemon:
        def call(self, *_args):
            return {**ANSWER, "lines": [], "matching": 0, "recipes": [], **more}

    options = Namespace(recipe="4a1b", limit=20, json=False, all=False)
    with pytest.raises(ZocaloError, match="no node of this recipe ran here") as error:
        trace.trace(Daemon(), options)
    assert said in error.value.message and error.value.exit_status == 1


def test_an_abbreviation_of_several():
    class Daemon:
        def call(self, *_args):
            return {**ANSWER, "lines": [], "matching": 30, "recipes": ["4a1b", "4a1c"]}

    with pytest.raises(UsageError, match="several recipes begin with 4a1: 4a1b, 4a1c, and others"):
        trace.trace(Daemon(), Namespace(recipe="4a1", limit=20, json=False, all=False))
    for options in (Namespace(recipe=" ", limit=1), Namespace(recipe=None, limit=0)):
        with pytest.raises(UsageError):
            trace.trace(Daemon(), options)
