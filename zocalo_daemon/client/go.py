"""zocaloctl go: composes the message that starts a recipe, as `zocalo.go` does, and submits it."""

from __future__ import annotations

import getpass
import json
import os
import sys

from zocalo_daemon.client import files, locations, output, submit
from zocalo_daemon.client.table import clean
from zocalo_daemon.errors import NotRunning, Unavailable, UsageError, ZocaloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from zocalo_daemon.client.connection import Connection

QUEUE = "processing_recipe"


def go_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `go`, which are those of `zocalo.go`."""
    add = parser.add_argument
    add("dcid", nargs="?", metavar="ID", help="data collection ID, or with -p reprocessing ID")
    add("-r", "--recipe", action="append", default=[], metavar="NAME", help="recipe; may be given again")
    add("-f", "--file", metavar="FILE", help="run the recipe in this file")
    add("-a", "--autoprocscalingid", type=int, metavar="ID", help="auto processing scaling ID")
    add("-n", "--no-dcid", action="store_true", help="run without a data collection ID")
    add("-p", "--reprocessing", action="store_true", help="the ID is that of a reprocessing request")
    add("-s", "--set", action="append", default=[], metavar="K=V", help="a parameter; may be given again")
    add("-v", "--verbose", action="store_true", help="print the message before sending it")
    add("--dry-run", action="store_true", help="check everything, send nothing")
    add("--drop", action="store_true", help="write a drop file instead of asking the daemon")
    add("--transport", metavar="NAME", help="of the pool; default: the daemon's default")
    add(
        "--drop-location",
        metavar="DIR",
        help="where drop files go, also when no daemon runs (default: $ZOCALO_GO_FALLBACK_LOCATION, else "
        "zocalo.go.fallback_location of the site)",
    )


def go(daemon: Connection, options: Namespace) -> int:
    """Submit a recipe."""
    message = compose(options)
    headers = {"zocalo.go.user": getpass.getuser(), "zocalo.go.host": os.uname().nodename}
    if options.verbose:
        sys.stderr.write(json.dumps(message, indent=2) + "\n")
    location = locations.find(daemon, locations.DROP, options.drop_location) if options.drop else None
    if options.drop and not location:
        raise UsageError("say where the drop file goes: --drop-location or ZOCALO_GO_FALLBACK_LOCATION")
    if options.dry_run:
        return _report(
            {"dry_run": True, "headers": headers, "message": message}, options, "not sent (dry run)"
        )
    if location:
        return _drop(message, headers, location, options)
    try:
        body = json.dumps(message).encode()
        where = {"queue": QUEUE, "transport": options.transport}
        value = submit.deliver(daemon, "send", {**where, "body": body, "headers": headers})
    except (NotRunning, Unavailable):
        location = locations.find(daemon, locations.DROP, options.drop_location)
        if not location:
            raise
        return _drop(message, headers, location, options)
    return _report(value, options, submit.said(value, f"queue {QUEUE}"))


def compose(options: Namespace) -> dict[str, Any]:
    """Return the message that the Dispatcher understands.

    Raises:
        UsageError: the arguments do not fit together.
        ZocaloError: the recipe file is none.
    """
    parameters: dict[str, Any] = dict(submit.pair(text, "--set") for text in options.set)
    message: dict[str, Any] = {"recipes": options.recipe, "parameters": parameters}
    if not options.recipe and not options.file and not options.reprocessing:
        raise UsageError("no recipe is given: name one with -r, or a file with -f")
    if options.file:
        message["custom_recipe"] = _recipe(options.file)
    if options.no_dcid:
        if options.dcid is not None:
            raise UsageError(f"--no-dcid and the ID {options.dcid} exclude each other")
    else:
        parameters["ispyb_process" if options.reprocessing else "ispyb_dcid"] = _positive(options.dcid)
    if options.autoprocscalingid is not None:
        parameters["ispyb_autoprocscalingid"] = _positive(options.autoprocscalingid)
    return message


def _positive(value: str | int | None) -> int:
    if value is None:
        raise UsageError("a data collection ID is needed, or --no-dcid")
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number <= 0:
        raise UsageError(f"{value!r} is no valid ID: it must be a positive number")
    return number


def _recipe(path: str) -> Any:
    """Return the recipe in a file.

    Raises:
        ZocaloError: it cannot be read or is not valid; says why.
    """
    from zocalo_daemon.client.recipe import check_file

    problems = check_file(path)
    if problems:
        raise ZocaloError(f"{path} is no valid recipe", {"problems": problems})
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _drop(message: dict[str, Any], headers: dict[str, str], location: str, options: Namespace) -> int:
    """Write a drop file; whoever picks it up never sees half of it."""
    from uuid import uuid4

    text = json.dumps({"headers": headers, "message": message}, indent=2) + "\n"
    try:
        name = files.write_new(location, str(uuid4()), text)
    except OSError as e:
        raise ZocaloError(f"the drop file cannot be written: {e}") from None
    return _report({"dropped": name}, options, f"stored in {name}")


def _report(value: Any, options: Namespace, text: str) -> int:
    sys.stdout.write(output.json_text(value) if options.json else clean(text) + "\n")
    return 0
