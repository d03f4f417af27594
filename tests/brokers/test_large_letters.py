"""dlq purge | dlq reinject loses nothing, whatever the size: rows dlq_purge and dlq_reinject, defect 18."""

import json
import subprocess

import pika
import pytest

from tests.daemonkit import COMMANDS, Daemon

SIZE = 20_000_000  # bytes
HEADERS = {"k": "v", "workflows-recipe": "True", "n": "1"}


@pytest.fixture(scope="module")
def d(rabbit, active, tmp_path_factory):
    """One daemon with a transport of each driver."""
    transports = {"embedded": {"driver": "embedded"}}
    for driver, server in (("rabbitmq", rabbit), ("activemq", active)):
        settings = server.settings().items()
        transports[driver] = {
            key: one for key, one in settings if key != "name" and (driver, key) != ("activemq", "vhost")
        }
    transports["rabbitmq"]["management"] = {"url": f"http://127.0.0.1:{rabbit.management_port}"}
    directory = tmp_path_factory.mktemp("large")
    daemon = Daemon(directory, {}, transports=transports, default_transport="embedded")
    yield daemon.start(ready=False)
    daemon.close()


def files(directory):
    return [json.loads(path.read_text()) for path in sorted(directory.rglob("msg-*"))]


def piped(d, location, name, driver):
    """Run `dlq purge | dlq reinject`, to the same queue."""
    ctl = [str(COMMANDS / "zocaloctl"), "--socket", str(d.socket), "dlq"]
    purge = subprocess.Popen(
        [*ctl, "purge", name, "--transport", driver, "--location", str(location)], stdout=subprocess.PIPE
    )
    back = subprocess.run(
        [*ctl, "reinject", "-d", f"dlq.{name}"],
        stdin=purge.stdout, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (purge.wait(60), back.returncode) == (0, 0), back.stderr


@pytest.mark.parametrize("driver", ["embedded", "rabbitmq", "activemq"])
def test_a_letter_of_20_mb_is_the_same_after_its_file(d, queue, rabbit, driver, tmp_path):
    letter = {
        "exported": {"origin": queue},
        "header": HEADERS,
        "message": {"text": "x" * (SIZE - 20), "ü": [1.50, None]},
        "properties": {"priority": 7},
    }
    (tmp_path / "letter").write_text(json.dumps(letter))
    made = d.ctl("dlq", "reinject", "--transport", driver, "-d", f"dlq.{queue}", str(tmp_path / "letter"))
    assert made.stdout.endswith(f"sent to queue dlq.{queue}\nDone.\n\n")
    piped(d, tmp_path / "first", queue, driver)
    d.ctl("dlq", "purge", queue, "--transport", driver, "--location", str(tmp_path / "second"))
    (first,), (second,) = files(tmp_path / "first"), files(tmp_path / "second")
    assert first["message"] == second["message"] == letter["message"]
    assert {key: second["header"][key] for key in HEADERS} == HEADERS
    assert first["header"] == second["header"]
    assert first["properties"] == second["properties"] == letter["properties"]
    assert first.get("body") == second.get("body")


def test_the_properties_of_amqp_stay(d, queue, rabbit, tmp_path):
    properties = {
        "content_type": "application/json", "content_encoding": "utf-8", "correlation_id": "c",
        "app_id": "me", "message_id": "m", "timestamp": 1_700_000_000, "type": "t",
        "reply_to": "back", "priority": 3, "delivery_mode": 1,
    }  # fmt: skip
    with rabbit.channel() as channel:
        channel.basic_publish(
            "", f"dlq.{queue}", b'{"n": 1}', pika.BasicProperties(headers={"k": 1}, **properties)
        )
        piped(d, tmp_path, queue, "rabbitmq")
        _, after, body = channel.basic_get(f"dlq.{queue}", auto_ack=True)
    assert {name: getattr(after, name) for name in properties} == properties
    assert (body, after.headers) == (b'{"n": 1}', {"k": 1, "dlq-reinjected": True})
