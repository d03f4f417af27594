"""zocaloctl configure-rabbitmq by a real management API: row configure_rabbitmq."""

import base64
import json
import os
import subprocess
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pika
import pytest
import yaml

from tests.brokers.rabbit import RabbitServer, free_ports
from tests.daemonkit import COMMANDS
from tests.waiting import wait_until

PASSWORD = "the-secret-of-who-asks"
ALL = {"configure": ".*", "write": ".*", "read": ".*"}


class Configuring:
    """A virtual host, and a user that may do nothing in any other."""

    vhost, user = "a/b c", "configurer"

    def __init__(self, rabbit: RabbitServer, directory):
        self.rabbit, self.directory = rabbit, directory
        self.path = "a%2Fb%20c"
        self.url = f"http://127.0.0.1:{rabbit.management_port}/api"
        rabbit.api("PUT", f"vhosts/{self.path}", {})
        rabbit.api("PUT", f"users/{self.user}", {"password": PASSWORD, "tags": "administrator"})
        rabbit.api("PUT", f"permissions/{self.path}/{self.user}", ALL)
        self.site(self.url)

    def site(self, url, password=PASSWORD):
        """Write the site configuration."""
        text = {
            "version": 1,
            "environments": {"default": ["rmq"], "none": []},
            "rmq": {"plugin": "rabbitmqapi", "base_url": url, "username": self.user, "password": password},
        }
        (self.directory / "site.yaml").write_text(yaml.safe_dump(text))

    def write(self, **more):
        """Write the file; more are its keys."""
        values = {"policies": [], "exchanges": [], "groups": [], **more}
        for group in [*values["groups"], *values["exchanges"], *values["policies"]]:
            group.setdefault("vhost", self.vhost)
        (self.directory / "rabbit.yaml").write_text(yaml.safe_dump(values))

    def run(self, *options, command=("zocaloctl", "configure-rabbitmq")):
        """Run the command; nothing that it says may have the password."""
        done = subprocess.run(
            [COMMANDS / command[0], *command[1:], "rabbit.yaml", *options],
            cwd=self.directory,
            env={**os.environ, "ZOCALO_CONFIG": str(self.directory / "site.yaml")},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert PASSWORD not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def lines(self, *options, status=0):
        """Run it; return its lines."""
        done = self.run(*options)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout.splitlines()

    def list(self, what):
        """Return what the virtual host has."""
        return self.rabbit.api("GET", f"{what}/{self.path}")

    def names(self, what):
        """Return the names of what it has, but for the broker's own."""
        found = {one["name"] for one in self.list(what)}
        return sorted(one for one in found if one and not one.startswith("amq."))

    def connection(self, user=user, password=PASSWORD):
        """Connect as a user."""
        credentials = pika.PlainCredentials(user, password)
        return pika.BlockingConnection(
            pika.ConnectionParameters("127.0.0.1", self.rabbit.port, self.vhost, credentials)
        )


@pytest.fixture
def c(rabbit, tmp_path):
    made = Configuring(rabbit, tmp_path)
    yield made
    rabbit.api("DELETE", f"vhosts/{made.path}")
    rabbit.api("DELETE", f"users/{made.user}")


GROUPS = [
    {
        "names": ["images", "index"],
        "settings": {"queues": {"dead-letter-routing-key-pattern": "dlq.{name}"}},
        "bindings": ["", "results"],
    },
    {"names": ["transient.status"], "settings": {"broadcast": True}},
]
RESULTS = {"name": "results", "type": "topic", "durable": True}
POLICY = {"name": "redelivery", "pattern": "^images$", "definition": {"max-length": 5}}


def copy(value):
    return json.loads(json.dumps(value))


def site_file(c, **more):
    c.write(**{"groups": copy(GROUPS), "exchanges": [dict(RESULTS)], "policies": [copy(POLICY)], **more})


def test_all_is_made_and_the_second_run_has_nothing_to_do(c):
    site_file(c)
    planned = c.lines("--dry-run", status=3)
    assert planned[-1] == "9 changes to make, nothing was done"
    assert c.names("queues") == []
    made = c.lines()
    assert made[:-1] == planned[:-1]
    assert made[-1] == "9 changes made"
    assert c.names("queues") == ["dlq.images", "dlq.index", "images", "index"]
    assert c.names("exchanges") == ["results", "transient.status"]
    assert c.names("policies") == ["redelivery"]
    for again in (["--dry-run"], []):
        assert c.lines(*again) == ["nothing to change"]
    with c.connection() as connection:  # a dead letter gets where it should
        channel = connection.channel()
        channel.basic_publish("results", "images", b"body")
        method, _, _ = next(channel.consume("images"))
        channel.basic_reject(method.delivery_tag, requeue=False)
        wait_until(lambda: channel.basic_get("dlq.images", auto_ack=True)[2] == b"body", "a dead letter")


def test_what_is_no_longer_listed_goes_and_what_clients_have_stays(c):
    site_file(c)
    c.run()
    with c.connection() as connection:
        channel = connection.channel()
        channel.queue_declare("temporary", auto_delete=True)
        channel.queue_bind("temporary", "results", "#")
        channel.queue_bind("images", "results", "by.hand")
        c.write(groups=[{**copy(GROUPS[0]), "names": ["images"]}], exchanges=[dict(RESULTS)])
        planned = c.lines("--dry-run", "--json", status=3)
        changes = json.loads("\n".join(planned))["changes"]
        assert {(one["action"], one["kind"], one["name"]) for one in changes} == {
            ("remove", "queue", "index"),
            ("remove", "queue", "dlq.index"),
            ("remove", "exchange", "transient.status"),
            ("remove", "policy", "redelivery"),
            ("remove", "binding", "results -> images by by.hand"),
        }  # fmt: skip
        c.lines()
        assert c.names("queues") == ["dlq.images", "images", "temporary"]
        assert c.names("exchanges") == ["results"]
        assert c.names("policies") == []
        kept = {(one["destination"], one["routing_key"]) for one in c.list("bindings") if one["source"]}
        assert kept == {("images", "images"), ("temporary", "#")}


def test_messages_stay_until_that_is_said(c):
    quorum = {"names": ["many"], "settings": {"queues": {"type": "quorum"}}}
    c.write(groups=[{"names": ["full", "empty"]}, quorum])
    c.run()
    with c.connection() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for name in ("full", "many"):
            channel.basic_publish("", name, b"one")
    c.write()
    done = c.run()  # the API does not know yet how many messages there are
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "1 change made")
    assert c.names("queues") == ["full", "many"]
    wait_until(lambda: all(one.get("messages") for one in c.list("queues")), "counts")
    done = c.run()
    assert (done.returncode, done.stdout) == (1, "nothing to change\n")
    assert "queue full in a/b c is not in the file, but has 1 messages, and stays" in done.stderr
    assert len(c.lines("--force")) == 3
    assert c.names("queues") == []


def test_what_cannot_be_changed_is_told_before_anything_is(c):
    c.write(groups=[{"names": ["images"]}])
    c.run()
    site_file(c)
    done = c.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        'queue images in a/b c is there, but otherwise (x-dead-letter-exchange: nothing -> "", '
        in done.stderr
    )
    assert c.names("exchanges") == []


def test_an_exchange_of_another_type_is_made_anew(c):
    site_file(c)
    c.run()
    site_file(c, exchanges=[{**RESULTS, "type": "direct"}])
    assert c.lines()[0] == 'replace exchange results in a/b c: type: "topic" -> "direct"'
    assert c.lines() == ["nothing to change"]
    bound = sorted(one["destination"] for one in c.list("bindings") if one["source"] == "results")
    assert bound == ["images", "index"]


def users(c, **passwords):
    directory = c.directory / "users"
    for file in directory.glob("*.ini"):
        file.unlink()
    directory.mkdir(exist_ok=True)
    for name, password in {"guest": "guest", **passwords}.items():
        tags = "\ntags = administrator" if name in ("guest", c.user) else ""
        (directory / f"{name}.ini").write_text(
            f"[rabbitmq]\nusername = {name}\npassword = {password}{tags}\n"
        )
    return "--user-config", str(directory)


def test_users_permissions_and_virtual_hosts(c):
    permissions = [{"vhost": c.vhost, "user": user, **ALL} for user in ("worker", c.user)]
    permissions.append({"vhost": "/", "user": "guest", **ALL})
    c.write(vhosts=[{"name": c.vhost, "description": "the one"}, "second"], permissions=permissions)
    words = users(c, worker="before-letmein")
    lines = c.lines(*words)
    assert "create user worker" in lines and "create vhost second" in lines
    c.connection("worker", "before-letmein").close()
    assert c.lines(*words) == ["nothing to change"]
    words = users(c, worker="after-letmein")
    done = c.run(*words)
    assert done.stdout.splitlines() == ["update user worker: password", "1 change made"]
    assert "letmein" not in done.stdout + done.stderr
    c.connection("worker", "after-letmein").close()
    c.write(vhosts=[c.vhost])
    lines = c.lines(*users(c))  # who asks is in no file, and stays
    assert lines == ["remove vhost second", "remove user worker", "2 changes made"]
    assert {one["name"] for one in c.rabbit.api("GET", "users")} == {"guest", c.user}


def test_who_asks_may_change_its_own_password_at_the_end(c):
    c.write(groups=[{"names": ["images"]}])
    assert c.lines(*users(c, **{c.user: "other-letmein"}))[-2] == f"update user {c.user}: password"
    assert c.names("queues") == ["images"]
    done = c.run()
    assert done.returncode == 1
    assert f"says 401 Unauthorized; check user '{c.user}'" in done.stderr


def test_a_refusal_says_what_was_made_before(c):
    c.write(policies=[{**copy(POLICY), "name": "good"}, {**copy(POLICY), "name": "worse", "pattern": "["}])
    done = c.run()
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "1 change made")
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"zocaloctl: cannot create policy worse in {c.vhost}: the management API at http://"
    )
    assert "says 400 Bad Request (" in line
    assert line.endswith("1 changes before it were made, 0 behind it were not")


class Page(BaseHTTPRequestHandler):
    """A server that has only pages for people."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_words):
        """Be silent."""


def test_an_api_that_is_not_there_or_is_none(c):
    c.write()
    (port,) = free_ports(1)
    c.site(f"http://127.0.0.1:{port}/api")
    done = c.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the management API at http://127.0.0.1:{port} does not answer: " in done.stderr
    c.site(f"http://127.0.0.1:{port}/api/, {c.url}")  # the next one
    assert c.lines() == ["nothing to change"]
    c.site(c.url, password="wrong")
    assert "says 401 Unauthorized; check user 'configurer', its password" in c.run().stderr
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        c.site(f"http://127.0.0.1:{server.server_port}")
        done = c.run()
        server.shutdown()
        thread.join()
    assert "is no management API of RabbitMQ" in done.stderr
    assert c.run("-e", "none").returncode == 2


def test_a_file_that_is_broken_asks_nobody(c):
    (c.directory / "rabbit.yaml").write_text("policies: [\n")
    c.site("http://127.0.0.1:1")
    done = c.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"zocaloctl: {c.directory}/rabbit.yaml:") or "rabbit.yaml:2" in done.stderr


def test_by_the_name_that_scripts_use(c, tmp_path):
    subprocess.run([COMMANDS / "zocaloctl", "legacy-commands", tmp_path / "bin"], check=True)
    site_file(c)
    name = (str(tmp_path / "bin" / "zocalo.configure_rabbitmq"),)
    done = c.run("-e", "default", command=name)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "9 changes made")
    assert c.run(command=name).stdout == "nothing to change\n"


def test_the_management_of_a_transport(c):
    c.write(groups=[{"names": ["images"]}])
    (c.directory / "secret").write_text(PASSWORD)
    (c.directory / "secret").chmod(0o600)
    management = {"url": c.url.removesuffix("/api")}
    transport = {
        "driver": "rabbitmq", "hosts": [c.rabbit.address], "username": c.user, "password_file": "secret",
        "vhost": c.vhost, "management": management,
    }  # fmt: skip
    (c.directory / "zocalod.yaml").write_text(
        yaml.safe_dump({"version": 1, "transports": {"far": transport}})
    )
    assert c.lines("--config", "zocalod.yaml") == [
        f"create queue images in {c.vhost}: durable true, x-queue-type classic", "1 change made",
    ]  # fmt: skip
    assert c.run("--config", "zocalod.yaml", "--transport", "none").returncode == 2


def test_what_the_api_says_of_a_hash_is_what_is_compared(c):
    """https://www.rabbitmq.com/docs/passwords#computing-password-hash, as this broker does it."""
    c.write()
    c.lines(*users(c, worker="letmein"))
    token = base64.b64encode(b"worker:letmein").decode()
    request = urllib.request.Request(f"{c.url}/whoami", headers={"Authorization": f"Basic {token}"})
    with pytest.raises(urllib.error.HTTPError) as e:  # the password is right, but it has no tag for the API
        urllib.request.urlopen(request, timeout=10)
    assert "Not management user" in e.value.read().decode()
    c.rabbit.api("DELETE", "users/worker")
