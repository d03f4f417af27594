"""Workers that have done enough are replaced under load: nothing lost, always one ready, one at a time."""

from __future__ import annotations

import contextlib

from tests.controlkit import Control
from tests.waiting import wait_until


def eater(file, mebibytes, seconds, **more):
    environment = {"file": str(file), "mebibytes": mebibytes, "seconds": seconds}
    return {"eater": {"class": "hanging:Eater", "environment": environment, **more}}


def recycled(d):
    with contextlib.closing(Control(d.socket)) as control:
        return [one["text"] for one in control.items("events", lines=500) if one["event"] == "recycled"]


def look(control):
    """Return how many instances are ready, and how many are being replaced."""
    instances = control.ask("status")["services"][0]["instances"]
    beside = [other["state"] for one in instances for other in one["beside"]]
    return sum(one["state"] == "ready" for one in instances), beside.count("starting")


def send(control, count):
    for number in range(count):
        control.ask("send", queue="eat", body=str(number).encode())


def handled(file):
    return [tuple(map(int, line.split())) for line in file.read_text().splitlines()] if file.exists() else []


def test_after_so_many_messages(daemon, tmp_path):
    file = tmp_path / "handled"
    d = daemon(eater(file, 0, 0.01, instances=2, max_messages=40)).start()
    seen = []
    with contextlib.closing(Control(d.socket)) as control:
        send(control, 300)
        wait_until(lambda: seen.append(look(control)) or len(handled(file)) >= 300, "all are handled")
    done = handled(file)
    assert sorted(number for _, number in done) == list(range(300)), "once each: a recycled worker finishes"
    texts = recycled(d)
    assert len(texts) >= 3, "300 messages, 40 each"
    assert all(36 <= int(text.split()[0]) <= 80 and text.endswith(" messages") for text in texts)
    assert len({pid for pid, _ in done}) >= 4
    assert min(ready for ready, _ in seen) >= 1, "never without an instance"
    assert max(starting for _, starting in seen) <= 1, "never both at once"
    assert all(one["restarts"] == 0 for one in d.instances().values()), "recycling is no death"


def test_after_so_much_memory(daemon, tmp_path):
    file = tmp_path / "handled"
    d = daemon(eater(file, 8, 0.05)).start()
    d.configure(eater(file, 8, 0.05, max_rss="150MiB"))
    d.ctl("reload")  # it counts for the worker that runs
    with contextlib.closing(Control(d.socket)) as control:
        send(control, 60)
    wait_until(lambda: len(handled(file)) >= 60, "all are handled")
    assert sorted(number for _, number in handled(file)) == list(range(60))
    texts = recycled(d)
    assert texts
    assert all(text.startswith("RSS ") and float(text.split()[1]) > 150 for text in texts)
