"""Who feeds the watchdog, and when a relay is replaced."""

from types import SimpleNamespace

import pytest

from zocalo_daemon.control.watchdog import Watchdog, another_round
from zocalo_daemon.errors import Unavailable


class Relay:
    """One that answers when it is told to."""

    def __init__(self, pid):
        self.pid, self.state, self.name = pid, "ready", f"relay {pid}"
        self.questions, self.killed = [], 0

    def request(self, op, args, answer, *, again):
        assert (op, again) == ("ping", False)
        self.questions.append(answer)

    def answer(self):
        self.questions.pop()(None, None)

    def kill(self):
        self.killed += 1


class Play:
    """A watchdog with a limit of 90 s over some relays; each round takes 30 s."""

    def __init__(self, *pids, state="running"):
        self.fed, self._due, self.said = 0, [], []
        self.relays = [Relay(pid) for pid in pids]
        loop = SimpleNamespace(after=lambda seconds, what: self._due.append((seconds, what)))
        self.host = SimpleNamespace(
            state=state, loop=loop, relays=self.relays, say=lambda _, text: self.said.append(text)
        )
        Watchdog(self.host, 90.0, self.feed)

    def feed(self):
        self.fed += 1

    def round(self):
        """Let a round begin; return how often it was fed since the last one began."""
        ((seconds, what),) = self._due
        assert seconds in (0.0, 30.0)
        self._due.clear()
        self.fed = 0
        what()


@pytest.fixture
def play():
    return Play(1, 2)


def test_it_is_fed_when_all_have_answered(play):
    for _ in range(3):
        play.round()
        assert play.fed == 0
        play.relays[0].answer()
        assert play.fed == 0
        play.relays[1].answer()
        assert play.fed == 1


def test_a_relay_that_does_not_answer_is_killed_and_feeds_it_once(play):
    play.round()
    play.relays[1].answer()
    assert play.fed == 0
    play.round()
    assert (play.relays[0].killed, play.relays[1].killed) == (1, 0)
    assert play.said == ["relay 1 has not answered for 30 s, and is killed"]
    play.relays[1].answer()
    assert play.fed == 1
    for _ in range(3):  # it cannot be killed
        play.round()
        play.relays[1].answer()
        assert play.fed == 0
    assert play.relays[0].killed == 1


def test_the_answer_of_one_that_was_killed_comes_too_late(play):
    play.round()
    play.round()
    for relay in play.relays:
        relay.answer()
    play.round()
    assert play.fed == 0


def test_its_successor_counts_anew(play):
    play.round()
    play.round()
    play.relays[0].pid, play.relays[1].pid = 11, 12
    play.round()
    for relay in play.relays:
        relay.answer()
    assert play.fed == 1


@pytest.mark.parametrize("state", ["starting", "stopped"])
def test_a_relay_that_does_not_serve_yet_is_not_asked(play, state):
    for relay in play.relays:
        relay.state = state
    play.round()
    assert play.fed == 1
    assert not any(relay.questions for relay in play.relays)


def test_while_the_daemon_stops_its_loop_is_enough():
    play = Play(1, state="stopping")
    play.round()
    assert play.fed == 1


def test_one_that_takes_no_question_is_as_one_that_does_not_answer(play):
    def refuse(*_args, **_more):
        raise Unavailable("too many requests wait for the relay")

    play.relays[0].request = refuse
    play.round()
    play.relays[1].answer()
    assert play.fed == 0
    play.round()
    assert play.relays[0].killed == 1


def test_rounds_are_counted_for_those_that_are_still_there():
    assert another_round({1: 1, 2: 2}, [2, 3]) == {2: 3, 3: 1}
