"""Where a message goes whose queue is drained: row zocalo.queue_drain."""

import json

import pytest

from zocalo_daemon.errors import ZocaloError
from zocalo_daemon.relay.draining import recipe_id, target

RECIPE = {"1": {"queue": "one"}, "2": {"topic": "news"}, "start": [[1, []]]}


def message(pointer=1, recipe=RECIPE, **more):
    return json.dumps(
        {"recipe": recipe, "recipe-pointer": pointer, "environment": {"ID": "x-1"}, **more}
    ).encode()


def test_a_queue_that_was_asked_for_wins():
    assert target(message(), "src", "other") == "other"
    assert target(b"\xff no json", "src", "other") == "other"


def test_otherwise_the_recipe_says():
    assert target(message(), "src", None) == "one"
    assert target(message(pointer="1"), "src", None) == "one"
    assert recipe_id(message()) == "x-1"


@pytest.mark.parametrize(
    "body",
    [message(2), message(3), message(recipe=[]), message(recipe={"1": 5}),
     message(recipe={"1": {"queue": 5}}), b"{}", b"[]", b"5", b"\xff", b"[" * 100_000],
)  # fmt: skip
def test_messages_that_do_not_say(body):
    with pytest.raises(ZocaloError, match="Could not determine target queue"):
        target(body, "src", None)


def test_a_message_is_not_drained_into_its_own_queue():
    with pytest.raises(ZocaloError, match="belongs there"):
        target(message(), "one", None)


@pytest.mark.parametrize("body", [b"{}", b"\xff", b"[]", b'{"environment": 5}'])
def test_messages_of_no_recipe(body):
    assert recipe_id(body) is None
