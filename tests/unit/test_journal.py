import contextlib
import socket

import pytest

from tests.journalkit import JournalStandIn, parse
from zocalo_daemon.supervision.journal import Journal, entry, is_stream
from zocalo_daemon.supervision.logs import LogBook
from zocalo_daemon.supervision.outlets import LogMessage


def message(said, level=20, source="spots/0", **fields):
    return LogMessage(source, level, said, 1.0, fields)


class Taken:
    def __init__(self):
        self.messages = []

    def write(self, one):
        self.messages.append(one.text)
        return True


@pytest.fixture
def journald(tmp_path):
    made = JournalStandIn(tmp_path / "socket")
    yield made
    with contextlib.suppress(OSError):
        made.close()


def test_fields_have_the_names_of_the_journal():
    made = parse(
        entry(
            message(
                "found\nspots",
                30,
                recipe_ID="r-1",
                logger="site.spots",
                pathname="/opt/spots.py",
                lineno=7,
                funcName="find",
                workflows_host="host.12",
                span_id=None,
                **{"odd näme": "x", "priority": "0", "service": "claimed"},
            )
        )
    )
    assert made == {
        "MESSAGE": "spots/0: found\nspots",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "zocalod",
        "ZOCALO_RECIPE_ID": "r-1",
        "LOGGER": "site.spots",
        "CODE_FILE": "/opt/spots.py",
        "CODE_LINE": "7",
        "CODE_FUNC": "find",
        "WORKFLOWS_HOST": "host.12",
        "ZOCALO_ODD_N_ME": "x",
        "ZOCALO_PRIORITY": "0",
        "ZOCALO_SERVICE": "spots",
        "ZOCALO_INSTANCE": "spots/0",
        "ZOCALO_SOURCE": "spots/0",
    }


def test_names_are_never_too_long_and_values_are_always_text():
    made = parse(entry(message("half a letter \ud800", **{"x" * 200: "a\nb=c\n", "y": 1.5})))
    assert made["MESSAGE"] == "spots/0: half a letter ?"
    assert made["ZOCALO_" + 57 * "X"] == "a\nb=c\n"
    assert made["ZOCALO_Y"] == "1.5"


def test_an_entry_that_no_datagram_holds_comes_in_a_sealed_file(journald, tmp_path):
    journal = Journal(str(journald.path), None)
    assert journal.write(message("small"))
    journal._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    assert journal.write(message("x" * 100_000))
    assert [len(text) for text in journald.messages()] == [len("spots/0: small"), len("spots/0: ") + 100_000]
    assert journald.files == 1
    journal.close()


def test_a_journal_that_does_not_read_holds_up_nobody_and_is_told_the_count(journald):
    book = LogBook(lambda: 1.0, Journal(str(journald.path), None))
    for number in range(2000):
        book.add("spots/0", 20, str(number))
    taken = len(journald.messages())
    assert 0 < taken < 2000
    book.add("spots/0", 20, "after")
    assert journald.messages()[taken:] == [
        f"zocalod: {2000 - taken} messages dropped here: too many at once",
        "spots/0: after",
    ]


def test_while_the_journal_is_gone_its_stream_gets_the_messages(journald):
    otherwise = Taken()
    journal = Journal(str(journald.path), otherwise)
    journal.write(message("one"))
    assert journald.messages() == ["spots/0: one"]
    journald.close()
    assert journal.write(message("two"))
    again = JournalStandIn(journald.path)
    assert journal.write(message("three"))
    assert again.messages() == ["spots/0: three"]
    assert otherwise.messages == ["two"]
    again.close()
    assert not Journal(str(journald.path), None).write(message("nowhere"))


def test_only_the_stream_that_systemd_names_leads_to_the_journal(tmp_path):
    with (tmp_path / "stream").open("w") as stream:
        about = (tmp_path / "stream").stat()
        named = f"{about.st_dev}:{about.st_ino}"
        assert is_stream(stream.fileno(), {"JOURNAL_STREAM": named})
        assert not is_stream(stream.fileno(), {"JOURNAL_STREAM": f"{about.st_dev}:1"})
        assert not is_stream(stream.fileno(), {})
