"""zocalod installed into a machine from this checkout: units, commands, configuration; no package."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.systemd.machine import Machine
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
CHECKOUT, LIBRARIES = "/opt/zocalo/checkout", "/opt/zocalo/libraries"  # where it is read in the machine
COMMAND = """#!/usr/bin/python3
import sys
from zocalo_daemon.{module} import main
sys.argv[0] = "{name}"
sys.exit(main())
"""
PLACES = {
    "zocalo-daemon.sysusers": "/usr/lib/sysusers.d/zocalo-daemon.conf",
    "zocalo-daemon.tmpfiles": "/usr/lib/tmpfiles.d/zocalo-daemon.conf",
}


def binds() -> dict[Path, str]:
    """Return what the machine has to see of this one: the checkout, and the libraries that run the tests."""
    assert sys.version_info[:2] == (3, 11), "the Python of the machine is 3.11: run these tests with it"
    found = importlib.util.find_spec("msgpack")
    assert found
    assert found.origin
    return {ROOT: CHECKOUT, Path(found.origin).parents[1]: LIBRARIES}


def install(machine: Machine, services: dict[str, Any], **more: Any) -> None:
    """Put everything in its place in a machine that is off; `services` and `more` are its configuration."""
    path = f"{CHECKOUT}\n{LIBRARIES}\n{CHECKOUT}/tests/services\n"
    machine.write("/usr/local/lib/python3.11/dist-packages/zocalo.pth", path)
    for name, module in (("zocalod", "main"), ("zocaloctl", "client.main")):
        machine.write(f"/usr/bin/{name}", COMMAND.format(name=name, module=module), 0o755)
    for unit in (ROOT / "systemd").iterdir():
        if unit.suffix in (".service", ".socket"):
            machine.write(f"/usr/lib/systemd/system/{unit.name}", unit.read_bytes())
        elif unit.name in PLACES:
            machine.write(PLACES[unit.name], unit.read_bytes())
    configure(machine, services, **more)


def configure(
    machine: Machine, services: dict[str, Any], path: str = "/etc/zocalo/zocalod.yaml", **more: Any
) -> None:
    """Write the configuration."""
    machine.write(path, yaml.safe_dump({"version": 1, "services": services, **more}))


def drop_in(machine: Machine, text: str, unit: str = "zocalod.service") -> None:
    """Give a unit some lines more in its section [Service]."""
    machine.write(f"/etc/systemd/system/{unit}.d/test.conf", f"[Service]\n{text}")
    if machine.leader:
        machine.run("systemctl", "daemon-reload")


def status(machine: Machine, *options: str) -> dict[str, Any]:
    """Return the status document."""
    found: dict[str, Any] = json.loads(ctl(machine, *options, "--json", "status", check=False))
    return found


def ctl(machine: Machine, *args: str, check: bool = True) -> str:
    """Run zocaloctl and return what it has printed."""
    return machine.run("zocaloctl", *args, check=check).stdout


def instances(machine: Machine) -> dict[str, dict[str, Any]]:
    """Return every instance of the status document, by id."""
    return {one["id"]: one for service in status(machine)["services"] for one in service["instances"]}


def show(machine: Machine, name: str, unit: str = "zocalod.service") -> str:
    """Return a property of a unit."""
    return machine.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()


def wait_ready(machine: Machine) -> None:
    """Wait until every wanted instance is ready."""
    wait_until(lambda: machine.run("zocaloctl", "status", check=False).returncode == 0, timeout=60, every=0.1)
