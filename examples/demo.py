"""A scan on one machine, measured by a simulated detector and analysed by services under zocalod.

Starts the daemon on its embedded broker, submits the recipe, writes images at detector pace, kills two
workers with SIGKILL on the way, and shows that every image was analysed all the same. `make demo` runs it.
Its exit status is not 0 if the result of any image is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataquality.grid import Grid
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

EXAMPLES = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
SITE = """\
version: 1
recipes:
  plugin: storage
  zocalo.recipe_directory: {recipes}
environments:
  default: [recipes]
"""
START_TIMEOUT, FINISH_TIMEOUT, STOP_TIMEOUT = 30.0, 45.0, 40.0  # seconds

console = Console(highlight=False)


class DemoFailed(Exception):
    """The demo cannot go on; its text says why."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What is measured, and where its files are."""

    grid: Grid
    rate: float
    output: Path

    @property
    def images(self) -> Path:
        """Return the directory that the detector writes into."""
        return self.output / "images"

    @property
    def plot(self) -> Path:
        """Return the plot's file."""
        return self.output / "spots.png"

    def prepare(self) -> None:
        """Make the directories, and remove what an earlier demo has left in them."""
        self.images.mkdir(parents=True, exist_ok=True)
        for pattern in ("images/scan_*.tif", "images/.scan_*.part", "results.jsonl", "spots.png"):
            for path in self.output.glob(pattern):
                path.unlink()

    def written(self) -> int:
        """Return how many images are there."""
        return sum(1 for _ in self.images.glob("scan_*.tif"))

    def results(self) -> list[dict[str, Any]]:
        """Return the results so far; a line that is being written does not count yet."""
        try:
            lines = (self.output / "results.jsonl").read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.endswith("\n")]


@dataclass(frozen=True, slots=True)
class Daemon:
    """The running daemon: its directory and its process."""

    directory: Path
    process: subprocess.Popen[bytes]

    def command(self, *args: str) -> list[str]:
        """Return the command line of zocaloctl."""
        return [str(BIN / "zocaloctl"), "--socket", str(self.directory / "zocalod.sock"), *args]

    def ctl(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run zocaloctl.

        Raises:
            DemoFailed: it failed, and `check` is set.
        """
        done = subprocess.run(self.command(*args), capture_output=True, text=True, check=False, timeout=60)
        if check and done.returncode:
            raise DemoFailed(f"zocaloctl {' '.join(args)} exits {done.returncode}: {done.stderr.strip()}")
        return done

    def show(self, *args: str) -> None:
        """Run zocaloctl for the reader, with the width and the colours of the terminal if it is one."""
        sys.stdout.flush()
        subprocess.run(self.command(*args), check=False, timeout=60)

    def instances(self, service: str) -> list[dict[str, Any]]:
        """Return the instances of a service as `zocaloctl --json status` gives them."""
        services = json.loads(self.ctl("--json", "status", service, check=False).stdout)["services"]
        return list(services[0]["instances"])


def stop(process: subprocess.Popen[bytes]) -> int:
    """End a process, politely at first, and return its exit status."""
    process.terminate()
    try:
        return process.wait(timeout=STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@contextlib.contextmanager
def daemon(log: Path) -> Iterator[Daemon]:
    """Run zocalod in a directory of its own, and stop it in the end."""
    directory = Path(tempfile.mkdtemp(prefix="zocalod-demo-"))
    shutil.copy(EXAMPLES / "zocalod.yaml", directory)
    (directory / "site.yaml").write_text(SITE.format(recipes=json.dumps(str(EXAMPLES / "recipes"))))
    with log.open("wb") as output:
        command = [str(BIN / "zocalod"), "--config", str(directory / "zocalod.yaml")]
        process = subprocess.Popen(  # a session of its own: Ctrl-C is ours to answer
            command, stdin=subprocess.DEVNULL, stderr=output, stdout=output, start_new_session=True
        )
    try:
        yield Daemon(directory, process)
        status = stop(process)
        console.print(f"[bold]zocalod[/] has stopped, exit status {status}")
        if status:
            raise DemoFailed(f"zocalod ended with {status}")
    finally:
        stop(process)
        shutil.rmtree(directory, ignore_errors=True)


def wait_for(what: str, condition: Callable[[], bool], timeout: float, running: Daemon) -> None:
    """Return once the condition holds.

    Raises:
        DemoFailed: it does not within `timeout` seconds, or the daemon has ended.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if running.process.poll() is not None:
            raise DemoFailed(f"zocalod ended with {running.process.returncode} while waiting for {what}")
        if time.monotonic() > deadline:
            raise DemoFailed(f"{what}: not within {timeout:.0f} s")
        time.sleep(0.05)


def settled(running: Daemon) -> bool:
    """Return whether no message is in anybody's hands any more."""
    transports = json.loads(running.ctl("--json", "status").stdout)["transports"]
    return not any(transport["unsettled"] for transport in transports)


def kill_worker(running: Daemon, service: str) -> None:
    """Kill a worker, one with a message in hand if there is one, and wait for its replacement."""
    instances = running.instances(service)
    victim = max(instances, key=lambda instance: instance["in_flight"])
    os.kill(victim["pid"], signal.SIGKILL)
    begin = time.monotonic()
    replacement: dict[str, Any] = {}

    def replaced() -> bool:
        found = next(i for i in running.instances(service) if i["id"] == victim["id"])
        replacement.update(found)
        return bool(found["state"] == "ready" and found["pid"] != victim["pid"])

    wait_for(f"a replacement of {victim['id']}", replaced, 20, running)
    milliseconds = 1e3 * (time.monotonic() - begin)
    console.print(
        f"[red]kill -9[/] {victim['pid']} ({victim['id']}, {victim['in_flight']} in hand): "
        f"[green]replaced[/] by {replacement['pid']}, ready at most {milliseconds:.0f} ms later",
        soft_wrap=True,
    )


def follow(running: Daemon, scan: Scan) -> None:
    """Show progress until all is there; kill a spot counter after a third of the scan, then the watcher."""
    total = scan.grid.size
    kills = [(total // 3, "spotcounter"), (2 * total // 3, "filewatcher")]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        measured = progress.add_task("measured", total=total)
        analysed = progress.add_task("analysed", total=total)

        def all_there() -> bool:
            written = scan.written()
            progress.update(measured, completed=written)
            progress.update(analysed, completed=len({r["file-number"] for r in scan.results()}))
            if kills and written >= kills[0][0]:
                kill_worker(running, kills.pop(0)[1])
            return bool(progress.finished and not kills and scan.plot.exists())

        wait_for("results and plot", all_there, total / scan.rate + FINISH_TIMEOUT, running)


def measure(running: Daemon, scan: Scan) -> None:
    """Submit the recipe, then let the detector write its images."""
    parameters = {
        "directory": scan.images,
        "images": scan.grid.size,
        "grid": f"{scan.grid.columns}x{scan.grid.rows}",
        "results": scan.output,
    }
    settings = [word for key, value in parameters.items() for word in ("-s", f"{key}={value}")]
    console.print("[bold]$[/] zocaloctl go -r dataquality -n", " ".join(settings), soft_wrap=True)
    running.ctl("go", "-r", "dataquality", "-n", *settings)
    grid = f"{scan.grid.columns}x{scan.grid.rows}"
    command = [sys.executable, "-m", "dataquality.simulate", "--grid", grid, "--rate", str(scan.rate)]
    detector = subprocess.Popen([*command, str(scan.images)], start_new_session=True)
    try:
        follow(running, scan)
    finally:
        stop(detector)


def report(scan: Scan) -> int:
    """Print the results by worker, and return how many images have none."""
    lines = scan.results()
    results = {result["file-number"]: result for result in lines}
    table = Table("worker (pid)", "images", "spots", "ms per image", box=None, header_style="bold")
    for worker, images in sorted(Counter(r["worker"] for r in results.values()).items()):
        own = [r for r in results.values() if r["worker"] == worker]
        milliseconds = 1e3 * sum(r["seconds"] for r in own) / images
        table.add_row(str(worker), str(images), str(sum(r["spots"] for r in own)), f"{milliseconds:.1f}")
    console.print(table)
    missing = sorted(set(range(1, scan.grid.size + 1)) - set(results))
    best = max(results.values(), key=lambda result: result["spots"])
    column, row = scan.grid.place(best["file-number"])
    console.print(
        f"[bold]{scan.grid.size}[/] images, [bold]{len(missing)}[/] missing, "
        f"{len(lines) - len(results)} twice; most spots: {best['spots']} on image {best['file-number']} "
        f"(column {column}, row {row})"
    )
    console.print(f"plot: [bold]{scan.plot}[/]", soft_wrap=True)
    return len(missing)


def all_ready(running: Daemon) -> bool:
    """Return whether every service that should run does."""
    return running.ctl("status", check=False).returncode == 0


def run(scan: Scan) -> int:
    """Run the demo and return its exit status."""
    scan.prepare()
    with daemon(scan.output / "zocalod.log") as running:
        begin = time.monotonic()
        wait_for("all services to run", lambda: all_ready(running), START_TIMEOUT, running)
        console.print(f"[bold]zocalod[/] runs, its services ready after {time.monotonic() - begin:.1f} s")
        measure(running, scan)
        missing = report(scan)
        wait_for("every message to be settled", lambda: settled(running), START_TIMEOUT, running)
        console.print("[bold]$[/] zocaloctl status")
        running.show("status")
    return 1 if missing else 0


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--grid", type=Grid.parse, default=Grid(20, 15), help="columns x rows (20x15)")
    parser.add_argument("--rate", type=float, default=20.0, help="images a second (20)")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="directory (demo-output)")
    args = parser.parse_args()
    output = args.output.resolve()
    try:
        return run(Scan(args.grid, args.rate, output))
    except DemoFailed as e:
        console.print(f"[red]failed[/]: {e}; see {output / 'zocalod.log'}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
