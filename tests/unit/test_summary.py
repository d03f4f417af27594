"""What --check prints."""

from pathlib import Path

from zocalo_daemon.config.load import load
from zocalo_daemon.config.summary import check_summary


def test_the_summary(tmp_path: Path) -> None:
    file = tmp_path / "zocalod.yaml"
    file.write_text("""\
version: 1
state_dir: /s
control: {socket: /r/z.sock}
transports: {rabbit: {driver: rabbitmq, hosts: [a:1, b], password: geheim, tls: {verify: false}}}
services: {one: {class: A, instances: 3}, two: {class: B}}
""")
    file.chmod(0o644)
    assert check_summary(load(file, {}, 0)).splitlines() == [
        f"files: {file}",
        "state: /s",
        "trail: up to 64MiB of recipes",
        "socket: /r/z.sock",
        "site: none",
        "transports: rabbit (rabbitmq at a:1 b:5671)",
        "runtimes: default",
        "services: 2 with 4 instances",
        "  one: 3 x A by rabbit",
        "  two: 1 x B by rabbit",
        "warning: transports.rabbit.tls.verify: false lets anybody play the broker",
        f"warning: {file} may hold a password and others can read it; chmod 600, or use password_file",
    ]


def test_the_summary_before_the_site_is_read(tmp_path: Path) -> None:
    file = tmp_path / "zocalod.yaml"
    file.write_text("version: 1\nsite: /site.yaml\n")
    lines = check_summary(load(file, {}, 0)).splitlines()
    assert "transports: as the site configuration says" in lines
    assert lines[-1] == "warning: no service is configured"


def test_keys_without_effect_are_told(tmp_path: Path) -> None:
    file = tmp_path / "zocalod.yaml"
    file.write_text(
        "version: 1\nservices: {a: {class: 'm:C', limits: {cpu: 50%}}}\ntransports: {embedded: {prefix: x}}\n"
    )
    told = [line for line in check_summary(load(file, {}, 0)).splitlines() if "no effect" in line]
    assert [line.split()[1] for line in told] == ["transports.embedded.prefix"]
