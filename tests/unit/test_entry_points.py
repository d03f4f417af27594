"""The names that sites write into their configuration (compatibility.md, 1: services, entry-point groups)."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from workflows.services.common_service import CommonService

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
SERVICES = PROJECT["entry-points"]["workflows.services"]


@pytest.mark.parametrize("name", ["Dispatcher", "JSONLines", "Mailer", "Schlockmeister", "Quarantine"])
def test_a_service_is_found_by_its_name(name: str) -> None:
    module, _, attribute = SERVICES[name].partition(":")
    assert issubclass(getattr(import_module(module), attribute), CommonService)
