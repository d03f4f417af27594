"""What the tests of packages look at: an installation in a machine, with services of a site."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.systemd.machine import Machine
from tests.waiting import wait_until

SERVICES = Path(__file__).with_name("services")  # to be bound to /srv/services
HOME = "/usr/lib/zocalo-daemon"
SITE = """
version: 1
runtimes: {default: {python_path: [/srv/services]}}
services:
  dispatcher: {class: Dispatcher}
  jsonlines: {class: JSONLines}
  source: {class: "flowing:Source"}
  sink: {class: "flowing:Sink", instances: 2}
  importer: {class: "flowing:Importer", environment: {queue: import}}
"""
RECIPE = json.dumps(
    {
        "1": {"queue": "jsonlines", "parameters": {"output_filename": "/var/lib/zocalo/lines"}},
        "start": [[1, {"said": "by a recipe"}]],
    }
)


def ctl(computer: Machine, *command: str) -> Any:
    """Return what a command tells as JSON."""
    done = computer.run("zocaloctl", "--json", *command, check=False)
    assert done.returncode in (0, 3), done.stderr  # 3: not everything runs
    return json.loads(done.stdout)


def pids(computer: Machine) -> dict[str, int]:
    """Return the pid of each instance."""
    return {i["id"]: i["pid"] for s in ctl(computer, "status")["services"] for i in s["instances"]}


def main_pid(computer: Machine) -> str:
    """Return the pid of the daemon, as systemd knows it."""
    return computer.run("systemctl", "show", "--property=MainPID", "--value", "zocalod").stdout


def is_ready(computer: Machine) -> bool:
    """Return whether all that should run does."""
    return computer.run("zocaloctl", "status", check=False).returncode == 0


def line_of_recipe(computer: Machine) -> str:
    """Run a recipe, and return the line that JSONLines has made of it."""
    computer.write("/etc/recipe.json", RECIPE)
    computer.run("zocaloctl", "go", "-n", "-f", "/etc/recipe.json")
    wait_until((computer.root / "var/lib/zocalo/lines").exists, "a line of the recipe")
    return computer.read("/var/lib/zocalo/lines")
