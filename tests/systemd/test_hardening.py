"""What docs/systemd.md says that a line in a drop-in costs."""

from __future__ import annotations

import re

from tests.systemd.checkout import ROOT, binds, ctl, drop_in, install, instances, show, status

ROW = re.compile(r"^\| .*?\| (`[A-Z].*?) \| (\d\.\d) \|$", re.MULTILINE)


def rows() -> list[tuple[str, str]]:
    """Return the lines of each drop-in, and the exposure that it is said to have."""
    found = ROW.findall((ROOT / "docs/systemd.md").read_text())
    return [("\n".join(re.findall(r"`([A-Z]\w+=[^`]*)`", keys)), exposure) for keys, exposure in found]


def test_drop_ins_have_the_exposure_that_is_said(machine):
    one = machine(binds())
    install(one, {})
    unit = (ROOT / "systemd/zocalod.service").read_text().partition("[Install]")[0]
    one.start()
    told, found = {}, {}
    for number, (keys, exposure) in enumerate(rows()):
        path = f"/run/test/zocalod-{number}.service"
        one.write(path, f"{unit}\n{keys}\n")
        said = one.run("systemd-analyze", "security", "--offline=yes", "--no-pager", path).stdout
        told[keys], found[keys] = exposure, said.rpartition("service: ")[2].split()[0]
    assert len(told) >= 7
    assert found == told


def test_services_reach_what_the_example_opens(machine):
    one = machine(binds())
    service = {"class": "trial:Recorder", "environment": {"queue": "in", "file": "/data/out"}}
    install(one, {"record": service})
    example = (ROOT / "systemd/example.conf").read_text()
    one.write("/etc/systemd/system/zocalod.service.d/site.conf", example)
    one.start()
    one.run("sh", "-c", "mkdir /data && systemd-sysusers && chown zocalo /data")
    one.run("systemctl", "start", "zocalod")
    for number in range(3):
        one.run("zocaloctl", "send", "in", str(number))
    one.run("zocaloctl", "stop", "record")
    assert one.read("/data/out") == "0\n1\n2\n"


def test_workers_of_another_user_run_under_a_daemon_of_root(machine):
    text = (ROOT / "docs/systemd.md").read_text().partition("### Services of several users")[2]
    one = machine(binds())
    more = {"user": "nobody", "nice": -5, "umask": "0077"}
    service = {"class": "trial:Recorder", "environment": {"queue": "in", "file": "/tmp/out"}, **more}
    install(one, {"record": service})
    drop_in(one, text.partition("[Service]\n")[2].partition("```")[0])
    one.start()
    one.run("systemctl", "start", "zocalod")
    pid = next(iter(instances(one).values()))["pid"]
    said = one.run(
        "sh", "-c", f"stat -c %U /proc/{pid}; sed 's/.*) //' /proc/{pid}/stat | cut -d' ' -f17"
    ).stdout
    assert said.split() == ["nobody", "-5"]
    ctl(one, "send", "in", "1")
    ctl(one, "stop", "record")
    file = f"/proc/{show(one, 'MainPID')}/root/tmp/out"
    assert one.run("stat", "-c", "%U %a", file).stdout == "nobody 600\n"
    one.run("systemctl", "stop", "zocalod.socket", "zocalod")
    assert show(one, "Result") == "success"


def test_limits_and_priorities_count_within_the_unit(machine):
    one = machine(binds())
    more = {"nice": 5, "ionice": "idle", "umask": "0077", "working_directory": "/var/lib/zocalo"}
    more["limits"] = {"open_files": 128, "memory": "512MiB"}
    service = {
        "class": "trial:Recorder",
        "environment": {"queue": "in", "file": "/var/lib/zocalo/out"},
        **more,
    }
    install(one, {"record": service})
    one.start()
    one.run("systemctl", "start", "zocalod")
    pid = instances(one)["record/0"]["pid"]
    limits = one.run("cat", f"/proc/{pid}/limits").stdout
    assert re.search(r"^Max open files +128 +128", limits, re.MULTILINE)
    if "memory" not in status(one)["daemon"]["control_groups"]["limits"]:  # else the group has it
        assert re.search(rf"^Max data size +{512 * 1024**2} ", limits, re.MULTILINE)
    assert one.run("sh", "-c", f"sed 's/.*) //' /proc/{pid}/stat | cut -d' ' -f17").stdout == "5\n"
    assert one.run("ionice", "-p", str(pid)).stdout == "idle\n"
    assert one.run("readlink", f"/proc/{pid}/cwd").stdout == "/var/lib/zocalo\n"
    assert "was not possible" not in one.run("zocaloctl", "logs", "record").stdout
