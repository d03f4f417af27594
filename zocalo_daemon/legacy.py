"""The commands of zocalo under their own names: takes their flags, and becomes the command of zocaloctl.

`zocaloctl legacy-commands DIR` writes the programs that call it. The connection to the broker is the
daemon's: a flag that names another broker is an error, for what it sends would go elsewhere than was said.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from zocalo_daemon.client import go, locations
from zocalo_daemon.client.connection import Connection
from zocalo_daemon.client.legacy import NAMES
from zocalo_daemon.client.main import COMMANDS
from zocalo_daemon.client.main import main as zocaloctl
from zocalo_daemon.client.recipe import check_file
from zocalo_daemon.errors import UsageError, ZocaloError
from zocalo_daemon.site import storage
from zocalo_daemon.site.load import load

DRIVERS = {"PikaTransport": "rabbitmq", "StompTransport": "activemq"}
CONNECTION = {
    "rabbit": ("host", "port", "user", "pass", "vhost", "conf"),
    "stomp": ("host", "port", "user", "pass", "prfx", "conf"),
}
OF_THEIR_OWN = {"wrap", "configure-rabbitmq"}  # take zocalo's flags themselves, and need no daemon
WITH_TRANSPORT = {"go", "pickup", "drain", "shutdown", "dlq check", "dlq purge", "dlq reinject"}
PURGE_LOCATION = "./DLQ"  # that of zocalo.dlq_purge if the site says none


def main(argv: list[str] | None = None) -> int:
    """Run the command of a name, which is the first argument, and return its exit status."""
    name, *arguments = sys.argv[1:] if argv is None else argv
    command = NAMES.get(name, "")
    if command not in COMMANDS:
        sys.stderr.write(f"{name}: there is no such command\n")
        return UsageError.exit_status
    if name.startswith("workflows."):
        return _validate(arguments)
    if command in OF_THEIR_OWN:
        return zocaloctl([*command.split(), *arguments])
    flags, rest = _common().parse_known_args(arguments)
    rest = ["--help" if one == "-?" else one for one in rest]
    try:
        _apply_site(flags)
        transport = _transport(flags) if command in WITH_TRANSPORT else []
        adapt = _ADAPT.get(command)
        rest = [*transport, *(adapt(rest, flags) if adapt else rest)]
    except ZocaloError as e:
        sys.stderr.write(f"{name}: {e.message}\n")
        return e.exit_status
    before, after = _go_lines(rest) if command == "go" else ("", "")
    sys.stdout.write(before)
    status = zocaloctl([*command.split(), *rest])
    sys.stdout.write("" if status else after)
    return status


def _common() -> argparse.ArgumentParser:
    """Return the flags that all commands of zocalo have."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-e", "--environment", action="append", default=[])
    parser.add_argument("-t", "--transport")
    for kind, parts in CONNECTION.items():
        for part in parts:
            parser.add_argument(f"--{kind}-{part}")
    return parser


# -- The site, and the daemon's transports


def _apply_site(flags: argparse.Namespace) -> None:
    """Work in the directories that the site configuration names, if there is one here.

    Raises:
        ZocaloError: it cannot be used.
    """
    flags.prefix = flags.stomp_prfx
    file = os.environ.get("ZOCALO_CONFIG")
    if not file:
        return
    for environment in flags.environment or [os.environ.get("ZOCALO_DEFAULT_ENV")]:
        data = load(Path(file), environment)
        for key, path in storage.locations(data).items():
            if key in locations.VARIABLES:
                os.environ[locations.VARIABLES[key]] = path
        active = (data["configurations"][e] for name in data["active"] for e in data["environments"][name])
        for one in active:
            if isinstance(one, dict) and one.get("plugin") == "stomp":
                flags.prefix = flags.prefix or one.get("prefix")


def _transport(flags: argparse.Namespace) -> list[str]:
    """Return the option for the daemon's transport that is meant.

    Raises:
        UsageError: the daemon has none of that driver, or not to that broker.
    """
    given = vars(flags)
    hosts = {kind: given[f"{kind}_host"] for kind in CONNECTION if given[f"{kind}_host"]}
    others = [f"--{kind}-{part}" for kind, parts in CONNECTION.items() for part in parts
              if part not in ("host", "prfx") and given[f"{kind}_{part}"]]  # fmt: skip
    if others:
        sys.stderr.write(f"{', '.join(others)}: the daemon's own settings count\n")
    if not flags.transport and not hosts:
        return []
    with Connection(None) as daemon:
        there = daemon.call("status").get("transports", ())
    return ["--transport", chosen(there, flags.transport, hosts)]


def chosen(there: list[dict[str, Any]], wanted: str | None, hosts: dict[str, str]) -> str:
    """Return the name of the transport that flags mean.

    Args:
        there: name, driver and host of each that the daemon has.
        wanted: as workflows calls it, or as the daemon does.
        hosts: comma list by kind of flag, for those that were given.

    Raises:
        UsageError: there is none.
    """
    driver = DRIVERS.get(wanted or "PikaTransport")
    found = [one for one in there if (one.get("driver") == driver if driver else one.get("name") == wanted)]
    if not found:
        names = ", ".join(f"{one.get('name')} ({one.get('driver')})" for one in there) or "none"
        raise UsageError(f"the daemon has no transport for {wanted or 'PikaTransport'}; it has {names}")
    kind = "stomp" if driver == "activemq" else "rabbit"
    if kind in hosts:
        wanted_hosts = {one.strip() for one in hosts[kind].split(",")}
        here = [one for one in found if str(one.get("host")).rpartition(":")[0] in wanted_hosts]
        if not here:
            used = ", ".join(str(one.get("host")) for one in found)
            raise UsageError(f"--{kind}-host {hosts[kind]}: the daemon is connected to {used}")
        found = here
    return str(found[0]["name"])


# -- What is different in single commands


class _Quiet(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _go_options(rest: list[str]) -> argparse.Namespace:
    parser = _Quiet(add_help=False, allow_abbrev=False)
    go.go_options(parser)
    return parser.parse_intermixed_args(rest)


def _go(rest: list[str], _flags: argparse.Namespace) -> list[str]:
    """Ignore an ID that is given although none is wanted."""
    with contextlib.suppress(UsageError):
        options = _go_options(rest)
        if options.no_dcid and options.dcid in rest:
            at = len(rest) - 1 - rest[::-1].index(options.dcid)
            return rest[:at] + rest[at + 1 :]
    return rest


def _go_lines(rest: list[str]) -> tuple[str, str]:
    """Return what zocalo.go prints before and after it sends; nothing for what zocaloctl refuses."""
    try:
        options = _go_options(rest)
        go.compose(options)
    except ZocaloError:
        return "", ""
    lines = [f"Running recipes {options.recipe}"] if options.recipe else []
    if options.file and not options.reprocessing:
        lines.append(f"Running recipe from file {options.file}")
    if options.no_dcid:
        lines.append("without specified data collection.")
    elif not options.reprocessing:
        lines.append(f"for data collection {int(options.dcid)}")
    done = f"Reprocessing task submitted for ID {options.dcid}." if options.reprocessing else "Submitted."
    return "".join(f"{line}\n" for line in lines), "" if options.dry_run else f"\n{done}\n"


def _check(rest: list[str], flags: argparse.Namespace) -> list[str]:
    """Leave out the namespace that all queues of the daemon have: it does not show it."""
    parser = _Quiet(add_help=False, allow_abbrev=False)
    parser.add_argument("-n", "--namespace")
    found, others = parser.parse_known_args(rest)
    return others if flags.prefix and found.namespace == flags.prefix.rstrip(".") else rest


def _purge(rest: list[str], flags: argparse.Namespace) -> list[str]:
    """Always write files; the queues of ActiveMQ are named with their namespace."""
    if flags.transport == "StompTransport" and flags.prefix:
        rest = [one.removeprefix(f"{flags.prefix.rstrip('.')}.") for one in rest]
    if any(one.partition("=")[0] == "--location" for one in rest):
        return rest
    return ["--location", os.environ.get(locations.VARIABLES[locations.PURGE]) or PURGE_LOCATION, *rest]


def _reinject(rest: list[str], flags: argparse.Namespace) -> list[str]:
    """Take every argument as a file, and without any the names on standard input.

    Raises:
        UsageError: there is no file.
    """
    made: list[str] = []
    named = False
    for before, one in zip(["", *rest], rest, strict=False):
        is_file = not one.startswith("-") and before not in ("-d", "--destination", "-w", "--wait")
        made.append(f"./{one}" if is_file and "/" not in one else one)
        named |= is_file
    if not named and "--help" not in rest:
        if sys.stdin.isatty():
            raise UsageError("No DLQ message files given.")
        made.append("-")
    return [*(["--prefix", f"{flags.prefix.rstrip('.')}."] if flags.prefix else []), *made]


def _validate(arguments: list[str]) -> int:
    """Say what is wrong with recipes, and nothing of those that are right."""
    parser = argparse.ArgumentParser(prog="workflows.validate_recipe")
    parser.add_argument("files", nargs="+", help="files to be checked")
    paths: list[str] = parser.parse_args(arguments).files
    found = {path: check_file(path) for path in paths}
    sys.stderr.writelines(f"{problem}\n" for problems in found.values() for problem in problems)
    failed = [path for path, problems in found.items() if problems]
    if failed:
        sys.stdout.write(f"Errors found in the following recipes: {failed}\n")
    return 1 if failed else 0


_ADAPT: dict[str, Callable[[list[str], argparse.Namespace], list[str]]] = {
    "go": _go,
    "dlq check": _check,
    "dlq purge": _purge,
    "dlq reinject": _reinject,
}

if __name__ == "__main__":
    sys.exit(main())
