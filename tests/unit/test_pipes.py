"""Log records on their way to the supervisor: complete, bounded, and always possible to send."""

import logging
import sys

import pytest

from zocalo_daemon.protocol import channel
from zocalo_daemon.worker.pipes import log_event


def record(message, *args, **extra):
    made = logging.LogRecord("site.spots", logging.WARNING, "f.py", 3, message, args, None)
    vars(made).update(extra)
    return made


def sent(made, dropped=0):
    return channel.decode(channel.encode(log_event(made, dropped)))


def test_fields():
    event = sent(record("%d spots", 7, recipe_ID="abc", workflows_exc_lineno=12, ok=None), dropped=3)
    assert event["event"] == "log"
    assert (event["level"], event["logger"], event["message"]) == (30, "site.spots", "7 spots")
    assert event["extra"] == {"recipe_ID": "abc", "workflows_exc_lineno": 12, "ok": None}
    assert event["dropped"] == 3


def test_the_traceback_is_part_of_the_message():
    try:
        raise KeyError("x")
    except KeyError:
        made = logging.LogRecord("a", 50, "f.py", 3, "it broke", (), sys.exc_info())
    logging.Formatter().format(made)
    assert sent(made)["message"].startswith("it broke\nTraceback")
    assert "KeyError: 'x'" in sent(made)["message"]


class Hostile:
    def __str__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value",
    [
        2**70,
        -(2**70),
        Hostile(),
        {(1, 2): [3]},
        "\ud800",
        b"\xff",
        float("nan"),
        "x" * 10**6,
        ["y" * 10**5] * 10,
    ],
    ids=lambda v: type(v).__name__,
)
def test_any_extra_value_can_be_sent(value):
    event = sent(record("text", field=value))
    assert isinstance(event["extra"]["field"], (str, float))


def test_bounds_hold_with_the_worst_record():
    made = record("é" * 10**6, **{f"f{i}" * 100: "ü" * 5000 for i in range(500)})
    made.exc_text = "é" * 10**6 + " why it failed"
    event = sent(made)
    assert "bytes left out" in event["message"]
    assert event["message"].endswith("why it failed")


def test_surrogates_in_the_message():
    assert "\\udcff" in sent(record("file \udcff"))["message"]
