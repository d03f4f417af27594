"""zocaloctl: finds out what is asked, loads that command alone, and turns what goes wrong into one line.

It starts in about the time that the interpreter takes, because scripts call it in loops: the modules of
the other commands, json and re are not loaded for a `status`.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import SimpleNamespace

from zocalo_daemon import __version__
from zocalo_daemon.client.connection import Connection
from zocalo_daemon.client.table import clean, lines_of
from zocalo_daemon.errors import UsageError, ZocaloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from types import ModuleType
    from typing import Any, NoReturn

# command: (module of this package, what it does). The module has a function of the command's name that runs
# it, and one with `_options` behind that declares its arguments.
COMMANDS = {
    "status": ("status", "services, instances and transports"),
    "start": ("change", "start services or instances"),
    "stop": ("change", "stop services or instances"),
    "restart": ("change", "restart services or instances, one after the other"),
    "scale": ("change", "change the number of instances of a service now"),
    "reload": ("change", "re-read the configuration and apply the difference"),
    "reexec": ("change", "replace the code of the daemon itself, without stopping a worker"),
    "logs": ("follow", "what the services wrote"),
    "events": ("follow", "what happened to the workers"),
    "crashes": ("crashes", "why workers have died, with traceback, log and message"),
    "send": ("submit", "send a message to a queue"),
    "broadcast": ("submit", "send a message to everyone who listens to a topic"),
    "go": ("go", "start a recipe, for a data collection ID or without one"),
    "pickup": ("pickup", "submit the drop files of go"),
    "cluster": ("cluster", "services of all hosts that share a broker"),
    "shutdown": ("cluster", "stop services by a broadcast to all hosts"),
    "queues": ("queues", "queues and how full they are"),
    "dlq list": ("deadletters", "dead letters: where they come from and why they died"),
    "dlq check": ("deadletters", "count dead letters; fails if there are any"),
    "dlq purge": ("deadletters", "delete dead letters, or move them into files"),
    "dlq reinject": ("deadletters", "send dead letters back, from their queues or from files"),
    "drain": ("drain", "move the messages of a queue to another, or to where their recipes say"),
    "trace": ("trace", "where a recipe is: which of its nodes have run here, and how"),
    "recipe check": ("recipes", "say what is wrong with recipe files"),
    "recipe show": ("recipes", "draw a recipe"),
    "wrap": ("wrap", "run a job that is a step of a recipe"),
    "configure-rabbitmq": ("configure", "make RabbitMQ hold the queues, users and policies of a file"),
    "doctor": ("doctor", "what is wrong here, whether the daemon runs or not"),
    "completion": ("completion", "print the script that completes commands and names in a shell"),
    "legacy-commands": ("legacy", "write programs with the names of zocalo's commands"),
    "version": ("version", "what is running"),
}
INTERRUPTED = 130  # 128 + SIGINT, as shells say it
BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(argv: list[str] | None = None) -> int:
    """Run zocaloctl and return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a character gets its number
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _attempt(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        status = BROKEN_PIPE
    except OSError as e:  # standard output is a full disk, or a file that was named cannot be read
        _complain(str(e))
        status = 1
    else:
        return status
    # What is left in the buffer has nobody to read it; the interpreter must not try again at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _attempt(arguments: list[str]) -> int:
    try:
        return _run(arguments)
    except ZocaloError as e:
        problems = e.data.get("problems") or []
        for line in problems if e.message == "\n".join(problems) else [*lines_of(e.message), *problems]:
            _complain(line)
        return e.exit_status
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        # An answer of another shape than ours, of a daemon that is older or newer.
        if os.environ.get("ZOCALO_TRACEBACK"):
            raise
        what = f"{type(e).__name__}: {e}"
        _complain(f"the answer cannot be shown ({what}); compare `zocaloctl version`, or use --json")
        return 1


def _complain(message: str) -> None:
    try:  # noqa: SIM105 - to load contextlib takes 3 ms, and `status` needs it nowhere else
        sys.stdout.flush()
    except OSError:
        pass
    sys.stderr.write(f"zocaloctl: {clean(message)}\n")


def _run(arguments: list[str]) -> int:
    path, as_json, rest = _global_options(arguments)
    if not rest or rest[0] in ("-h", "--help", "help"):
        (sys.stdout if rest else sys.stderr).write(_usage())
        return 0 if rest else UsageError.exit_status
    if rest[0] == "--version":
        sys.stdout.write(f"zocaloctl {__version__}\n")
        return 0
    if rest[:2] == ["completion", "words"]:  # not by argparse: what is being typed is not to be obeyed
        from zocalo_daemon.client.completion import tell

        return tell(rest[2:], COMMANDS)
    command, rest = _command(rest)
    module = import_module("zocalo_daemon.client." + COMMANDS[command][0])
    function = command.replace(" ", "_").replace("-", "_")
    options = _options(command, module, function, rest)
    options.json = options.json or as_json
    with Connection(options.socket or path) as daemon:
        status: int = getattr(module, function)(daemon, options)
    return status


def _options(command: str, module: ModuleType, function: str, rest: list[str]) -> Any:
    plain = getattr(module, function + "_plain", None)
    if plain is not None and not rest:  # most calls of `status`: argparse would take a fifth of the time
        return SimpleNamespace(**plain, socket=None, json=False)
    parser = _parser(command)
    getattr(module, function + "_options")(parser)
    return parser.parse_intermixed_args(rest)


def _global_options(arguments: list[str]) -> tuple[str | None, bool, list[str]]:
    """Return the socket, whether JSON is wanted, and what begins with the command."""
    path, as_json = None, False
    rest = list(arguments)
    while rest:
        name, has_value, value = rest[0].partition("=")
        if name == "--json" and not has_value:
            as_json = True
        elif name == "--socket" and (has_value or len(rest) > 1):
            path = value if has_value else rest.pop(1)
        elif name == "--socket":
            raise UsageError("--socket needs the path of a control socket")
        else:
            break
        del rest[0]
    return path, as_json, rest


def _command(rest: list[str]) -> tuple[str, list[str]]:
    """Return the command, of one word or two, and its arguments.

    Raises:
        UsageError: there is none of that name.
    """
    for words in (2, 1):
        name = " ".join(rest[:words])
        if name in COMMANDS:
            return name, rest[words:]
    group = [name for name in COMMANDS if name.startswith(rest[0] + " ")]
    if group:
        raise UsageError(f"say which: {', '.join(group)}")
    from difflib import get_close_matches

    close = get_close_matches(rest[0], COMMANDS, 1)
    hint = f"did you mean {close[0]}?" if close else "see zocaloctl --help"
    kind = "option" if rest[0].startswith("-") else "command"
    raise UsageError(f"no {kind} {rest[0]!r}; {hint}")


def _parser(command: str) -> argparse.ArgumentParser:
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise UsageError(f"{message}; see {self.prog} --help")

    def formatter(prog: str) -> argparse.HelpFormatter:
        # Told the width, it does not load shutil to find it: add_argument() makes one just to check itself.
        return argparse.HelpFormatter(prog, width=int(os.environ.get("COLUMNS") or 80) - 2)

    description = COMMANDS[command][1].capitalize() + "."
    parser = Parser(
        prog=f"zocaloctl {command}",
        description=description,
        allow_abbrev=False,
        formatter_class=formatter,
    )
    parser.add_argument("--socket", metavar="PATH", help="control socket of the daemon")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _usage() -> str:
    lines = [
        "usage: zocaloctl [--socket PATH] [--json] COMMAND ...",
        "",
        "Talks to zocalod, the daemon that runs Zocalo services.",
        "",
        *(f"  {name:<14}{summary}" for name, (_module, summary) in COMMANDS.items()),
        "",
        "A service is named as dispatcher, an instance as dispatcher/0; patterns ('spot*') and all work too.",
        "zocaloctl COMMAND --help tells more, zocaloctl(1) all.",
    ]
    return "\n".join(lines) + "\n"
