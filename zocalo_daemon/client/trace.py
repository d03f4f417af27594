"""zocaloctl trace: which nodes of a recipe have run on this host, and what became of them."""

from __future__ import annotations

import sys
import time

from zocalo_daemon.client import output
from zocalo_daemon.client.runs import FAILED, recipes_of, summary
from zocalo_daemon.client.table import clean, duration, paint, table, table_with_notes
from zocalo_daemon.errors import UsageError, ZocaloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from typing import Any

    from zocalo_daemon.client.connection import Connection

    Known = dict[str, Any]

HEADING = (">NODE", "QUEUE", "INSTANCE", "BEGUN", ">TOOK", "OUTCOME", "WHY")
SPARE = ("QUEUE",)  # on a narrow terminal
RECIPES = ("RECIPE", "BEGUN", ">FOR", ">RUNS", ">FAILED", "STATE")
FEW = 3  # runs of a node that ended well, each with a row of its own; more share one
TIMEOUT = 60  # seconds; the files of the trail may have to be read from a slow disk


def trace_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `trace`."""
    parser.add_argument("recipe", nargs="?", metavar="RECIPE_ID", help="or its first characters, 3 or more")
    parser.add_argument("-a", "--all", action="store_true", help="a row for each run that ended well, too")
    parser.add_argument(
        "-n", "--limit", type=int, default=20, metavar="N", help="without ID: the N latest (20)"
    )


def trace(daemon: Connection, options: Namespace) -> int:
    """Show where a recipe is, or list the latest ones."""
    if options.limit < 1:
        raise UsageError("--limit must be 1 or more")
    wanted = (options.recipe or "").strip()
    if options.recipe is not None and not wanted:
        raise UsageError("RECIPE_ID must not be empty")
    answer = daemon.call("trace", {"recipe": wanted}, TIMEOUT)
    found = [summary(name, lines) for name, lines in recipes_of(answer["lines"]).items()]
    if not wanted:
        return _list(found[-options.limit :][::-1], answer, options.json)
    if answer["matching"] > 1:
        more = "" if answer["matching"] == len(answer["recipes"]) else ", and others"
        raise UsageError(f"several recipes begin with {clean(wanted)}: {', '.join(answer['recipes'])}{more}")
    if not found:
        raise ZocaloError(f"no node of this recipe ran here; {reach(answer)}")
    if options.json:
        about = {key: answer[key] for key in ("host", "since", "left_out")}
        sys.stdout.write(output.json_text({**found[0], **about}))
        return 0
    lines = render(found[0], answer, output.terminal_columns(), colour=output.use_colour(), every=options.all)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _list(found: list[Known], answer: Known, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(output.json_text({**_about(answer), "recipes": found}))
        return 0
    rows = [
        [
            one["recipe"],
            _clock(one["begun"]),
            _passed(_until(one, answer) - one["begun"]),
            len(one["runs"]),
            sum(run["outcome"] in FAILED for run in one["runs"]) or None,
            one["state"],
        ]
        for one in found
    ]
    lines = table(RECIPES, rows, output.terminal_columns(), output.use_colour()) if rows else ["no recipes"]
    sys.stdout.write("\n".join([*lines, "", *_reach(answer)]) + "\n")
    return 0


def _about(answer: Known) -> Known:
    return {key: answer[key] for key in ("host", "since", "left_out")}


def reach(answer: Known) -> str:
    """Return whose record it is, and how far it goes back."""
    host, since = clean(answer["host"]), answer["since"]
    if not answer["size"]:
        return f"the daemon of {host} keeps no record (`trail: 0` in zocalod.yaml)"
    if since is None:
        return f"the record of {host} is empty; other hosts have their own"
    return f"the record of {host} goes back to {_clock(since)}; other hosts have their own"


def render(one: Known, answer: Known, columns: int | None, *, colour: bool, every: bool) -> list[str]:
    """Return the lines about a recipe.

    Args:
        columns: of the terminal, None for none.
        every: whether each run that ended well has a row.
    """
    spent = _passed(_until(one, answer) - one["begun"])
    head = f"recipe {clean(one['recipe'])}: {one['state']}"
    lines = [paint(head, "bold") if colour else head]
    until = "now" if _goes_on(one) else "its last sign"
    lines.append(f"begun {_clock(one['begun'])}, {_counts(one)}, {spent} until {until}")
    rows = [*_starts(one), *_rows(one["runs"], every=every), *_waiting(one)]
    lines += ["", *table_with_notes(HEADING, rows, columns, colour, SPARE), ""]
    if answer["left_out"]:
        lines.append(f"The oldest {answer['left_out']} lines about it are left out.")
    return [*lines, *_reach(answer)]


def _reach(answer: Known) -> list[str]:
    parts = reach(answer).split("; ")
    return [f"{part[:1].upper()}{part[1:]}." for part in parts]


def _goes_on(one: Known) -> bool:
    return bool(one["state"] in ("running", "waiting"))


def _until(one: Known, answer: Known) -> int:
    return int(answer["now"] if _goes_on(one) else one["last"])


def _counts(one: Known) -> str:
    runs = one["runs"]
    parts = [f"{len(runs)} run{'' if len(runs) == 1 else 's'} of {len({run['node'] for run in runs})} nodes"]
    failed = sum(run["outcome"] in FAILED for run in runs)
    parts += [f"{failed} failed"] if failed else []
    return ", ".join(parts)


def _starts(one: Known) -> Iterator[list[object]]:
    """Yield who has started the recipe, or sent something for it from outside of its nodes."""
    by: dict[str, list[Known]] = {}
    for start in one["starts"]:
        by.setdefault(start["instance"], []).append(start)
    for instance, starts in by.items():
        nodes = ", ".join(dict.fromkeys(start["node"] for start in starts))
        yield [None, None, instance, _time(starts[0]["time"]), None, "sent", f"to node {nodes}"]


def _rows(runs: list[Known], *, every: bool) -> Iterator[list[object]]:
    """Yield a row for each run, but one for all of a node that ended well if they are many."""
    well: dict[tuple[str, str], list[Known]] = {}
    for run in runs:
        if run["outcome"] == "done" and not run["then"] and not run["detail"]:
            well.setdefault((run["node"], _service(run)), []).append(run)
    shown = set()
    for run in runs:
        key = (run["node"], _service(run))
        together = well.get(key, [])
        if every or len(together) <= FEW or run not in together:
            outcome = " and ".join(filter(None, (run["outcome"], run["then"])))
            row = [run["node"], run["queue"], run["instance"], _time(run["begun"]), _passed(run["took"])]
            yield [*row, outcome, run["detail"] or None]
        elif key not in shown:
            shown.add(key)
            yield _together(together)


def _together(runs: list[Known]) -> list[object]:
    took = [run["took"] or 0 for run in runs]
    ended = max(run["begun"] + (run["took"] or 0) for run in runs)
    why = f"until {_time(ended)}, {_passed(sum(took) // len(took))} on average, {_passed(max(took))} at most"
    first = runs[0]
    row = [first["node"], first["queue"], _service(first), _time(first["begun"]), _passed(sum(took))]
    return [*row, f"done {len(runs)} times", why]


def _waiting(one: Known) -> Iterator[list[object]]:
    for node in one["waiting"]:
        count = f"{node['messages']} of {node['of']} messages" if node["of"] > 1 else "its message"
        who = f"sent by {node['by']} at {_time(node['sent'])}"
        why = f"{count} not begun here: in the queue, or with another host; {who}"
        yield [node["node"], node["queue"], None, None, None, "waiting", why]


def _service(run: Known) -> str:
    return str(run["instance"]).rpartition("/")[0]


def _clock(moment: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment / 1e6))


def _time(moment: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment / 1e6))


def _passed(spent: int | None) -> str | None:
    if spent is None:
        return None
    return f"{spent / 1000:.0f}ms" if spent < 1_000_000 else duration(spent / 1e6)
