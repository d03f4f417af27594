"""Services that start processes of their own, in every way in which those can get out of sight."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from pathlib import Path

from workflows.services.common_service import CommonService

SLEEP = ["/bin/sleep", "600"]
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def forked_twice(program: list[str] | None) -> int:
    """Return the pid of a process with a session of its own and no parent; it runs on as a mere fork."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.closerange(0, 1000)
            if program:
                os.execv(program[0], program)
            while True:
                signal.pause()
        os.write(write, str(pid).encode())
        os._exit(0)
    os.close(write)
    pid = int(os.read(read, 20))
    os.close(read)
    os.wait()
    return pid


class Spawner(CommonService):
    """Starts one process of each kind when it starts; a file named after its pid says which they are."""

    _service_name = "Spawner"

    def initializing(self):
        pids = {
            "child": subprocess.Popen(SLEEP, **QUIET).pid,
            "session": subprocess.Popen(SLEEP, start_new_session=True, **QUIET).pid,
            "nohup": subprocess.Popen(["nohup", *SLEEP], process_group=0, **QUIET).pid,
            "daemon": forked_twice(SLEEP),
            "fork": forked_twice(None),
            # Without a mark, and yet in the worker's session, or with its standard output.
            "unmarked": subprocess.Popen(SLEEP, env={}, process_group=0, **QUIET).pid,
            "writer": subprocess.Popen(SLEEP, env={}, start_new_session=True).pid,
        }
        file = Path(self._environment["directory"]) / str(os.getpid())
        file.with_suffix(".new").write_text("\n".join(f"{kind} {pid}" for kind, pid in pids.items()))
        file.with_suffix(".new").rename(file)


class Hider(CommonService):
    """Starts a process that nothing connects with it; its file says which, and its own groups."""

    _service_name = "Hider"

    def __init__(self, *args, **kwargs):
        self.groups = Path("/proc/self/cgroup").read_text()
        super().__init__(*args, **kwargs)

    def initializing(self):
        hidden = subprocess.Popen(["setsid", "/usr/bin/env", "-i", *SLEEP], **QUIET).pid
        file = Path(self._environment["directory"]) / str(os.getpid())
        file.with_suffix(".new").write_text(f"{hidden}\n{self.groups}")
        file.with_suffix(".new").rename(file)


class Limited(CommonService):
    """Says what it may use in a file named after its pid."""

    _service_name = "Limited"

    def initializing(self):
        told = {
            "open_files": resource.getrlimit(resource.RLIMIT_NOFILE),
            "memory": resource.getrlimit(resource.RLIMIT_DATA),
            "groups": Path("/proc/self/cgroup").read_text(),
        }
        file = Path(self._environment["directory"]) / str(os.getpid())
        file.with_suffix(".new").write_text(json.dumps(told))
        file.with_suffix(".new").rename(file)
