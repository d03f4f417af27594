"""The demo as a user runs it, on a smaller scan."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("dataquality")

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(120)
def test_the_demo_ends_well_and_every_image_has_its_result(tmp_path):
    output = tmp_path / "out"
    command = [sys.executable, str(ROOT / "examples" / "demo.py"), "--grid", "8x5", "--rate", "15"]
    # Not a terminal, as in CI.
    done = subprocess.run(
        [*command, "--output", str(output)],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "200"},
    )
    log = (output / "zocalod.log").read_text() if (output / "zocalod.log").exists() else ""
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{log}"
    numbers = [json.loads(line)["file-number"] for line in (output / "results.jsonl").open()]
    assert set(numbers) == set(range(1, 41))
    assert (output / "spots.png").read_bytes().startswith(b"\x89PNG")
    assert done.stdout.count("replaced by") == 2
    assert "40 images, 0 missing" in done.stdout
    assert str(output / "spots.png") in done.stdout
    assert "spotcounter/2" in done.stdout
