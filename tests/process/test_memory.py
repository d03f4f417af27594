"""What an instance costs: the memory that a worker does not share, and what nobody needs to import."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemonkit import Daemon
from tests.process.standin import write_module

COUNT = 4
# KiB that a worker writes until it is ready; about a fifteenth more than measured (docs/performance.md).
# Every page counts: 50 workers and more have one each.
MOST_WRITTEN = 2650 if sys.version_info >= (3, 12) else 2980

WITNESS = """
import logging, os, sys
from workflows.services.common_service import CommonService

class Witness(CommonService):
    _logger_name = "witness.of.forks"
    def initializing(self):
        self.transport.subscribe("witness", lambda header, message: None)
        print("imported", *sorted(set(sys.modules) - BEFORE))
        print("made", *sorted(set(logging.root.manager.loggerDict) - LOGGERS))

def remember():
    global BEFORE, LOGGERS
    BEFORE, LOGGERS = set(sys.modules), set(logging.root.manager.loggerDict)

os.register_at_fork(before=remember)
"""


def written(pid: int) -> int:
    """Return the KiB of a process that it has written and nobody else sees (proc_pid_smaps(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))


@pytest.mark.skipif("coverage" in sys.modules, reason="a worker that is traced writes more")
def test_a_worker_writes_to_little_of_what_it_shares(tmp_path: Path) -> None:
    d = Daemon(tmp_path, {"sample": {"class": "SampleConsumer", "instances": COUNT}})
    try:
        pids = [instance["pid"] for instance in d.start().instances().values()]
        assert len(pids) == COUNT
        assert statistics.median(map(written, pids)) <= MOST_WRITTEN
    finally:
        d.close()


def test_a_worker_imports_nothing_and_makes_no_logger(tmp_path: Path) -> None:
    write_module(tmp_path, "witness", WITNESS)
    runtimes = {"default": {"python_path": [str(tmp_path)]}}
    d = Daemon(tmp_path, {"witness": {"class": "witness:Witness"}}, runtimes=runtimes)
    try:
        d.start()
        lines = {line.rpartition("] ")[2] or line for line in d.ctl("logs", "-n", "50").stdout.splitlines()}
        said = [line for line in lines if "imported" in line or "made" in line]
        assert len(said) == 2, lines
        assert all(line.endswith(("imported", "made")) for line in said), said
    finally:
        d.close()


def test_what_the_supervisor_does_not_need_it_does_not_import(tmp_path: Path) -> None:
    # dataclasses brings inspect and ast with it, shutil the libraries of three compressions: 1.5 MiB.
    d = Daemon(tmp_path, {})
    code = (
        "import sys\n"
        "from zocalo_daemon.main import main\n"
        "main()\n"
        "print(*sorted({'dataclasses', 'inspect', 'shutil', 'psutil', 'pika', 'stomp'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--config", str(d.config_file), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""
