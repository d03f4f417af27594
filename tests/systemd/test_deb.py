"""The life of an installation, on one machine, in this order: used, upgraded, downgraded, removed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.systemd.installed import HOME, SERVICES, SITE, ctl, is_ready, line_of_recipe, main_pid, pids
from tests.systemd.machine import Machine
from tests.systemd.packages import rebuild
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(600)  # the first of them makes the packages

# A service in an environment of the site, which has what services need, and nothing of the daemon.
GUEST = """
version: 1
runtimes: {guest: {interpreter: /opt/site/bin/python, python_path: [/srv/services]}}
services:
  guest: {class: "flowing:Importer", runtime: guest, environment: {queue: import-guest}}
"""
INSTALL = ("dpkg", "--force-unsafe-io", "--install")  # without an fsync for each file
# Files are replaced, as dpkg does: they are the same as those of the code that runs.
BREAK = f"""
cd {HOME}/dist && rm BUILD && echo broken > BUILD && cd lib/python3.*/site-packages/zocalo_daemon &&
rm successor.py __pycache__/successor.* && echo 'x =' > successor.py
"""
MAKE_ENVIRONMENT = f"""
python3 -m venv --without-pip /opt/site && cd /opt/site/lib/python3.*/site-packages &&
cp -r {HOME}/dist/lib/python3.*/site-packages/* . && rm -r zocalo_daemon*
"""
TIMES = """
import subprocess, sys, time
for _ in range(15):
    since = time.monotonic()
    subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
    print(time.monotonic() - since)
"""
# Files that come and go by themselves, and what dpkg and systemd remember of what was there.
UNSTABLE = (
    "/run",
    "/tmp",
    "/proc",
    "/sys",
    "/dev",
    "/srv",
    "/var/log",
    "/var/tmp",
    "/var/lib/systemd",
    "/var/lib/dpkg",
)


@pytest.fixture(scope="module")
def computer(bookworm, packages, tmp_path_factory) -> Iterator[Machine]:
    """A machine with two versions of the package at hand, of which none is installed yet."""
    at_hand = tmp_path_factory.mktemp("at-hand")
    (at_hand / "first.deb").write_bytes(packages["deb"].read_bytes())
    rebuild(packages["deb"], "0.9.0", at_hand).rename(at_hand / "second.deb")
    binds = {SERVICES: "/srv/services", at_hand: "/srv/packages"}
    made = Machine(bookworm, tmp_path_factory.mktemp("computer"), binds).start()
    yield made
    print(made.journal("-u", "zocalod", "-n", "60"))  # shown if a test fails
    made.close()


def files(computer: Machine) -> set[str]:
    prune = [word for path in UNSTABLE for word in ("-path", path, "-prune", "-o")]
    return set(computer.run("find", "/", *prune, "-print").stdout.splitlines())


def codes(computer: Machine) -> set[str]:
    return {
        line
        for line in computer.run("ls", HOME).stdout.split()
        if line not in ("activate", "current", "dist")
    }


def received(computer: Machine) -> list[int]:
    return [int(line) for line in computer.read("/var/lib/zocalo/received").splitlines()]


def imported(computer: Machine, queue: str, module: str) -> str:
    """Have a worker import a module that it has not imported so far; return where that was."""
    computer.run("rm", "-f", "/var/lib/zocalo/imported")
    computer.run("zocaloctl", "send", queue, json.dumps(module))
    file = computer.root / "var/lib/zocalo/imported"
    return json.loads(wait_until(lambda: file.exists() and file.read_text(), module))["file"]


@pytest.fixture(scope="module")
def before(computer) -> set[str]:
    return files(computer)


def test_installed_it_runs(computer, before):
    computer.run(*INSTALL, "/srv/packages/first.deb")
    wait_until(lambda: is_ready(computer), "ready")
    assert computer.run("systemctl", "is-enabled", "zocalod").stdout == "enabled\n"
    assert computer.run("dpkg", "--verify", "zocalo-daemon").stdout == ""
    size = computer.run("du", "-sk", HOME, "/usr/share/doc/zocalo-daemon").stdout
    assert sum(int(line.split()[0]) for line in size.splitlines()) < 60 * 1024


def test_it_runs_recipes_and_services_of_the_site(computer, before):
    computer.run("sh", "-c", MAKE_ENVIRONMENT)
    computer.write("/etc/zocalo/zocalod.d/site.yaml", SITE)
    computer.write("/etc/zocalo/zocalod.d/guest.yaml", GUEST)
    computer.run("systemctl", "reload", "zocalod")
    wait_until(lambda: "guest/0" in pids(computer) and is_ready(computer), "the services of the site")
    assert "by a recipe" in line_of_recipe(computer)


def test_workers_are_replaced_and_the_unit_restarts(computer, before):
    old = pids(computer)
    computer.run("sh", "-c", f"kill -9 {old['sink/1']}")
    wait_until(lambda: pids(computer)["sink/1"] not in (None, old["sink/1"]), "another worker")
    wait_until(lambda: is_ready(computer), "ready")
    main = main_pid(computer)
    computer.run("systemctl", "restart", "zocalod")
    wait_until(lambda: is_ready(computer), "ready")
    assert main_pid(computer) != main


def test_an_upgrade_under_load_loses_and_doubles_nothing_and_restarts_nobody(computer, before):
    old, main, (code,) = pids(computer), main_pid(computer), codes(computer)
    computer.run("rm", "-f", "/var/lib/zocalo/received")
    computer.run("touch", "/var/lib/zocalo/flow")
    wait_until(
        lambda: len(received(computer)) > 500 if (computer.root / "var/lib/zocalo/received").exists() else 0,
        "a flow",
    )
    since, first = time.monotonic(), len(received(computer))
    computer.run(*INSTALL, "/srv/packages/second.deb")
    assert ctl(computer, "version")["daemon"]["version"] == "0.9.0"
    wait_until(
        lambda: "relay" in {e["id"] for e in ctl(computer, "events", "-n", "100") if e["event"] == "renewed"},
        "a new relay",
    )
    until = len(received(computer)) + 1000
    wait_until(lambda: len(received(computer)) > until, "the flow goes on")
    rate = (len(received(computer)) - first) / (time.monotonic() - since)
    computer.run("rm", "/var/lib/zocalo/flow")
    wait_until(lambda: len(received(computer)) == int(computer.read("/var/lib/zocalo/sent")), "the last one")
    assert sorted(received(computer)) == list(range(len(received(computer))))
    assert pids(computer) == old
    assert main_pid(computer) == main
    print(f"upgrade under {rate:.0f} messages a second")
    assert rate > 250  # 500 on a machine that has nothing else to do
    # Old workers find what they import late, and that is the code of before.
    assert code in codes(computer)
    for queue in ("import", "import-guest"):
        assert imported(computer, queue, "zocalo_daemon.services.mailer").startswith(f"{HOME}/{code}/")


def test_a_downgrade_is_an_upgrade_and_old_code_goes_once_nobody_needs_it(computer, before):
    computer.run("zocaloctl", "restart", "all")
    old, main = pids(computer), main_pid(computer)
    computer.run(*INSTALL, "/srv/packages/first.deb")
    assert ctl(computer, "version")["daemon"]["version"] != "0.9.0"
    assert (pids(computer), main_pid(computer)) == (old, main)
    assert len(codes(computer)) == 2
    (newer,) = codes(computer) - {computer.run("readlink", f"{HOME}/current").stdout.strip()}
    services = [name.partition("/")[0] for name in old if name != "guest/0"]
    computer.run("zocaloctl", "restart", *services)
    computer.run(f"{HOME}/activate", "install")
    assert newer in codes(computer)  # for the guest alone, whose interpreter has nothing of it mapped
    computer.run("zocaloctl", "restart", "guest")
    computer.run(f"{HOME}/activate", "install")
    assert newer not in codes(computer)


def test_code_that_cannot_take_over_leaves_the_old_one_at_work(computer, before):
    old, main = pids(computer), main_pid(computer)
    computer.run("sh", "-c", BREAK)
    said = computer.run(f"{HOME}/activate", "install", "5").stderr
    assert f"zocalod (pid {main.strip()}) goes on with the code of before" in said
    assert "SyntaxError" in computer.run("zocaloctl", "events", "-n", "20").stdout
    assert (pids(computer), main_pid(computer)) == (old, main)
    assert len(codes(computer)) == 2
    computer.run(*INSTALL, "/srv/packages/first.deb")
    assert len(codes(computer)) == 1
    assert (pids(computer), main_pid(computer)) == (old, main)


def test_what_an_operator_has_stopped_stays_so_at_an_upgrade(computer, before):
    computer.run("systemctl", "stop", "zocalod")
    computer.run(*INSTALL, "/srv/packages/second.deb")
    assert computer.run("systemctl", "is-active", "zocalod", check=False).stdout == "inactive\n"
    computer.run("systemctl", "start", "zocalod")
    wait_until(lambda: is_ready(computer), "ready")


def test_the_command_starts_fast(computer, before):
    def seconds(*command: str) -> float:
        out = computer.run("python3", "-c", TIMES, *command).stdout
        return min(float(line) for line in out.split())

    ratio = seconds("zocaloctl", "status") / seconds("python3", "-c", "pass")
    print(f"zocaloctl status takes {ratio:.2f} times as long as python3 -c pass")
    assert ratio < 3.5


def test_removed_it_leaves_its_configuration_and_purged_nothing(computer, before):
    computer.run("dpkg", "--remove", "zocalo-daemon")
    assert computer.run("sh", "-c", "cat /proc/[0-9]*/comm | grep zocalo", check=False).stdout == ""
    left = files(computer) - before
    assert "/etc/zocalo/zocalod.yaml" in left
    assert not [path for path in left if path.startswith("/usr/")]
    computer.run("dpkg", "--purge", "zocalo-daemon")
    own = ("/etc/zocalo/zocalod.d", "/etc/recipe.json", "/opt/site")  # of this test
    kept = {path for path in files(computer) - before if not path.startswith(own)}
    # The user stays, and so do the copies of those files that tools make before they change them.
    users = {"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/.pwd.lock"}
    assert kept <= {"/etc/zocalo", *users}
    assert computer.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""
