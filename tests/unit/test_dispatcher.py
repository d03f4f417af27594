"""The Dispatcher: its decisions, and what it does with a transport that only takes notes."""

from __future__ import annotations

import copy
import errno
import json
import logging
import time
from importlib.metadata import EntryPoint, EntryPoints
from types import SimpleNamespace
from typing import Any

import pytest
import workflows

from tests.unit.fake_transport import FakeTransport
from zocalo_daemon.services import dispatcher, logbook, recipes
from zocalo_daemon.services.dispatcher import Dispatcher
from zocalo_daemon.services.envelope import Rejected
from zocalo_daemon.services.request import Request, read_request, settle_readiness

RECIPE = {
    "1": {"queue": "first", "parameters": {"file": "{file}"}, "output": 2},
    "2": {"queue": "second"},
    "start": [[1, ["payload"]]],
}


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


def start(transport: FakeTransport, hooks: Any = None, filters: Any = None, **storage: Any) -> Dispatcher:
    """Return an initialised Dispatcher, with a site configuration if any storage key is given."""
    environment = {"config": SimpleNamespace(storage=storage or None)} if storage != {} else {}
    service = Dispatcher(environment=environment)
    service.transport = transport
    service.initializing()
    service._hooks.update(hooks or {})
    service._filters = {**(filters or {}), **service._filters}
    return service


def test_subscribes_acknowledged(transport: FakeTransport) -> None:
    start(transport)
    assert transport.subscribed["processing_recipe"]["acknowledgement"] is True


def test_custom_recipe_is_started_in_one_transaction_with_the_ack(transport: FakeTransport) -> None:
    start(transport)
    request = {"custom_recipe": RECIPE, "parameters": {"guid": "abc-1", "file": "x.h5"}}
    transport.deliver("processing_recipe", request)
    ((queue, message, options),) = transport.sent
    assert (queue, transport.acked, transport.nacked) == ("first", ["m1"], [])
    assert message["payload"] == ["payload"]
    assert message["recipe-pointer"] == 1
    assert message["environment"] == {"ID": "abc-1"}
    assert message["recipe"]["1"]["parameters"] == {"file": "x.h5"}
    assert options["headers"] == {"workflows-recipe": True}


def test_a_request_without_guid_gets_a_new_one_each_time(transport: FakeTransport) -> None:
    start(transport)
    for _ in range(2):
        transport.deliver("processing_recipe", {"custom_recipe": RECIPE})
    first, second = (message["environment"]["ID"] for _, message, _ in transport.sent)
    assert len(first) == 36
    assert first != second


def test_named_recipes_are_joined(transport: FakeTransport, tmp_path: Any) -> None:
    (tmp_path / "mx").mkdir()
    (tmp_path / "one.json").write_text(json.dumps(RECIPE))
    (tmp_path / "mx" / "two.json").write_text(json.dumps({"1": {"queue": "other"}, "start": [[1, []]]}))
    start(transport, **{"zocalo.recipe_directory": str(tmp_path)})
    transport.deliver("processing_recipe", {"recipes": ["one", "mx/two"], "parameters": {}})
    assert [queue for queue, _, _ in transport.sent] == ["first", "other"]
    assert transport.acked == ["m1"]


def test_a_recipe_inside_a_recipe_is_started(transport: FakeTransport) -> None:
    start(transport)
    envelope = {
        "recipe": {"1": {"queue": "processing_recipe"}, "start": [[1, []]]},
        "recipe-pointer": 1,
        "environment": {"ID": "outer"},
        "payload": {"custom_recipe": RECIPE, "parameters": {"guid": "inner"}},
    }
    transport.deliver("processing_recipe", envelope, {"workflows-recipe": "True"})
    assert transport.sent[0][1]["environment"] == {"ID": "inner"}


MALFORMED: dict[str, tuple[Any, str]] = {
    "list": ([1, 2], "a list"),
    "text": ("hello", "a text"),
    "bytes": (b"\xff\x00", "bytes"),
    "number": (7, "a number"),
    "none": (None, "nothing"),
    "empty": ({}, "no recipe"),
    "parameters": ({"parameters": ["a"]}, "parameters"),
    "parameters none": ({"parameters": None}, "parameters"),
    "guid": ({"parameters": {"guid": {"a": 1}}, "custom_recipe": RECIPE}, "guid"),
    "recipes text": ({"recipes": "abc"}, "list of names"),
    "recipes number": ({"recipes": [7]}, "a number"),
    "recipe without directory": ({"recipes": ["abc"]}, "zocalo.recipe_directory"),
    "custom text": ({"custom_recipe": "abc"}, "object"),
    "custom list": ({"custom_recipe": [1]}, "object"),
    "custom key": ({"custom_recipe": {"a": {}, "start": [[1, []]]}}, "not valid"),
    "custom node": ({"custom_recipe": {"1": 5, "start": [[1, []]]}}, "not valid"),
    "custom node text": ({"custom_recipe": {"1": "abc", "start": [[1, []]]}}, "object"),
    "custom start": ({"custom_recipe": {"1": {"queue": "a"}, "start": 5}}, "not valid"),
    "cycle": ({"custom_recipe": {"1": {"queue": "a", "output": 1}, "start": [[1, []]]}}, "circle: 1 -> 1"),
    "two problems": ({"custom_recipe": {"1": {"output": 2}, "start": 0}}, "no node 2; 1: nothing leads"),
    "missing node": ({"custom_recipe": {"1": {"queue": "a", "output": 2}, "start": [[1, []]]}}, "2"),
    "no queue": ({"custom_recipe": {"1": {}, "start": [[1, []]]}}, "neither queue nor topic"),
    "no queue downstream": (
        {"custom_recipe": {"1": {"queue": "a", "output": 2}, "2": {}, "start": [[1, []]]}},
        "node 2 of the recipe has neither",
    ),
    "bad parameter": ({"custom_recipe": {"1": {"queue": "{a[}"}, "start": [[1, []]]}}, "apply_parameters"),
    "queue of a wrong kind": ({"custom_recipe": {"1": {"queue": ["a"]}, "start": [[1, []]]}}, "queue"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_dead_lettered_and_the_service_goes_on(
    transport: FakeTransport, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    start(transport)
    message, reason = MALFORMED[name]
    transport.deliver("processing_recipe", message)
    assert (transport.nacked, transport.acked, transport.sent) == (["m1"], [], [])
    assert not transport.open
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert reason in record.getMessage()
    transport.deliver("processing_recipe", {"custom_recipe": RECIPE}, tag="m2")
    assert transport.acked == ["m2"]


def test_a_recipe_with_endless_paths_is_rejected_at_once(transport: FakeTransport) -> None:
    start(transport)
    ladder: dict[str, Any] = {str(n): {"queue": "q", "output": [n + 1] * 2} for n in range(1, 60)}
    recipe = {**ladder, "60": {"queue": "q"}, "start": [[1, 0]]}
    transport.deliver("processing_recipe", {"custom_recipe": recipe})
    assert transport.nacked == ["m1"]


@pytest.mark.parametrize("depth", [50, 200, 400, 900])
@pytest.mark.parametrize("where", ["parameters", "custom_recipe", "else", "output"])
def test_nothing_is_nested_too_deep_for_the_service(
    transport: FakeTransport, tmp_path: Any, where: str, depth: int
) -> None:
    start(transport, **{"zocalo.dispatcher.logbook_location": str(tmp_path)})
    deep: Any = 1
    for _ in range(depth):
        deep = {"a": deep}
    message = {"custom_recipe": {**RECIPE, "2": {"queue": "q"}}, "parameters": {}}
    if where == "output":
        message["custom_recipe"]["2"]["output"] = deep
    elif where == "else":
        message[where] = deep
    else:
        message[where]["x" if where == "parameters" else "1"] = deep
    transport.deliver("processing_recipe", message)
    assert len(transport.nacked) + len(transport.acked) == 1


def test_a_recipe_longer_than_workflows_can_walk_is_rejected(transport: FakeTransport) -> None:
    start(transport)
    chain: dict[str, Any] = {str(n): {"queue": "q", "output": n + 1} for n in range(1, 20_000)}
    recipe = {**chain, "20000": {"queue": "q"}, "start": [[1, 0]]}
    transport.deliver("processing_recipe", {"custom_recipe": recipe})
    assert transport.nacked == ["m1"]


BAD_ENVELOPES: list[Any] = [
    [],
    "text",
    {},
    {"recipe": {}},
    {"recipe": {"1": {}}, "recipe-pointer": 2},
    {"recipe": {"1": {}}, "recipe-pointer": "x"},
    {"recipe": [], "recipe-pointer": 1},
    {"recipe": {"1": "a"}, "recipe-pointer": 1},
    {"recipe": {"1": {}}, "recipe-pointer": 1, "environment": "x"},
    {"recipe": {"1": {}}, "recipe-pointer": 1},  # no payload
]


@pytest.mark.parametrize("envelope", BAD_ENVELOPES, ids=str)
def test_a_malformed_envelope_is_dead_lettered(transport: FakeTransport, envelope: Any) -> None:
    start(transport)
    transport.deliver("processing_recipe", envelope, {"workflows-recipe": "true"})
    assert transport.nacked == ["m1"]


@pytest.mark.parametrize("mark", [["x"], {"a": 1}, False, "no"])
def test_an_odd_header_is_no_recipe_mark(transport: FakeTransport, mark: Any) -> None:
    start(transport)
    transport.deliver("processing_recipe", {"custom_recipe": RECIPE}, {"workflows-recipe": mark})
    assert transport.acked == ["m1"]


def test_a_send_that_is_refused_rejects_the_request_and_leaves_nothing_half_done(
    transport: FakeTransport,
) -> None:
    start(transport)
    transport.refuse["first"] = workflows.Error("no such queue")
    transport.deliver("processing_recipe", {"custom_recipe": RECIPE})
    assert (transport.nacked, transport.acked, transport.sent, transport.open) == (["m1"], [], [], {})


def test_a_lost_connection_ends_the_service(transport: FakeTransport) -> None:
    start(transport)
    transport.refuse["first"] = workflows.Disconnected("gone")
    with pytest.raises(workflows.Disconnected):
        transport.deliver("processing_recipe", {"custom_recipe": RECIPE})
    assert transport.nacked == []


def test_node_zero_works_with_every_version_of_workflows(transport: FakeTransport) -> None:
    start(transport)
    recipe = {
        "0": {"queue": "first", "output": {"all": [1], "none": 1}},
        "1": {"queue": "second"},
        "start": [[0, 0]],
        "error": [0],
    }
    transport.deliver("processing_recipe", {"custom_recipe": recipe})
    ((queue, message, _),) = transport.sent
    assert (queue, message["recipe-pointer"], message["payload"]) == ("first", 2, 0)
    assert message["recipe"]["2"]["output"] == {"all": [1], "none": 1}
    assert message["recipe"]["error"] == [2]


# -- Readiness hooks


def test_not_ready_is_retried_until_its_time_is_up(transport: FakeTransport) -> None:
    start(transport, hooks={"db": lambda message, parameters: False})
    before = time.time()
    transport.deliver("processing_recipe", {"custom_recipe": RECIPE}, {"zocalo.go.user": "me", "other": 1})
    ((queue, message, options),) = transport.sent
    assert queue == "processing_recipe"
    assert options == {"delay": 2, "headers": {"zocalo.go.user": "me"}}
    assert message["parameters"]["dispatcher_expiration"] == pytest.approx(before + 120, abs=10)
    assert len(message["parameters"]["guid"]) == 36
    assert transport.acked == ["m1"]


def test_a_failing_hook_counts_as_not_ready(transport: FakeTransport) -> None:
    def broken(message: Any, parameters: Any) -> bool:
        raise ConnectionError("database is down")

    start(transport, hooks={"db": broken})
    transport.deliver("processing_recipe", {"custom_recipe": RECIPE})
    assert [queue for queue, _, _ in transport.sent] == ["processing_recipe"]


def request(**parameters: Any) -> Request:
    return read_request({"parameters": parameters}, lambda: "new")


def test_the_first_time_sets_the_expiration() -> None:
    action = settle_readiness(request(dispatcher_timeout="30"), now=1000.0)
    assert action.message["parameters"]["dispatcher_expiration"] == 1030.0


def test_a_known_expiration_stands() -> None:
    action = settle_readiness(request(dispatcher_expiration=1001, dispatcher_timeout=500), now=1000.0)
    assert (action.queue, action.delay) == ("processing_recipe", 2)
    assert action.message["parameters"]["dispatcher_expiration"] == 1001


def test_after_the_expiration_it_goes_to_the_error_queue() -> None:
    action = settle_readiness(request(dispatcher_expiration=1000, dispatcher_error_queue="bad"), now=1000.0)
    assert (action.queue, action.delay) == ("bad", 0)


@pytest.mark.parametrize(
    "parameters",
    [
        {"dispatcher_expiration": 1000},
        {"dispatcher_expiration": 1000, "dispatcher_error_queue": 7},
        {"dispatcher_expiration": "soon"},
        {"dispatcher_expiration": float("nan")},
        {"dispatcher_timeout": "inf"},
        {"dispatcher_timeout": []},
        {"dispatcher_timeout": 10**400},
    ],
    ids=str,
)
def test_otherwise_it_is_rejected(parameters: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        settle_readiness(request(**parameters), now=1000.0)


# -- Filters


def test_site_filters_come_first_and_may_change_everything(transport: FakeTransport) -> None:
    def site(message: dict[str, Any], parameters: dict[str, Any]) -> Any:
        assert message["recipe"].recipe == {}
        message["custom_recipe"] = RECIPE
        return message, {**parameters, "file": "from the filter"}

    start(transport, filters={"site": site})
    transport.deliver("processing_recipe", {"parameters": {}})
    assert transport.sent[0][1]["recipe"]["1"]["parameters"] == {"file": "from the filter"}


@pytest.mark.parametrize(
    "site", [lambda m, p: None, lambda m, p: ([], {}), lambda m, p: 1 / 0, lambda m, p: ({"recipe": 5}, {})]
)
def test_a_failing_filter_rejects(transport: FakeTransport, site: Any) -> None:
    start(transport, filters={"site": site})
    transport.deliver("processing_recipe", {"custom_recipe": RECIPE})
    assert transport.nacked == ["m1"]


# -- Recipe files


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "", "a\0b", 5, None, ["a"]], ids=repr)
def test_no_name_leads_out_of_the_recipe_directory(name: Any) -> None:
    with pytest.raises(Rejected):
        recipes.recipe_path("/recipes", name)


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"start": []}', "[" * 100000, '{"1": {"queue": "a"}}'])
def test_a_bad_recipe_file_is_rejected(tmp_path: Any, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(Rejected, match="bad"):
        recipes.named_recipe(tmp_path, "bad")


def test_a_missing_recipe_is_rejected(tmp_path: Any) -> None:
    with pytest.raises(Rejected, match="there is no recipe nothing in"):
        recipes.named_recipe(tmp_path, "nothing")


@pytest.mark.parametrize("name", ["x" * 300, "directory", "file/below", "loop"])
def test_what_is_no_file_is_no_recipe(tmp_path: Any, name: str) -> None:
    (tmp_path / "directory.json").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "loop.json").symlink_to("loop.json")
    with pytest.raises(Rejected, match="there is no recipe"):
        recipes.named_recipe(tmp_path, name)


def test_a_request_waits_for_its_recipe_directory(
    transport: FakeTransport, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    start(transport, **{"zocalo.recipe_directory": str(tmp_path / "away")})
    transport.deliver("processing_recipe", {"recipes": ["one"]})
    ((queue, message, options),) = transport.sent
    assert (queue, options["delay"], transport.acked) == ("processing_recipe", 2, ["m1"])
    assert f"the recipe directory {tmp_path / 'away'} cannot be read" in caplog.text
    late = {**message, "parameters": {**message["parameters"], "dispatcher_expiration": 1}}
    transport.deliver("processing_recipe", late, tag="m2")
    assert transport.nacked == ["m2"]
    assert "after its time limit still not to be handled: the recipe directory" in caplog.text


def test_a_recipe_that_cannot_be_read_now_is_put_off(
    transport: FakeTransport, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Any) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(recipes.Path, "read_bytes", failing)
    start(transport, **{"zocalo.recipe_directory": str(tmp_path)})
    transport.deliver("processing_recipe", {"recipes": ["one"]})
    assert [queue for queue, _, _ in transport.sent] == ["processing_recipe"]


# -- Logbook


def test_each_recipe_is_in_the_logbook(transport: FakeTransport, tmp_path: Any) -> None:
    start(transport, **{"zocalo.dispatcher.logbook_location": str(tmp_path / "log")})
    parameters = {"guid": "abcdef", "file": "x"}
    transport.deliver("processing_recipe", {"custom_recipe": RECIPE, "parameters": parameters})
    text = (tmp_path / "log" / time.strftime("%Y-%m") / "ab" / "cdef").read_text()
    titles = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == [
        "Incoming message header:",
        "Incoming message body:",
        "Parsed message body:",
        "Recipe object:",
    ]
    assert '"message-id": "m1"' in text
    assert json.loads(text.split("Recipe object:\n")[1])["1"]["parameters"] == {"file": "x"}


def test_a_logbook_that_cannot_be_written_stops_nothing(transport: FakeTransport, tmp_path: Any) -> None:
    blocker = tmp_path / "log"
    start(transport, **{"zocalo.dispatcher.logbook_location": str(blocker)})
    blocker.rmdir()
    blocker.write_text("a file")
    transport.deliver("processing_recipe", {"custom_recipe": RECIPE})
    assert transport.acked == ["m1"]


def test_a_logbook_in_an_impossible_place_is_left_out(transport: FakeTransport, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("")
    service = start(transport, **{"zocalo.dispatcher.logbook_location": str(tmp_path / "file" / "log")})
    assert service._logbook is None


@pytest.mark.parametrize(
    ("recipe_id", "path"),
    [
        ("abcdef", "2026-11/ab/cdef"),
        ("../../etc/passwd", "2026-11/et/cpasswd"),
        ("ab", None),
        ("...", None),
        ("x" * 300, None),
    ],
)
def test_logbook_paths(tmp_path: Any, recipe_id: str, path: str | None) -> None:
    when = time.strptime("2026-11-22", "%Y-%m-%d")
    assert logbook.entry_path(tmp_path, recipe_id, when) == (tmp_path / path if path else None)


def test_plugins_of_the_site_are_found_and_run_by_name(
    transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = "zocalo.services.dispatcher.filters"
    points = EntryPoints(
        EntryPoint(name, f"copy:{value}", group) for name, value in (("b", "copy"), ("a", "deepcopy"))
    )
    monkeypatch.setattr(dispatcher, "entry_points", lambda: points)
    service = start(transport)
    own = ["load_custom_recipe", "load_recipes_from_files", "apply_parameters"]
    assert list(service._filters) == ["a", "b", *own]
    assert service._filters["a"] is copy.deepcopy
    assert service._hooks == {}
