"""The table of keys, the schema and the reference in docs/configuration.md say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from zocalo_daemon.config import fields, schema
from zocalo_daemon.config.changes import SERVICE_EFFECTS, SETTING_EFFECTS, TRANSPORT_EFFECTS, Effect
from zocalo_daemon.config.describe import show
from zocalo_daemon.config.walk import Section

REFERENCE = Path(__file__).parents[2] / "docs" / "configuration.md"
SECTIONS = {
    "Top level": fields.TOP,
    "control": fields.CONTROL,
    "control.roles": fields.ROLES,
    "control.roles.ROLE": fields.GRANT,
    "relay": fields.RELAY,
    "metrics": fields.METRICS,
    "log": fields.LOG,
    "transports.NAME": fields.TRANSPORT,
    "transports.NAME.tls": fields.TLS,
    "transports.NAME.management": fields.MANAGEMENT,
    "runtimes.NAME": fields.RUNTIME,
    "services.NAME": fields.SERVICE,
    "services.NAME.restart": fields.RESTART,
    "services.NAME.limits": fields.LIMITS,
}
SCHEMA = {
    "control": schema.ControlConfig,
    "control.roles.ROLE": schema.GrantConfig,
    "relay": schema.RelayConfig,
    "metrics": schema.MetricsConfig,
    "log": schema.LogConfig,
    "transports.NAME": schema.TransportConfig,
    "transports.NAME.tls": schema.TlsConfig,
    "transports.NAME.management": schema.ManagementConfig,
    "runtimes.NAME": schema.RuntimeConfig,
    "services.NAME": schema.ServiceConfig,
    "services.NAME.restart": schema.RestartConfig,
    "services.NAME.limits": schema.LimitsConfig,
}


def rows(section: str) -> dict[str, list[str]]:
    """Return the table of a section of the reference: takes, default, on reload, by key."""
    text = REFERENCE.read_text().split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:4]] for cells in lines}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_reference_names_every_key_in_order(section: str) -> None:
    assert list(rows(section)) == list(SECTIONS[section].fields)


@pytest.mark.parametrize("section", SCHEMA)
def test_every_attribute_has_a_key(section: str) -> None:
    attributes = {*SCHEMA[section].__fields__} - {"name"}
    assert {field.into or key for key, field in SECTIONS[section].fields.items()} == attributes


@pytest.mark.parametrize("section", sorted(set(SCHEMA) - {"control"}))
def test_the_reference_tells_the_defaults(section: str) -> None:
    attributes = {*SCHEMA[section].__fields__}
    required = {key for key, (_takes, told, _reload) in rows(section).items() if told == "required"}
    required |= {"name", "service_class"}  # the second one is called `class`
    defaults = SCHEMA[section](**dict.fromkeys(attributes & required, ""))
    for key, (_takes, told, _reload) in rows(section).items():
        field = SECTIONS[section].fields[key]
        value = getattr(defaults, field.into or key)
        if told == "required" or (isinstance(field.convert, Section) and value is not None):
            continue
        assert told.strip("`").replace('""', "") == show(key, value), key


def effect(section: str, key: str) -> Effect | None:
    if section == "Top level":
        return SETTING_EFFECTS.get(key)
    top = section.split(".", maxsplit=1)[0]
    if top in ("control", "relay", "metrics", "log"):
        return SETTING_EFFECTS["control.roles" if section.startswith("control.roles") else f"{top}.{key}"]
    whole = key if section.endswith("NAME") else section.rpartition(".")[2]
    if top == "transports":
        return TRANSPORT_EFFECTS.get(whole, Effect.RECONNECT)
    return SERVICE_EFFECTS.get(whole, Effect.RESTART) if top == "services" else Effect.RESTART


@pytest.mark.parametrize("section", SECTIONS)
def test_the_reference_tells_what_a_reload_does(section: str) -> None:
    for key, (_takes, _default, told) in rows(section).items():
        expected = effect(section, key)
        assert told == (expected.name.lower() if expected else ""), key


def test_the_limits_of_the_schema_are_those_of_the_table() -> None:
    choices = (*schema.DRIVERS, *schema.POLICIES, *schema.ROLES, *schema.CLIENTS)
    text = REFERENCE.read_text()
    assert all(f"`{word}`" in text for word in choices)
    assert tuple(fields.ROLES.fields) == schema.ROLES
