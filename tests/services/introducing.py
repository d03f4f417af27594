"""A service that says whom and how it runs as."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
from workflows.services.common_service import CommonService


class Introducer(CommonService):
    """Writes down what the kernel says of it, and records messages beside that."""

    _service_name = "Introducer"

    def initializing(self):
        mask = os.umask(0)
        os.umask(mask)
        process = psutil.Process()
        priority = process.ionice()
        said = {
            "pid": os.getpid(),
            "users": sorted(set(os.getresuid())),
            "groups": sorted(set(os.getresgid())),
            "more": sorted(os.getgroups()),
            "umask": mask,
            "directory": str(Path.cwd()),
            "home": os.environ.get("HOME"),
            "nice": process.nice(),
            "ionice": [int(priority.ioclass), priority.value],
        }
        self.file = Path(self._environment["file"])
        self.file.with_suffix(".new").write_text(json.dumps(said))
        self.file.with_suffix(".new").rename(self.file)
        self.transport.subscribe("introduce", self.receive, acknowledgement=True)

    def receive(self, header, message):
        self.file.with_suffix(".message").write_text(str(message))
        self.transport.ack(header)
