"""docs/first-service.md, as a reader follows it: every file is written, every command is run.

A command's output must hold, in order, the lines that the document shows. There, digits and hexadecimal
stand for any, `…` for anything, and spaces for one or more. What only looks (status, logs, …) is repeated
until it agrees, because workers do their work in their own time; the document's reader is slower.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "first-service.md"
PATIENCE = 20  # seconds for a command that only looks
LOOKING = ("zocaloctl status", "zocaloctl logs", "zocaloctl dlq list", "zocaloctl events", "cat ")
_BLOCK = re.compile(r"(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)```", re.DOTALL)


@dataclass
class Command:
    line: str
    output: list[str]


def blocks() -> Iterator[tuple[str | None, str, str]]:
    for match in _BLOCK.finditer(DOCUMENT.read_text()):
        yield match["file"], match["language"], match["text"]


def commands(text: str) -> list[Command]:
    result: list[Command] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            result.append(Command(line[2:], []))
        else:
            result[-1].output.append(line)
    return result


def pattern(line: str) -> str:
    """Return the regular expression of a documented line."""
    words = []
    for word in line.split():
        escaped = re.escape(word).replace("…", ".*")
        words.append(re.sub(r"[0-9a-f]*[0-9][0-9a-f]*", "[0-9a-f]+", escaped))
    return r"^\s*" + r"\s+".join(words) + r"\s*$"


def missing(expected: list[str], text: str) -> str | None:
    """Return the first documented line that the output lacks."""
    lines = iter(text.splitlines())
    for line in expected:
        if line.strip() and not any(re.search(pattern(line), found) for found in lines):
            return line
    return None


def bash(line: str, directory: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line],
        check=False,
        cwd=directory,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


def follow(command: Command, directory: Path, environ: dict[str, str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        done = bash(command.line, directory, environ)
        lacking = missing(command.output, done.stdout + done.stderr)
        agrees = lacking is None and done.returncode == 0
        if agrees or not command.line.startswith(LOOKING) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    shown = f"$ {command.line}\n{done.stdout}{done.stderr}(exit status {done.returncode})"
    assert agrees, f"{shown}\nthe document says: {lacking}"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for file, _, text in blocks():
        if file:
            (tmp_path / file).write_text(text)
    return tmp_path


@pytest.fixture
def environ(directory: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "ZOCALO_SOCKET": str(directory / "zocalod.sock")}


@pytest.fixture
def daemon(directory: Path, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (directory / "zocalod.log").open("wb") as log:
        command = [Path(sys.executable).with_name("zocalod"), "--config", "zocalod.yaml"]
        process = subprocess.Popen(command, cwd=directory, env=environ, stderr=log, stdout=log)
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


def test_the_document_is_true(
    directory: Path, environ: dict[str, str], daemon: subprocess.Popen[bytes]
) -> None:
    sessions = [commands(text) for _, language, text in blocks() if language == "console"]
    assert len(sessions) > 4
    try:
        for command in [command for session in sessions for command in session]:
            follow(command, directory, environ)
    except AssertionError as e:
        raise AssertionError(f"{e}\n{(directory / 'zocalod.log').read_text()}") from None
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(timeout=20) == 0
