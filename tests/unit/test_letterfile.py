"""A dead letter as a file, and back: to the byte, and from files of zocalo."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocalo_daemon.client import letterfile
from zocalo_daemon.errors import ZocaloError

NOW = 1_700_000_000.25
LETTER = {
    "id": 7, "queue": "dlq.images", "origin": "images", "topic": False, "reason": "rejected", "time": NOW,
    "transport": "default", "headers": {}, "body": b"{}",
}  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def there_and_back(letter):
    return letterfile.read(json.dumps(letterfile.document(letter, NOW), indent=2))


@given(
    st.binary() | VALUES.filter(lambda one: one == one).map(lambda one: json.dumps(one, default=str).encode())
)
def test_every_body_comes_back_to_the_byte(body):
    assert there_and_back({**LETTER, "body": body})["body"] == body


@given(st.dictionaries(st.text().filter(lambda name: name != letterfile.REINJECTED), VALUES))
def test_every_header_comes_back_with_its_type(headers):
    found = there_and_back({**LETTER, "headers": headers})["headers"]
    assert found.pop(letterfile.REINJECTED) is True
    assert found == headers
    assert repr(found) == repr(headers)


@pytest.mark.parametrize(
    "body", [b'{"a":1}', b'{"b": 1e400, "b": 2}', b"text", b"\xff\0", b"", b"1E2", b"null"]
)
def test_bodies_that_json_would_change(body):
    assert there_and_back({**LETTER, "body": body})["body"] == body


def test_a_message_mended_in_the_file_is_what_is_sent():
    for body in (b'{"n": 1}', b'{"n":1}'):
        document = letterfile.document({**LETTER, "body": body}, NOW)
        document["message"]["n"] = 2
        assert letterfile.read(json.dumps(document))["body"] == b'{"n": 2}'
    document = letterfile.document({**LETTER, "body": b"no json"}, NOW)
    document["message"] = "still none"
    assert letterfile.read(json.dumps(document))["body"] == b"still none"


def test_properties_come_back_and_none_leave_no_trace():
    properties = {"priority": 7, "content_type": "text/plain"}
    assert there_and_back({**LETTER, "properties": properties})["properties"] == properties
    assert there_and_back(LETTER)["properties"] == {}
    assert "properties" not in letterfile.document({**LETTER, "properties": {}}, NOW)


def test_what_scripts_find_in_a_file():
    document = letterfile.document({**LETTER, "headers": {"k": "v"}, "body": b'{"n": 1}'}, NOW)
    assert document["message"] == {"n": 1}
    assert document["header"] == {"k": "v"}
    assert set(document) == {"exported", "header", "message"}
    assert {"date", "time"} <= set(document["exported"])


def test_names_are_those_of_zocalo():
    name = letterfile.name_of({**LETTER, "headers": {"message-id": "ID:a/1"}}, NOW)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d/msg-\d{8}-\d{6}-250-ID_a_1", name)
    assert letterfile.name_of(LETTER, NOW).endswith("-250-7")


def test_topics_go_back_to_topics():
    found = there_and_back({**LETTER, "topic": True, "origin": "news"})
    assert (found["kind"], found["destination"], found["transport"]) == ("topic", "news", "default")


RABBIT = {
    "consumer_tag": "c1", "delivery_mode": 2, "message-id": 3, "redelivered": True, "exchange": "",
    "routing_key": "dlq.one", "x-death": [{"count": 1, "exchange": "results", "queue": "one", "time": 1.7e9}],
    "k": "v",
}  # fmt: skip


def zocalo(**parts):
    document = {"exported": {"date": "2023-11-14", "time": "22:13:20"}, "message": {"n": 1}, **parts}
    return letterfile.read(json.dumps(document))


def test_a_file_of_zocalo_whose_message_came_by_an_exchange_goes_back_to_its_queue():
    found = zocalo(header=RABBIT)
    assert (found["kind"], found["destination"], found["transport"]) == ("queue", "one", None)
    assert set(found["headers"]) == {"x-death", "k", letterfile.REINJECTED}
    time = found["headers"]["x-death"][0]["time"]
    assert (type(time), time) == (int, 1_700_000_000)


@pytest.mark.parametrize(
    ("header", "where"),
    [
        ({"original-destination": "/queue/z.one", "destination": "/queue/DLQ.z.one"}, ("queue", "z.one")),
        ({"original-destination": "/topic/news", "destination": "/queue/DLQ"}, ("topic", "news")),
        ({"destination": "/queue/zocalo.one"}, ("queue", "zocalo.one")),
        ({"x-death": []}, ("queue", "")),
        ({"x-death": "text", "destination": 5}, ("queue", "")),
        ({}, ("queue", "")),
    ],
)  # fmt: skip
def test_where_files_of_zocalo_belong(header, where):
    found = zocalo(header={**header, "timestamp": "1", "k": "v"})
    assert (found["kind"], found["destination"]) == where
    assert found["whole"] == (type(header.get("destination")) is str)
    assert found["headers"]["k"] == "v"
    assert not {"destination", "original-destination", "timestamp"} & set(found["headers"])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"header": {}}', '{"header": [], "message": 1}', "[" * 100_000,
     '{"header": {}, "message": 1, "body": 5}'],
)  # fmt: skip
def test_what_is_no_dead_letter(text):
    with pytest.raises(ZocaloError):
        letterfile.read(text)
