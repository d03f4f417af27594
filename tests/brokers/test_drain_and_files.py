"""What drain and the files of dead letters need, on every driver: zocalo.queue_drain, dlq_purge."""

import json
import time

from tests.waiting import wait_until
from zocalo_daemon.client import letterfile

RECIPE = {"recipe": {"1": {"queue": "?"}}, "recipe-pointer": 1, "environment": {"ID": "abc"}}


def ready(relay, queue, count):
    wait_until(lambda: (relay.queue(queue) or {"ready": 0})["ready"] == count, f"{count} in {queue}")


def test_drain_moves_one_message_with_its_headers(relay, transport, take, queue):
    to = f"{queue}.out"
    recipe = {**RECIPE, "recipe": {"1": {"queue": to}}}
    transport.send(queue, recipe, headers={"k": "v"})
    transport.send(queue, {"n": 2})
    ready(relay, queue, 2)
    answer = relay.request("drain", queue=queue, destination=None)
    assert answer["ok"] == {"destination": to, "recipe_id": "abc"}
    refused = relay.request("drain", queue=queue, destination=None)
    assert "Could not determine" in refused["error"]["message"]
    ready(relay, queue, 1)  # it is where it was
    assert relay.request("drain", queue=queue, destination=to)["ok"] == {"destination": to, "recipe_id": None}
    assert relay.request("drain", queue=queue, destination=to)["ok"] is None
    inbox = take(to)
    inbox.wait(2)
    assert inbox.messages == [recipe, {"n": 2}]
    assert inbox.headers[0]["k"] == "v"
    assert "dlq-reinjected" not in inbox.headers[0]


def test_a_dead_letter_is_the_same_after_its_file(relay, transport, take, queue):
    def refuse(header, message):
        transport.nack(header)

    number = transport.subscribe(queue, refuse, acknowledgement=True)
    sent = {"k": "v", "workflows-recipe": "True", "none": ""}
    transport.send(queue, {"n": [1, 2.5, None, "ü"]}, headers=sent)
    ready(relay, f"dlq.{queue}", 1)
    transport.unsubscribe(number)
    (letter,) = relay.request("dlq.list", queues=[queue])["ok"]
    text = json.dumps(letterfile.document(letter, time.time()))
    args = {"queues": [letter["queue"]], "transport": letter["transport"], "ids": [letter["id"]]}
    assert relay.request("dlq.list", **args)["ok"][0]["id"] == letter["id"]
    assert relay.request("dlq.list", **{**args, "ids": [letter["id"] + 1]})["ok"] == []
    assert relay.request("dlq.purge", **args)["ok"] == {"count": 1}
    back = letterfile.read(text)
    assert (back["kind"], back["destination"]) == ("queue", queue)
    inbox = take(queue)
    publication = {key: back[key] for key in ("kind", "destination", "headers", "body", "transport")}
    assert "ok" in relay.request("publish", **publication)
    inbox.wait(1)
    assert inbox.messages == [{"n": [1, 2.5, None, "ü"]}]
    header = inbox.headers[0]
    assert {key: header[key] for key in sent} == sent
    assert str(header["dlq-reinjected"]) == "True"
    assert header["x-death"][0]["queue"] == queue
