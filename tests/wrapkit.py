"""Recipe wrappers for tests: the file of a step, the command, and what arrives on its outputs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.daemonkit import COMMANDS, SERVICES
from zocalo_daemon.worker.transport import RelayTransport

OUTPUTS = (
    *("starting", "updates", "result-individual-file", "result-all-files"),
    *("custom", "success", "failure", "completed"),
)
RECIPE_ID = "0123-recipe"


def write_step(file: Path, prefix: str = "out", **parameters: Any) -> Path:
    """Write the recipe wrapper file of a step whose outputs go to queues `PREFIX.OUTPUT`."""
    numbers = {name: number for number, name in enumerate(OUTPUTS, 2)}
    step = {
        "queue": "cluster",
        "wrapper": {"task_information": "sample 7"},
        "job_parameters": parameters,
        "output": numbers,
    }
    recipe = {"start": [[1, {}]], "1": step}
    recipe |= {str(number): {"queue": f"{prefix}.{name}"} for name, number in numbers.items()}
    message = {
        "recipe": recipe,
        "recipe-pointer": 1,
        "recipe-path": [],
        "environment": {"ID": RECIPE_ID},
        "payload": {"from": "a service"},
    }
    file.write_text(json.dumps(message))
    return file


def command(*args: str) -> list[str]:
    """Return the command line of `zocaloctl wrap`."""
    return [str(COMMANDS / "zocaloctl"), "wrap", *args]


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which test jobs are found, and neither daemon nor site configuration."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("ZOCALO")}
    path = os.pathsep.join([str(SERVICES), known.pop("PYTHONPATH", "")])
    # Wherever this runs, no daemon of the machine must be found.
    return {**known, "PYTHONPATH": path, "ZOCALO_RELAY_SOCKET": "/nonexistent/relay.sock", **more}


def wrap(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a job to its end; `more` is for its environment."""
    return subprocess.run(
        command(*args), env=environment(**more), capture_output=True, text=True, timeout=60, check=False
    )


class Outputs:
    """Collects what arrives at the outputs of a step, in the order of arrival at each."""

    def __init__(self, transport: RelayTransport, prefix: str = "out") -> None:
        self.arrived: dict[str, list[Any]] = {}
        self.envelopes: list[tuple[dict, dict]] = []
        self.statuses: list[dict] = []
        for name in OUTPUTS:
            transport.subscribe(
                f"{prefix}.{name}", lambda header, message, n=name: self._take(n, header, message)
            )
        transport.subscribe_broadcast(
            "transient.status", lambda _header, message: self.statuses.append(message)
        )

    def _take(self, name: str, header: dict, message: dict) -> None:
        self.envelopes.append((header, message))
        self.arrived.setdefault(name, []).append(message["payload"])
