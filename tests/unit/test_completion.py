"""What can stand at a place of a line that is being typed."""

import pytest

from zocalo_daemon.client.completion import socket_of, unquoted, words
from zocalo_daemon.client.main import COMMANDS


def service(name, count):
    return {"name": name, "state": "ready", "instances": [{"id": f"{name}/{n}"} for n in range(count)]}


ANSWERS = {
    "status": {
        "services": [service("dispatcher", 2), service("spotfinder", 1), service("spotfilter", 1)],
        "transports": [{"name": "rabbit", "driver": "rabbitmq"}],
    },
    "queues": [{"name": "images", "ready": 3}, {"name": "dlq.images", "ready": 1, "dead_letters": True}],
    "crashes": {"crashes": [{"id": 16, "instance": "a/0", "cause": "signal"}, {"id": 17, "instance": "a/1"}]},
}


def complete(line, ask=ANSWERS.get):
    """Return what can stand at the end of a line."""
    *before, current = line.split(" ")
    kind, found = words(before, current, COMMANDS, ask)
    return kind if kind == "files" else [word for word, _ in found]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("sta", ["status", "start"]),
        ("--js", ["--json"]),
        ("--json stat", ["status"]),
        ("--socket /x vers", ["version"]),
        ("recipe ", ["check", "show"]),
        ("recipe show --", ["--svg", "--dot", "--socket", "--json", "--help"]),
        ("dlq r", ["reinject"]),
        ("dl", ["dlq"]),
        ("nothing ", []),
        ("stop d", ["dispatcher", "dispatcher/0", "dispatcher/1"]),
        ("stop s", ["spotfinder", "spotfilter"]),
        ("stop spotfi", ["spotfinder", "spotfilter"]),
        ("stop dispatcher/", ["dispatcher/0", "dispatcher/1"]),
        ("stop dispatcher/0 dispatcher/", ["dispatcher/1"]),
        ("stop a", ["all"]),
        ("stop --no-wait --timeout 5 spotfin", ["spotfinder", "spotfinder/0"]),
        ("stop --timeout ", []),
        ("stop --no", ["--no-wait"]),
        ("status -", ["-w", "--watch", "-a", "--all", "--socket", "--json", "--help"]),
        ("status d", ["dispatcher"]),
        ("logs z", ["zocalod"]),
        ("scale d", ["dispatcher="]),
        ("queues i", ["images"]),
        ("send im", ["images"]),
        ("send images ", []),
        ("send --transport ", ["rabbit"]),
        ("send --transport=r", ["--transport=rabbit"]),
        ("dlq list ", ["dlq.images"]),
        ("dlq reinject -d im", ["images"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("completion bash ", []),
        ("recipe check ", "files"),
        ("--socket ", "files"),
        ("status --socket=/r", "files"),
        ("doctor --config ", "files"),
        ("go -f ", "files"),
        ("logs -f ", ["dispatcher", "spotfinder", "spotfilter", "all", "zocalod", "relay"]),
    ],
)
def test_what_can_stand_there(line, found):
    assert complete(line) == found


@pytest.mark.parametrize("line", ["stop ", "scale ", "logs d", "queues ", "dlq list ", "send --transport "])
def test_without_a_daemon_nothing_is_known(line):
    known = complete(line, lambda _op: None)
    assert set(known) <= {"zocalod", "relay"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_of_every_command_are_known(command):
    assert "--json" in complete(f"{command} --")


@pytest.mark.parametrize(
    ("word", "plain"),
    [
        ("spot", "spot"),
        ("'spo", "spo"),
        ('"a b"', "a b"),
        (r"a\ b", "a b"),
        (r"'a\'", "a\\"),
        ("'a'\"b\"c", "abc"),
    ],
)
def test_quotes_of_the_shell_are_undone(word, plain):
    assert unquoted(word) == plain


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("--socket /x stop", "/x"),
        ("stop --socket=/y", "/y"),
        ("stop --socket", None),
        ("stop --socket=", None),
    ],
)
def test_the_socket_that_the_line_names_is_asked(line, path):
    assert socket_of(line.split()) == path
