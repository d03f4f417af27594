"""Documents as a reader follows them: every file is written, every command is run.

A command's output must hold, in order, the lines that the document shows. There, digits and hexadecimal
stand for any, `…` for anything, and spaces for one or more. What only looks (status, logs, …) is repeated
until it agrees, because workers do their work in their own time; the document's reader is slower.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
PATIENCE = 20  # seconds for a command that only looks
LOOKING = (
    "zocaloctl status",
    "zocaloctl logs",
    "zocaloctl dlq list",
    "zocaloctl --json dlq list",
    "zocaloctl queues",
    "zocaloctl events",
    "cat ",
)
_BLOCK = re.compile(r"(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)```", re.DOTALL)


@dataclass
class Command:
    """A line that is typed, and what it prints."""

    line: str
    output: list[str]


def blocks(text: str) -> Iterator[tuple[str | None, str, str]]:
    """Yield the blocks of a document: file that it is, language, text."""
    for match in _BLOCK.finditer(text):
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


def environment(directory: Path) -> dict[str, str]:
    """Return the environment of a reader who works in a directory."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "ZOCALO_SOCKET": str(directory / "zocalod.sock")}


def try_out(text: str, directory: Path) -> None:
    """Write the files of a document, start its daemon, run its commands, and stop the daemon.

    Args:
        text: of the document.
        directory: an empty one.
    """
    for file, _, content in blocks(text):
        if file:
            (directory / file).parent.mkdir(exist_ok=True)
            (directory / file).write_text(content)
    sessions = [commands(content) for _, language, content in blocks(text) if language == "console"]
    assert sessions
    environ = environment(directory)
    with (directory / "zocalod.log").open("wb") as log:
        program = Path(sys.executable).with_name("zocalod")
        command = [program, "--config", "zocalod.yaml"]
        daemon = subprocess.Popen(command, cwd=directory, env=environ, stderr=log, stdout=log)
    try:
        bash("for i in $(seq 400); do zocaloctl status && break; sleep 0.05; done", directory, environ)
        for one in [one for session in sessions for one in session]:
            follow(one, directory, environ)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(timeout=20) == 0
    except AssertionError as e:
        raise AssertionError(f"{e}\n{(directory / 'zocalod.log').read_text()}") from None
    finally:
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait()
