"""The machines that the other tests here rely on."""

import pytest

from tests.systemd.machine import Machine


@pytest.fixture
def running(machine) -> Machine:
    return machine().start()


def test_it_is_a_systemd_of_its_own(running):
    assert running.run("cat", "/proc/1/comm").stdout == "systemd\n"
    assert running.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""
    assert running.run("cat", stdin="said").stdout == "said"
    assert running.run("false", check=False).returncode == 1
    with pytest.raises(AssertionError, match="no-such-unit"):
        running.run("systemctl", "start", "no-such-unit")


def test_a_power_cut_ends_every_process_and_no_file(running):
    running.run("systemd-run", "--unit=sleeper", "sleep", "1000")
    running.write("/etc/kept", "kept")
    groups = running._groups()
    running.power_cut()
    assert not any(group.exists() for group in groups)
    running.start()
    assert running.read("/etc/kept") == "kept"
    assert running.run("systemctl", "is-active", "sleeper", check=False).stdout == "inactive\n"


def test_a_shutdown_stops_units_first(running):
    unit = "[Service]\nExecStart=sleep 1000\nExecStop=touch /stopped\n"
    running.write("/etc/systemd/system/tidy.service", unit)
    running.run("systemctl", "start", "tidy")
    running.stop()
    assert (running.root / "stopped").exists()


def test_two_machines_know_nothing_of_each_other(machine, tmp_path):
    (tmp_path / "given").write_text("given")
    one, other = (machine({tmp_path / "given": "/srv/given"}).start() for _ in range(2))
    one.write("/etc/mine", "mine")
    assert not (other.root / "etc/mine").exists()
    assert other.read("/srv/given") == "given"
    one.power_cut()
    assert other.is_up()
