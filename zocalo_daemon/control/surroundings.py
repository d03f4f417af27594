"""What a status says of where its process runs: a service of the daemon, or a job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zocalo_daemon import __version__


def surroundings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what zocalo adds to a status: version, cluster job, container.

    Only what the environment says: zocalo asks the API of Kubernetes as well, which nothing here waits for.
    """
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - a reexec does without

    try:
        zocalo = version("zocalo")
    except PackageNotFoundError:
        zocalo = f"zocalo_daemon {__version__}"
    names = {
        "cluster_JOB_ID": "JOB_ID",
        "cluster_SGE_CELL": "SGE_CELL",
        "container_image": "ZOCALO_CONTAINER_IMAGE",
        "container_node": "ZOCALO_CONTAINER_NODE",
    }
    found = {field: environment[name] for field, name in names.items() if environment.get(name)}
    if "cluster_JOB_ID" not in found:
        found.pop("cluster_SGE_CELL", None)
    elif cell := _cell(environment.get("SGE_JOB_SPOOL_DIR", "")):
        found["cluster_SGE_CELL"] = cell
    return {"zocalo": zocalo, **found}


def _cell(spool: str) -> str:
    """Return the cell that the configuration of an SGE job names; its environment may name another."""
    try:
        lines = Path(spool, "config").read_text().splitlines() if spool else []
    except (OSError, ValueError):
        return ""
    return next((line[9:] for line in lines if line.upper().startswith("SGE_CELL=")), "")
