"""What a package bundles, in CycloneDX 1.5, from the metadata of the wheels.

https://cyclonedx.org/docs/1.5/json/
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import source

OWN = "zocalo-daemon"
_CLASSIFIER = "License :: "


def licence(of: Distribution) -> str:
    """Return what a distribution says of its licence: an SPDX expression, or its own words."""
    about: Any = of.metadata  # an email.message.Message, says the documentation
    classifiers = [
        c.rpartition(" :: ")[2] for c in about.get_all("Classifier", []) if c.startswith(_CLASSIFIER)
    ]
    said = about.get("License-Expression") or about.get("License") or ", ".join(classifiers)
    assert said, f"{about['Name']} says nothing of its licence"
    return str(said).splitlines()[0]


def component(of: Distribution) -> dict[str, Any]:
    """Return a distribution as a component."""
    name, version = of.metadata["Name"].lower().replace(".", "-").replace("_", "-"), of.version
    said = licence(of)
    about: Any = of.metadata
    one = {"expression": said} if "License-Expression" in about else {"license": {"name": said}}
    purl = f"pkg:pypi/{name}@{version}"
    known = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    return {**known, "description": about.get("Summary", ""), "licenses": [one]}


def document(sites: list[Path]) -> dict[str, Any]:
    """Return the list of what is in some directories; what is the same in several stands there once."""
    found = {one["purl"]: one for one in _components(sites)}
    own = next(one for one in found.values() if one["name"] == OWN)
    made = datetime.datetime.fromtimestamp(source.epoch(), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": made, "component": {**own, "type": "application"}},
        "components": [found[purl] for purl in sorted(found) if found[purl] is not own],
    }


def _components(sites: list[Path]) -> Iterator[dict[str, Any]]:
    for site in sites:
        yield from (component(one) for one in distributions(path=[str(site)]))


def write(sites: list[Path], file: Path) -> None:
    """Write the list to a file."""
    file.write_text(json.dumps(document(sites), indent=1, ensure_ascii=False) + "\n")
