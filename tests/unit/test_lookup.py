"""Names of services: entry points in full, in other case, as a beginning; errors that help."""

import sys
import types

import pytest
import workflows
from workflows.services.common_service import CommonService
from workflows.transport.common_transport import CommonTransport

from zocalo_daemon.errors import ConfigError
from zocalo_daemon.worker import lookup

NAMES = ["Dispatcher", "SampleConsumer", "SampleProducer", "SampleTxn", "SampleTxnProducer"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Dispatcher", "Dispatcher"),
        ("dispatcher", "Dispatcher"),
        ("Disp", "Dispatcher"),
        ("samplec", "SampleConsumer"),
        ("SampleTxn", "SampleTxn"),  # exact, though it begins another one
        ("sampletxn", "SampleTxn"),
    ],
)
def test_match(name, found):
    assert lookup.match(name, NAMES) == found


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Sample", "any of SampleConsumer, SampleProducer, SampleTxn, SampleTxnProducer"),
        ("Dispacher", "did you mean 'Dispatcher'?"),
        ("qqq", "no service class 'qqq'"),
        ("", "could be any of"),
    ],
)
def test_match_fails(name, part):
    with pytest.raises(ConfigError) as caught:
        lookup.match(name, NAMES)
    assert part in caught.value.message
    assert "\n" not in caught.value.message


def test_no_suggestion_when_nothing_is_near():
    with pytest.raises(ConfigError) as caught:
        lookup.match("qqq", NAMES)
    assert "did you mean" not in caught.value.message


@pytest.fixture
def module(monkeypatch):
    """A module of a service, without a file."""
    made = types.ModuleType("beamline_services")
    made.SpotFinder = type("SpotFinder", (CommonService,), {})
    made.Helper = type("Helper", (), {})
    made.Outer = types.SimpleNamespace(Inner=made.SpotFinder)
    monkeypatch.setitem(sys.modules, "beamline_services", made)
    return made


def test_load_by_path_and_by_entry_point(module):
    assert lookup.load("beamline_services:SpotFinder", {}) is module.SpotFinder
    assert lookup.load("spot", {"Spots": "beamline_services:SpotFinder"}) is module.SpotFinder
    assert lookup.load("Spots", {"Spots": "beamline_services:SpotFinder [extra]"}) is module.SpotFinder
    assert lookup.load("beamline_services:Outer.Inner", {}) is module.SpotFinder


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("beamline_services:SpotFnder", "no class 'SpotFnder'; did you mean 'SpotFinder'?"),
        ("beamline_services:Helper", "no subclass of workflows.services.common_service.CommonService"),
        ("beamline_services:__name__", "no subclass"),
        ("no_such_module_anywhere.x:Y", "no module 'no_such_module_anywhere'"),
        ("beamline_services.more:Y", "no module 'beamline_services.more'"),
    ],
)
def test_load_fails(module, spec, part):
    with pytest.raises(ConfigError) as caught:
        lookup.load(spec, {})
    assert part in caught.value.message
    assert "\n" not in caught.value.message


THEIRS = {
    "Dispatcher": "zocalo.service.dispatcher:Dispatcher",
    "Old": "zocalo_daemon.services.mailer:Mailer",
    # Left by an older version of ours.
    "Mailer": "zocalo_daemon.services.mailer:Mailer",
}


@pytest.mark.parametrize("name", ["Dispatcher", "dispatcher", "Disp"])
def test_own_services_win_and_that_is_said(name):
    assert lookup.load(name, THEIRS).__module__ == "zocalo_daemon.services.dispatcher"
    ours, theirs = lookup.OWN["Dispatcher"], THEIRS["Dispatcher"]
    assert lookup.hidden(name, THEIRS) == [
        f"class {name} is {ours}, and not {theirs} of the same name; write either in full"
    ]


@pytest.mark.parametrize(
    "spec", ["Mailer", "JSONLines", "Old", THEIRS["Dispatcher"], lookup.OWN["Dispatcher"]]
)
def test_nothing_is_said_of_what_is_clear(spec):
    assert lookup.hidden(spec, THEIRS) == []


def test_installed_is_what_entry_points_say(monkeypatch):
    point = types.SimpleNamespace(name="Spots", value="beamline:Spots")
    monkeypatch.setattr(
        lookup, "entry_points", lambda group: [point] if group == "workflows.services" else []
    )
    assert lookup.installed() == {"Spots": "beamline:Spots"}


def test_describe_is_one_bounded_line_with_the_place():
    try:
        raise ValueError("two\nlines " + "x" * 5000)
    except ValueError as e:
        text = lookup.describe(e)
    assert text.startswith("ValueError: two lines xxx")
    assert text.endswith("in test_describe_is_one_bounded_line_with_the_place)")
    assert len(text) < 600


def test_describe_names_the_line_of_the_service_and_not_of_its_transport():
    try:
        CommonTransport().subscription_callback(17)
    except workflows.Error as e:
        text = lookup.describe(e)
    assert text.endswith("in test_describe_names_the_line_of_the_service_and_not_of_its_transport)")


def test_describe_survives_a_broken_exception():
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    assert lookup.describe(Broken()) == "Broken: no text"
