"""Which instances a person means."""

from __future__ import annotations

import time

import pytest

from tests.rosterkit import Script, service
from zocalo_daemon.control.targets import find, find_services, strings
from zocalo_daemon.errors import NoSuchService, UsageError


@pytest.fixture
def roster():
    return Script(
        service("spotfind", 3), service("spotcount", 2), service("index", 12), service("idle", 0)
    ).roster


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["spotcount"], ["spotcount/0", "spotcount/1"]),
        (["spotfind/1"], ["spotfind/1"]),
        (["spotcount", "spotfind/2"], ["spotfind/2", "spotcount/0", "spotcount/1"]),
        (["spot*/0"], ["spotfind/0", "spotcount/0"]),
        (["*/1"], ["spotfind/1", "spotcount/1", "index/1"]),
        (["index/1?"], ["index/10", "index/11"]),
        (["spotfind/[02]"], ["spotfind/0", "spotfind/2"]),
        (["spotcount/0", "spotcount", "spot*/0"], ["spotfind/0", "spotcount/0", "spotcount/1"]),
        (["index/2", "index/10"], ["index/2", "index/10"]),
    ],
)
def test_patterns(roster, patterns, found):
    assert find(roster, patterns) == found


def test_globs_of_services_and_all(roster):
    assert len(find(roster, ["spot*"])) == 5
    assert len(find(roster, ["all"])) == 17
    assert find(roster, []) == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("spotfnd", "no such service: spotfnd; did you mean spotfind?"),
        ("SPOTFIND", "no such service: SPOTFIND; zocaloctl status lists the services"),
        ("xyz*", "no service matches xyz*; zocaloctl status lists the services"),
        ("spotfind/7", "service spotfind has no instance 7; it has 3"),
        ("spotfind/01", "service spotfind has no instance 01; it has 3"),
        ("spotfind/", "service spotfind has no instance ; it has 3"),
        ("idle", "service idle has no instances; give it some: zocaloctl scale idle=1"),
        ("/0", "no such service: /0; zocaloctl status lists the services"),
        ("", "no such service: ; zocaloctl status lists the services"),
    ],
)
def test_what_names_nothing_is_explained(roster, pattern, text):
    with pytest.raises(NoSuchService) as caught:
        find(roster, ["spotcount", pattern])
    assert caught.value.message == text
    assert caught.value.data == {"pattern": pattern}


def test_all_of_nothing():
    with pytest.raises(NoSuchService, match="there are no services"):
        find(Script().roster, ["all"])
    with pytest.raises(NoSuchService, match="no service has an instance"):
        find(Script(service(instances=0)).roster, ["all"])


def test_services(roster):
    everything = ["spotfind", "spotcount", "index", "idle"]
    assert find_services(roster, []) == everything
    assert find_services(roster, ["all"]) == everything
    assert find_services(roster, ["i*", "spotcount"]) == ["spotcount", "index", "idle"]
    assert find_services(roster, ["index/11"]) == ["index"]
    assert find_services(roster, ["*/2"]) == ["spotfind", "index"]
    with pytest.raises(NoSuchService, match="did you mean index"):
        find_services(roster, ["indx"])
    with pytest.raises(NoSuchService, match="no instance 99"):
        find_services(roster, ["index/99"])
    assert find_services(Script().roster, ["all"]) == []


def test_strings():
    assert strings({}, "targets") == strings({"targets": None}, "targets") == []
    assert strings({"targets": ["a"]}, "targets") == ["a"]
    for wrong in ("a", [1], [b"a"], {"a": 1}, 0, ""):
        with pytest.raises(UsageError):
            strings({"targets": wrong}, "targets")


def test_thousands_of_names_are_no_burden():
    roster = Script(service(instances=2000)).roster
    names = [f"spot/{n}" for n in range(2000)]
    began = time.process_time()
    assert find(roster, names) == names
    assert time.process_time() - began < 0.5  # 10 ms; each compared with each takes seconds
