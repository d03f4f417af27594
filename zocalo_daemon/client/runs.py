"""What the lines of the trail (protocol/trail.py) say about recipes: their runs, and what waits (pure)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Line = dict[str, Any]
    Run = dict[str, Any]

FAILED = ("rejected", "raised", "crashed", "cut", "dead-lettered")
# The message of a run with such an end comes again, to be another run.
_AGAIN = ("again", "raised", "crashed", "cut")


def recipes_of(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Return the lines of each recipe, the one that anything was noted of last standing last."""
    found: dict[str, list[Line]] = {}
    for line in _once(lines):
        known = found.pop(line["recipe"], [])
        known.append(line)
        found[line["recipe"]] = known
    return found


def _once(lines: Iterable[Line]) -> Iterator[Line]:
    """Yield each line once: what was saved by two processes, or while it was read, is there twice."""
    seen = set()
    for line in lines:
        key = tuple(line.values())
        if key not in seen:
            seen.add(key)
            yield line


def summary(name: str, lines: list[Line]) -> dict[str, Any]:
    """Return what is known of one recipe.

    A map: recipe, state (running, waiting, failed, done), begun and last (microseconds since the epoch),
    starts (messages of those who are no node themselves), runs, and waiting (nodes whose messages have not
    begun here).
    """
    runs = list(_runs(lines).values())
    starts = [
        {key: line[key] for key in ("time", "node", "instance", "pid", "queue")}
        for line in lines
        if line["kind"] == "sent"
    ]
    waiting = list(_waiting(starts, runs))
    return {
        "recipe": name,
        "state": _state(runs, waiting),
        "begun": min(line["time"] for line in lines),
        "last": max(line["time"] + (line["took"] or 0) for line in lines),
        "starts": starts,
        "runs": runs,
        "waiting": waiting,
    }


def _runs(lines: list[Line]) -> dict[tuple[int, ...], Run]:
    runs: dict[tuple[int, ...], Run] = {}
    for line in lines:
        kind, delivery = line["kind"], line["delivery"]
        if kind == "sent":
            continue
        key = (line["pid"], delivery) if delivery else (line["pid"], 0, line["time"])
        known = runs.get(key)
        if known is None:
            runs[key] = _run(line)
        elif kind != "running":
            _go_on(known, line)
    return dict(sorted(runs.items(), key=lambda item: item[1]["begun"]))


def _run(line: Line) -> Run:
    """Return the run of its first line; of one whose beginning is lost, that is when it was settled."""
    outcome = "running" if line["kind"] == "running" else line["outcome"]
    run = {key: line[key] for key in ("node", "instance", "pid", "delivery", "queue", "took", "detail")}
    return {**run, "begun": line["time"], "outcome": outcome, "then": "", "sent": list(_sent(line["sent"]))}


def _sent(column: str) -> Iterator[dict[str, Any]]:
    """Yield what a run has sent: node, queue, messages."""
    for part in column.split():
        node, _, rest = part.partition("=")
        queue, _, count = rest.rpartition("*")
        yield {"node": node, "queue": queue, "messages": int(count) if count.isdigit() else 1}


def _go_on(run: Run, line: Line) -> None:
    """A run has ended, or is settled: what is known of it becomes more."""
    if run["outcome"] in ("held", "running"):
        run["outcome"] = line["outcome"]
    elif line["kind"] == "died":  # the exception that it has raised is in the detail of its crash, too
        run["outcome"], run["detail"] = line["outcome"], ""
    else:
        run["then"] = line["outcome"]
    if not run["detail"].startswith("report "):  # which says more than that it was one of too many
        run["detail"] = "; ".join(text for text in (run["detail"], line["detail"]) if text)
    run["took"] = run["took"] if run["took"] is not None else line["took"]


def _waiting(starts: list[Line], runs: list[Run]) -> Iterator[dict[str, Any]]:
    """Yield the nodes that messages were sent to which have not begun here, or have to begin once more."""
    left: dict[tuple[str, str], list[Any]] = {}  # messages, when the latest was sent, and by whom
    sent = [({**start, "messages": 1}, start["time"], start["instance"]) for start in starts]
    sent += [(one, run["begun"], run["instance"]) for run in runs for one in run["sent"]]
    for one, when, who in sent:
        count = left.get((one["node"], one["queue"]), [0])[0]
        left[one["node"], one["queue"]] = [count + one["messages"], when, who]
    for (node, queue), (count, when, who) in left.items():
        begun = sum(run["node"] == node and not _comes_again(run) for run in runs)
        if count > begun:
            about = {"node": node, "queue": queue, "messages": count - begun, "of": count}
            yield {**about, "sent": when, "by": who}


def _comes_again(run: Run) -> bool:
    return run["outcome"] in _AGAIN and run["then"] != "dead-lettered"


def _state(runs: list[Run], waiting: list[dict[str, Any]]) -> str:
    if any(run["outcome"] == "running" for run in runs):
        return "running"
    if waiting:
        return "waiting"
    return "failed" if any(run["outcome"] in FAILED and not _comes_again(run) for run in runs) else "done"
