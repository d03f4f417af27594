"""Secrets of plugin configurations are never shown."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from zocalo_daemon.site.secrets import Values, struck

CONFIGURATION = {
    "plugin": "slurm",
    "user": "u",
    "user_token": "t0ken!",
    "accounts": [{"password": "geheim"}],
    "secrets": {"a": "deep1", "b": ["deep2"]},
    "password": None,
    "api_key": 123456,
}


def test_a_repr_has_none() -> None:
    values = Values(CONFIGURATION)
    for shown in (repr(values), str(values), f"{values}", repr([values])):
        assert not any(secret in shown for secret in ("t0ken!", "geheim", "deep", "123456"))
        assert "'user': 'u'" in shown and "'password': None" in shown


def test_otherwise_it_is_a_dictionary() -> None:
    values = Values(CONFIGURATION)
    assert values == CONFIGURATION and isinstance(values, dict)
    assert json.loads(json.dumps(values)) == CONFIGURATION
    assert copy.deepcopy(values) == pickle.loads(pickle.dumps(values)) == CONFIGURATION
    assert {**values} == dict(values) == CONFIGURATION


@pytest.mark.parametrize("secret", ["t0ken!", "geheim", "deep1", "deep2", "123456"])
def test_text_without_them(secret: str) -> None:
    assert struck(f"bad value {secret!r}", CONFIGURATION) == "bad value '***'"


@pytest.mark.parametrize("configuration", [{}, {"password": "a"}, {"password": ""}, {"user": "text"}])
def test_other_text_stays(configuration: dict[str, Any]) -> None:
    assert struck("a text", configuration) == "a text"
