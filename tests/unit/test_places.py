"""Where files are, by user and environment."""

from pathlib import Path

import pytest

from zocalo_daemon.config.places import drop_ins, places

SYSTEM = Path("/etc/zocalo/zocalod.yaml")


def test_root_ignores_the_environment() -> None:
    found = places({"XDG_CONFIG_HOME": "/c", "XDG_RUNTIME_DIR": "/r", "XDG_STATE_HOME": "/s"}, 0)
    assert found.candidates == (SYSTEM,)
    assert (found.state_dir, found.socket) == (Path("/var/lib/zocalo"), Path("/run/zocalo/zocalod.sock"))


@pytest.mark.parametrize(
    ("environ", "config", "state", "socket"),
    [
        ({}, "/h/.config", "/h/.local/state", "/tmp/zocalo-7/zocalod.sock"),
        ({"TMPDIR": "/t"}, "/h/.config", "/h/.local/state", "/t/zocalo-7/zocalod.sock"),
        (
            {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"},
            "/c",
            "/s",
            "/r/zocalo/zocalod.sock",
        ),
        (
            {"XDG_CONFIG_HOME": "c", "XDG_STATE_HOME": "", "XDG_RUNTIME_DIR": "r"},
            "/h/.config",
            "/h/.local/state",
            "/tmp/zocalo-7/zocalod.sock",
        ),
    ],
)
def test_a_user(environ: dict[str, str], config: str, state: str, socket: str) -> None:
    found = places({"HOME": "/h"} | environ, 7)
    assert found.candidates == (Path(config) / "zocalo" / "zocalod.yaml", SYSTEM)
    assert (found.state_dir, found.socket) == (Path(state) / "zocalo", Path(socket))


@pytest.mark.parametrize("uid", [0, 7])
def test_a_unit_says_where_its_directories_are(uid: int) -> None:
    environ = {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "RUNTIME_DIRECTORY": "/run/a"}
    found = places({"HOME": "/h", **environ}, uid)
    assert (found.state_dir, found.socket) == (Path("/var/lib/a"), Path("/run/a/zocalod.sock"))
    assert found.candidates == places({"HOME": "/h"}, uid).candidates


def test_a_user_without_a_home() -> None:
    assert places({}, 2**31 - 7).home == Path("/")


def test_a_file_without_drop_ins(tmp_path: Path) -> None:
    assert drop_ins(tmp_path / "zocalod.yaml") == []
    (tmp_path / "zocalod.d").write_text("no directory")
    assert drop_ins(tmp_path / "zocalod.yaml") == []
