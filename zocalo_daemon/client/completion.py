"""zocaloctl completion: the scripts for shells, and what they ask at each press of the key.

Own scripts, because what is to be completed are mostly names that only the running daemon knows: shtab would
write static ones with a call like ours for each name; argcomplete imports argparse and all commands
at each press, 40 ms, and knows neither zsh's descriptions nor fish. Here the shells' part is only to split
the line and to show; what can stand where is decided once, in `words`, for all three.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from zocalo_daemon.client.connection import Connection
from zocalo_daemon.client.names import FINDERS, SCRIPTS
from zocalo_daemon.errors import ZocaloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Word = tuple[str, str]  # what can stand there, and a few words about it
    Ask = Callable[[str], Any]  # from an operation to its value

PATIENCE = 0.3  # seconds; one who types does not wait longer for names

GLOBAL = {"--socket": True, "--json": False, "--help": False, "--version": False}  # whether they take a value
# What the arguments of a command are; of a command that is not here, nothing is known.
ARGUMENTS = {
    "status": "services",
    **dict.fromkeys(("start", "stop", "restart", "events"), "targets"),
    "logs": "sources",
    "crashes": "crashes",
    "trace": "recipes",
    "scale": "sizes",
    "send": "queue",
    "drain": "queues",
    "queues": "queues",
    **dict.fromkeys(("dlq list", "dlq purge", "dlq reinject"), "dead letters"),
    **dict.fromkeys(("cluster", "shutdown"), "hosts"),
    **dict.fromkeys(("recipe check", "recipe show", "configure-rabbitmq"), "files"),
    "completion": "shells",
    "legacy-commands": "files",
}
# What the value of an option is, where that can be told.
VALUES = {
    **dict.fromkeys(("--socket", "--config", "--file", "-f", "--drop-location", "--location"), "files"),
    **dict.fromkeys(("--recipewrapper", "--rabbit-conf", "--stomp-conf", "--user-config"), "files"),
    **dict.fromkeys(("--destination", "-d"), "queues"),
    "--transport": "transports",
    "--host": "hosts",
}


def completion_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `completion`."""
    parser.add_argument("shell", choices=SCRIPTS, help="whose script to print")


def completion(_daemon: Connection, options: Namespace) -> int:
    """Print the script for a shell."""
    with open(os.path.join(os.path.dirname(__file__), "shells", SCRIPTS[options.shell])) as script:
        sys.stdout.write(script.read())
    return 0


def tell(line: list[str], commands: Mapping[str, tuple[str, str]]) -> int:
    """Print for a shell what can stand at the place of the last word of a line: `files` or `words` and these.

    Nothing is said of what goes wrong: it would be written into the line that is being typed.
    """
    line = line[1:] if line[:1] == ["--"] else line
    *before, current = [unquoted(word) for word in line] or [""]
    with Connection(socket_of(before), PATIENCE) as daemon:

        def ask(op: str) -> Any:
            try:
                return daemon.call(op, {}, PATIENCE)
            except ZocaloError:
                return None

        try:
            kind, found = words(before, current, commands, ask)
        except (AttributeError, KeyError, TypeError, ValueError):  # an answer of another version
            kind, found = "words", []
    sys.stdout.write(
        "\n".join([kind, *(f"{word}\t{about}" if about else word for word, about in found)]) + "\n"
    )
    return 0


def words(
    before: list[str], current: str, commands: Mapping[str, tuple[str, str]], ask: Ask
) -> tuple[str, list[Word]]:
    """Return "files", or "words" and those that can stand at a place and begin as what stands there already.

    Args:
        before: the words of the line behind zocaloctl, up to the place.
        commands: as in `main`: module and summary by name.
        ask: asks the daemon; returns None if it does not answer.
    """
    command, rest = _command(before, commands)
    options = GLOBAL
    if command:
        options = {
            **_options(command, commands[command][0]),
            "--socket": True,
            "--json": False,
            "--help": False,
        }
    name, has_value, value = current.partition("=")
    if name.startswith("--") and has_value:
        kind, found = _named(VALUES.get(name, ""), [], value, ask)
        return kind, [(f"{name}={word}", about) for word, about in found]
    if before and options.get(before[-1]):
        return _named(VALUES.get(before[-1], ""), [], current, ask)
    if current.startswith("-"):
        return "words", _beginning(current, ((option, "") for option in options))
    if not command:
        return "words", _commands(rest, current, commands)
    return _named(ARGUMENTS.get(command, ""), _arguments(rest, options), current, ask)


def unquoted(word: str) -> str:
    """Return a word without the quotes and backslashes of a shell; the last quote may still be open."""
    plain, quote, escaped = "", "", False
    for letter in word:
        if escaped:
            plain, escaped = plain + letter, False
        elif letter == "\\" and quote != "'":
            escaped = True
        elif letter == quote:
            quote = ""
        elif letter in "'\"" and not quote:
            quote = letter
        else:
            plain += letter
    return plain


def socket_of(before: list[str]) -> str | None:
    """Return the control socket that a line names."""
    for number, word in enumerate(before):
        if word.startswith("--socket="):
            return word.partition("=")[2] or None
        if word == "--socket" and number + 1 < len(before):
            return before[number + 1]
    return None


# -- Parts of the line


def _command(before: list[str], commands: Iterable[str]) -> tuple[str, list[str]]:
    """Return the command, "" if it is not complete yet, and the words behind the options that precede it."""
    rest = list(before)
    while rest and rest[0].startswith("-"):
        del rest[: 2 if rest[0] == "--socket" else 1]
    for count in (2, 1):
        name = " ".join(rest[:count])
        if len(rest) >= count and name in commands:
            return name, rest[count:]
    return "", rest


class _Recorder:
    """Takes the place of an argparse parser, whose import alone costs 10 ms."""

    def __init__(self) -> None:
        self.options: dict[str, bool] = {}

    def add_argument(self, *names: str, **about: Any) -> None:
        """Note an option, and whether it takes a value."""
        takes = about.get("action", "store") in ("store", "append")
        self.options |= {name: takes for name in names if name.startswith("-")}

    def add_mutually_exclusive_group(self) -> _Recorder:
        """Note options of a group as all others."""
        return self


def _options(command: str, module: str) -> dict[str, bool]:
    recorder = _Recorder()
    declare = getattr(
        import_module("zocalo_daemon.client." + module),
        command.replace(" ", "_").replace("-", "_") + "_options",
    )
    declare(recorder)
    return recorder.options


def _arguments(rest: list[str], options: Mapping[str, bool]) -> list[str]:
    """Return the words behind a command that are no options and no values of them."""
    found, is_value = [], False
    for word in rest:
        if not is_value and not word.startswith("-"):
            found.append(word)
        is_value = not is_value and options.get(word, False)
    return found


# -- What can stand there


def _beginning(start: str, found: Iterable[Word]) -> list[Word]:
    return [word for word in found if word[0].startswith(start)]


def _commands(rest: list[str], current: str, commands: Mapping[str, tuple[str, str]]) -> list[Word]:
    """Return the first or second words of commands."""
    found: dict[str, str] = {}
    for name, (_, about) in commands.items():
        parts = name.split()
        if parts[: len(rest)] == rest and len(parts) > len(rest):
            whole = len(parts) == len(rest) + 1
            found.setdefault(parts[len(rest)], about if whole else "")
    return _beginning(current, found.items())


def _named(kind: str, given: list[str], current: str, ask: Ask) -> tuple[str, list[Word]]:
    """Return what a kind of argument can be, without those that were given already."""
    if kind == "files":
        return "files", []
    find = FINDERS.get(kind)
    if find is None or (kind in ("queue", "recipes", "shells") and given):
        return "words", []
    return "words", [word for word in _beginning(current, find(ask, current)) if word[0] not in given]
