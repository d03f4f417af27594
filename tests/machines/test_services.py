"""Whatever is sent to Dispatcher, JSONLines or Mailer: each message is settled once, the service goes on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.fake_transport import FakeTransport
from zocalo_daemon.services.dispatcher import Dispatcher
from zocalo_daemon.services.jsonlines import JSONLines
from zocalo_daemon.services.mailer import Mailer

SCALAR = st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.text(max_size=3)
JSON = st.recursive(
    SCALAR, lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=2), some, max_size=3)
)


def objects(**keys: Any) -> Any:
    """Return objects with any of some keys, each with what belongs there or with anything."""
    return st.fixed_dictionaries({}, optional={k.replace("_", "-"): v | JSON for k, v in keys.items()})


STEP = objects(
    queue=st.just("q"),
    topic=st.just("t"),
    output=st.integers(1, 2),
    parameters=st.just({"a": "{a}", "b": "{$REPLACE:b}"}),
)
START = st.just([[1, {}]]) | st.lists(JSON, max_size=2)
RECIPE = st.fixed_dictionaries({"1": STEP}, optional={"2": STEP | JSON, "start": START, "error": JSON})
NAMES = ["guid", "dispatcher_timeout", "dispatcher_expiration", "dispatcher_error_queue", "a", "b"]
PARAMETERS = st.dictionaries(st.sampled_from(NAMES), JSON)
REQUEST = st.fixed_dictionaries(
    {}, optional={"recipes": JSON, "custom_recipe": RECIPE | JSON, "parameters": PARAMETERS | JSON}
)
ENVELOPE = objects(recipe=RECIPE, recipe_pointer=st.integers(1, 2), environment=JSON, payload=REQUEST)
HEADER = st.sampled_from(
    [{}, {"workflows-recipe": True}, {"workflows-recipe": "True"}, {"workflows-recipe": []}]
)


@pytest.fixture(scope="module")
def dispatcher() -> Dispatcher:
    service = Dispatcher()
    service.transport = FakeTransport()
    service.initializing()
    return service


@settings(max_examples=400, deadline=None)
@given(HEADER, REQUEST | ENVELOPE | JSON | st.binary(max_size=5), st.booleans())
def test_the_dispatcher_settles_every_message_once(
    dispatcher: Dispatcher, header: Any, message: Any, ready: bool
) -> None:
    transport = dispatcher.transport
    transport.acked, transport.nacked, transport.sent = [], [], []
    dispatcher._hooks = {"hook": lambda message, parameters: ready}
    transport.deliver("processing_recipe", message, header)
    assert transport.acked + transport.nacked == ["m1"]
    assert not transport.open
    assert bool(transport.sent) == bool(transport.acked)


MAIL = objects(
    recipients=st.just("a@x") | st.just(["a@x", "b@x"]) | st.just({"select": "a", "a": "a@x"}),
    content=st.sampled_from(["text", "{payload}", "{pprint_payload}", "{payload[a]}", "{", "{0}"]),
    subject=st.text(max_size=3),
)
LETTER = st.fixed_dictionaries({}, optional={"parameters": MAIL | JSON, "content": st.just("text") | JSON})
REFUSED = st.dictionaries(
    st.sampled_from(["a@x", "b@x"]), st.sampled_from([(450, b"later"), (550, b"never")])
)
STATE = objects(zocalo_mailer_recipients=st.just('["b@x"]'), zocalo_mailer_since=st.just(1.0))


@settings(max_examples=200, deadline=None)
@given(HEADER, STATE, LETTER | ENVELOPE | JSON | st.binary(max_size=5), REFUSED)
def test_the_mailer_settles_every_message_once(header: Any, state: Any, message: Any, refused: Any) -> None:
    transport = FakeTransport()
    service = Mailer(environment={"config": SimpleNamespace(smtp={"host": "x", "port": 25, "from": "z@x"})})
    service.transport = transport
    service.initializing()
    service._hand_over = lambda mail: {one: refused[one] for one in mail.recipients if one in refused}
    transport.deliver("mailnotification", message, {**header, **state})
    assert transport.acked + transport.nacked == ["m1"]
    assert not transport.open


FILE = st.sampled_from([".", "a", "a/b", "a/b/c"]) | JSON


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(FILE, JSON, JSON), max_size=6))
def test_jsonlines_settles_every_message_once(messages: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        transport, service = FakeTransport(), JSONLines()
        service.transport = transport
        service.initializing()
        for number, (file, include, payload) in enumerate(messages):
            path = (
                str(Path(directory, file.strip("/"))) if isinstance(file, str) and "\0" not in file else file
            )
            step = {"parameters": {"output_filename": path, "include": include}}
            envelope = {"recipe": {"1": step}, "recipe-pointer": 1, "payload": payload}
            transport.deliver("jsonlines", envelope, {"workflows-recipe": True}, tag=str(number))
        service.in_shutdown()
        assert sorted(transport.acked + transport.nacked) == sorted(str(n) for n in range(len(messages)))
        written = sum(path.read_bytes().count(b"\n") for path in Path(directory).rglob("*") if path.is_file())
        assert written == len(transport.acked)
