"""Nothing is decided by the wall clock: who reads it at all, and what for."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "zocalo_daemon"

# A new reader needs a reason that stands here: what a person reads, or what outlives the machine's start.
READERS = {
    "main.py": "log lines, for people",
    "daemon.py": "events, for people",
    "relay/main.py": "log lines of the relay, for people",
    "relay/server.py": "since when a transport is in its state, for people",
    "relay/spool.py": "delay and expiration count from the submission, over restarts: read once at the start",
    "client/status.py": "for how long a message has waited, for people",
    "client/saving.py": "when a letter became a file, for people",
    "brokers/embedded.py": "expiry survives a restart: read once at the start, the monotonic clock since",
    "brokers/memory.py": "when a letter died, for people",
    "brokers/activemq_broker.py": "when a letter died, for people",
    "brokers/activemq_settling.py": "when a letter died, for people",
    "brokers/rabbitmq_broker.py": "when a letter died, for people",
    "services/dispatcher.py": "ages of files that a recipe waits for",
    "services/mailer.py": "since when a mail is tried: it travels with its message, over hosts",
    "doctor/machine.py": "it examines the clock itself",
    "doctor/state.py": "it looks for files from the future",
    "supervision/autopsy.py": "when a worker began and ended, for people",
    "control/operations.py": "when somebody has stopped something, for people",
    "control/cluster.py": "when a broadcast command has stopped something, for people",
    "trail.py": "in the names of files, which outlive the machine's start",
    "worker/trail.py": "when a callback began, for people",
    "supervision/trail.py": "when a worker died, and for how long a callback runs, for people",
    "control/trace.py": "what time it is, for people",
    "successor.py": "log lines, for people",
}
WALL_CLOCK = {"time", "time_ns", "localtime", "gmtime", "now", "utcnow", "today"}
MODULES = {"time", "datetime", "date"}
# These take a time, so that none of them reads a clock.
TAKES_A_TIME = {"localtime", "gmtime"}


def reads(tree: ast.AST) -> int:
    """Return how often a module reads the wall clock, or passes on what does."""
    given = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args}
    return sum(
        isinstance(node, ast.Attribute)
        and node.attr in WALL_CLOCK
        and isinstance(node.value, ast.Name)
        and node.value.id in MODULES
        and not (node.attr in TAKES_A_TIME and id(node) in given)
        for node in ast.walk(tree)
    )


def test_who_reads_the_wall_clock():
    found = {str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py") if reads(ast.parse(p.read_text()))}
    assert found - set(READERS) == set()
    assert {"main.py", "daemon.py", "brokers/embedded.py"} <= found


def test_no_clock_is_imported_by_name():
    imported = [
        f"{path.relative_to(PACKAGE)}: {node.module}.{name.name}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        for name in node.names
    ]
    assert imported == []
