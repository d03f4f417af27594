"""configure-rabbitmq: what a file defines, and what is to be done so that a broker has it."""

import base64
import hashlib
from pathlib import Path

import pytest

from zocalo_daemon.definitions import document, show, users
from zocalo_daemon.definitions.broker import broker
from zocalo_daemon.definitions.items import Item, binding, differences
from zocalo_daemon.definitions.plan import plan
from zocalo_daemon.errors import ConfigError

EMPTY = "policies: []\nexchanges: []\n"


def read(text):
    return document.read(text.encode(), Path("/f.yaml"))


def queues(group):
    found = read(f"{EMPTY}groups:\n- {group}\n")
    return {key[1]: item.body["arguments"] for key, item in found["queue"].items()}


# -- The file


def test_the_queues_of_a_group():
    assert queues("{names: [a, b]}") == {
        name: {"x-queue-type": "classic", "x-single-active-consumer": False} for name in "ab"
    }
    assert queues(
        "{names: [a], settings: {queues: {type: quorum, dead-letter-routing-key-pattern: 'dlq.{name}'},"
        " single_active_consumer: true}}"
    ) == {
        "a": {
            "x-queue-type": "quorum",
            "x-single-active-consumer": True,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "dlq.a",
        },
        "dlq.a": {"x-queue-type": "quorum"},
    }


def test_streams_have_no_single_consumer_and_dead_letters_may_go_elsewhere():
    assert queues("{names: [s], settings: {queues: {type: stream}}}") == {"s": {"x-queue-type": "stream"}}
    found = queues(
        "{names: [a], settings: {queues: {dead-letter-routing-key-pattern: 'x.{name}', "
        "dead-letter-exchange: dlx, dead-letter-queue-create: false}}}"
    )
    assert list(found) == ["a"]
    assert (found["a"]["x-dead-letter-exchange"], found["a"]["x-dead-letter-routing-key"]) == ("dlx", "x.a")


def test_one_dead_letter_queue_for_several():
    pattern = "settings: {queues: {dead-letter-routing-key-pattern: dlq.all}}"
    assert list(queues(f"{{names: [a, b], {pattern}}}")) == ["a", "dlq.all", "b"]


def test_bindings_of_groups_and_their_own():
    found = read(
        f"{EMPTY}groups:\n- {{names: [a], vhost: v, bindings: ['', delayed]}}\n"
        "bindings:\n- {source: results, destination: a, vhost: v}\n"
        "- {source: '', destination: a, vhost: v}\n"
        "- {source: results, destination: e, destination_type: e, vhost: v, routing_key: '#', "
        "arguments: {n: 1}}\n"
    )
    assert list(found["binding"]) == [
        ("v", "delayed", "queue", "a", "a", "{}"),
        ("v", "results", "queue", "a", "a", "{}"),
        ("v", "results", "exchange", "e", "#", '{"n": 1}'),
    ]


def test_broadcasts_policies_exchanges_and_their_defaults():
    found = read(
        "policies: [{name: p, definition: {delivery-limit: 5}}]\n"
        "exchanges: [{name: results, type: topic, vhost: v}]\n"
        "groups: [{names: [command], settings: {broadcast: true}}]\n"
    )
    plain = {"durable": False, "auto_delete": False, "internal": False, "arguments": {}}
    assert {key: item.body for key, item in found["exchange"].items()} == {
        ("v", "results"): {"type": "topic", **plain},
        ("/", "command"): {"type": "fanout", **plain, "durable": True},
    }
    (policy,) = found["policy"].values()
    assert policy.body == {
        "pattern": "^amq.", "definition": {"delivery-limit": 5}, "priority": 0, "apply-to": "queues",
    }  # fmt: skip
    assert found["queue"] == {}
    assert "vhost" not in found and "permission" not in found


def test_virtual_hosts_and_permissions_only_if_there_are_any():
    assert "vhost" not in read(f"{EMPTY}groups: []\nvhosts: []\npermissions: []\n")
    found = read(
        f"{EMPTY}groups: []\nvhosts: [plain, {{name: v, tags: [t]}}]\n"
        "permissions: [{vhost: v, user: u, configure: '', write: '.*', read: '.*'}]\n"
    )
    assert {key: item.body for key, item in found["vhost"].items()} == {
        ("plain",): {},
        ("v",): {"tags": ["t"]},
    }
    assert found["permission"][("v", "u")].body == {"configure": "", "write": ".*", "read": ".*"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exchanges: []\ngroups: []\n", "/f.yaml:1: 'policies' is missing; write for example 'policies: []'"),
        (
            f"{EMPTY}groups: [{{names: [a], setings: {{}}}}]\n",
            "setings: unknown key; did you mean 'settings'?",
        ),
        (f"{EMPTY}groups: [{{names: a}}]\n", "/f.yaml:3: groups[0].names: expected a list"),
        (f"{EMPTY}groups: [\n", "/f.yaml:"),
        (
            f"{EMPTY}groups:\n- names: [a]\n"
            "  settings: {queues: {dead-letter-routing-key-pattern: 'd{q}'}}",
            "/f.yaml:4: settings.queues.dead-letter-routing-key-pattern: 'd{q}' may have {name} in braces",
        ),
        (
            f"{EMPTY}groups:\n- names: [a]\n- names: [a]\n  settings: {{queues: {{type: quorum}}}}\n",
            "/f.yaml:5: queue a in / is there already, and otherwise, in line 4",
        ),
        ("policies: [{name: p, apply-to: queue}]\nexchanges: []\ngroups: []\n", "did you mean 'queues'?"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text, said):
    with pytest.raises(ConfigError) as e:
        read(text)
    assert said in e.value.message


# -- What there is, and what is to be done

GUEST = [{"vhost": vhost, "user": "guest", "configure": ".*", "write": ".*", "read": ".*"} for vhost in "/v"]


def has(**rows):
    """A broker with what is given, as its API tells it."""
    answers = {
        "user": [{"name": "guest", "password_hash": "x", "hashing_algorithm": "y", "tags": ["admin"]}],
        "vhost": [{"name": "/"}, {"name": "v", "description": "", "tags": [], "tracing": False}],
        "permission": GUEST,
        "policy": [],
        "exchange": [exchange(""), exchange("amq.topic")],
        "queue": [],
        "binding": [],
        **rows,
    }  # fmt: skip
    return broker("guest", {kind: rows for kind, rows in answers.items() if rows is not None})


def queue(name, **more):
    arguments = {"x-queue-type": "classic", "x-single-active-consumer": False}
    return {"name": name, "vhost": "v", "durable": True, "auto_delete": False, "arguments": arguments, **more}


def exchange(name, **more):
    return {
        **{"name": name, "vhost": "v", "type": "topic", "durable": False, "auto_delete": False},
        **{"internal": False, "arguments": {}, **more},
    }


def bound(source, destination, key, **more):
    return {
        **{"vhost": "v", "source": source, "destination": destination, "destination_type": "queue"},
        **{"routing_key": key, "arguments": {}, "properties_key": f"~{key}", **more},
    }


WANTED = (
    "policies: []\nexchanges: [{name: results, type: topic, vhost: v}]\n"
    "groups: [{names: [a], vhost: v, bindings: [results]}]\n"
)


def done(text, there, **more):
    found = plan(read(text), there, **more)
    return [show.line(one) for one in found.changes], found


def test_all_is_made_in_an_order_that_works_and_then_nothing():
    lines, found = done(WANTED, has())
    assert [line.split(":")[0] for line in lines] == [
        "create exchange results in v", "create queue a in v", "create binding results -> a by a in v",
    ]  # fmt: skip
    assert (found.problems, found.kept) == ([], [])
    assert [one.requests[0][:2] for one in found.changes] == [
        ("PUT", "exchanges/v/results"), ("PUT", "queues/v/a"), ("POST", "bindings/v/e/results/q/a"),
    ]  # fmt: skip
    there = has(exchange=[exchange("results")], queue=[queue("a")], binding=[bound("results", "a", "a")])
    assert done(WANTED, there)[0] == []


def test_a_queue_that_somebody_else_has_made_without_defaults_is_the_same():
    there = has(
        exchange=[exchange("results")],
        queue=[queue("a", arguments={})],
        binding=[bound("results", "a", "a")],
    )
    assert done(WANTED, there)[0] == []


def test_where_who_asks_has_no_permissions_nothing_is_removed():
    there = has(queue=[queue("old"), queue("other", vhost="w")], exchange=[exchange("e", vhost="w")])
    text = f"{EMPTY}groups: []\n"
    assert done(text, there)[0] == ["remove queue old in v"]


def test_only_the_binding_that_nobody_wants_is_removed():
    there = has(
        exchange=[exchange("results")],
        queue=[queue("a"), queue("tmp", auto_delete=True)],
        binding=[
            bound("results", "a", "a"), bound("results", "a", "#"), bound("results", "tmp", "#"),
            bound("", "a", "a"), bound("amq.topic", "a", "k"),
            bound("results", "other", "k", destination_type="exchange"),
        ],
    )  # fmt: skip
    lines, found = done(WANTED, there)
    assert lines == ["remove binding results -> a by # in v"]
    assert found.changes[0].requests == (("DELETE", "bindings/v/e/results/q/a/~%23", None),)


def test_an_exchange_that_differs_is_made_anew_with_its_bindings():
    there = has(
        exchange=[exchange("results", type="direct")],
        queue=[queue("a")],
        binding=[bound("results", "a", "a"), bound("results", "a", "old")],
    )
    lines, found = done(WANTED, there)
    assert lines == [
        'replace exchange results in v: type: "direct" -> "topic"',
        "create binding results -> a by a in v",
    ]
    assert [method for method, _path, _body in found.changes[0].requests] == ["DELETE", "PUT"]


def test_a_queue_that_differs_is_a_problem():
    there = has(queue=[queue("a", arguments={"x-queue-type": "quorum"})])
    _lines, found = done(WANTED, there)
    (problem,) = found.problems
    assert problem.startswith(
        '/f.yaml:3: queue a in v is there, but otherwise (x-queue-type: "quorum" -> "classic"), and RabbitMQ'
    )


def test_what_belongs_to_clients_and_to_the_broker_stays():
    there = has(
        exchange=[exchange("results"), exchange("tmp", auto_delete=True), exchange("amq.x"), exchange("old")],
        queue=[
            queue("a"), queue("amq.gen-1"), queue("tmp", auto_delete=True), queue("own", exclusive=True),
            queue("delay.1.a", arguments={"x-expires": 1}), queue("old"),
        ],
        binding=[bound("results", "a", "a"), bound("results", "old", "k"), bound("old", "a", "k")],
    )  # fmt: skip
    assert done(WANTED, there)[0] == ["remove queue old in v", "remove exchange old in v"]


def test_messages_are_not_removed_unless_that_was_said():
    there = has(
        exchange=[exchange("results")],
        queue=[queue("a"), queue("old", messages=3)],
        binding=[bound("results", "a", "a"), bound("results", "old", "k")],
    )
    lines, found = done(WANTED, there)
    assert (lines, len(found.kept)) == ([], 1)
    assert "queue old in v is not in the file, but has 3 messages, and stays" in found.kept[0]
    assert done(WANTED, there, force=True)[0] == ["remove queue old in v"]


def test_a_virtual_host_goes_with_all_that_is_in_it():
    text = f"{EMPTY}groups: []\nvhosts: [kept]\n"
    there = has(queue=[queue("a")], exchange=[exchange("e")])
    assert done(text, there)[0] == ["create vhost kept", "remove vhost v"]
    there = has(queue=[queue("a", messages=1)])
    lines, found = done(text, there)
    assert lines == ["create vhost kept"]
    assert found.kept[0].startswith("vhost v is not in the file, but has 1 messages")
    assert done(text, there, force=True)[0] == ["create vhost kept", "remove vhost v"]


def test_a_virtual_host_is_changed_in_place_and_only_in_what_the_file_says():
    there = has(vhost=[{"name": "v", "description": "old", "tags": ["t"], "tracing": True}])
    text = f"{EMPTY}groups: []\nvhosts: [{{name: v, description: new}}]\n"
    lines, found = done(text, there)
    assert lines == ['update vhost v: description: "old" -> "new"']
    assert found.changes[0].requests == (
        ("PUT", "vhosts/v", {"description": "new", "tags": ["t"], "tracing": True}),
    )
    assert done(f"{EMPTY}groups: []\nvhosts: [v]\n", there)[0] == []


def test_policies_are_changed_in_place_and_removed():
    old = {
        "vhost": "v",
        "name": "p",
        "pattern": "^a",
        "definition": {"x": 1},
        "priority": 0,
        "apply-to": "queues",
    }
    there = has(policy=[old, {**old, "name": "gone"}])
    text = "policies: [{vhost: v, name: p, pattern: ^a, definition: {x: 2}}]\nexchanges: []\ngroups: []\n"
    assert done(text, there)[0] == ["update policy p in v: x: 1 -> 2", "remove policy gone in v"]


def test_who_asks_is_not_locked_out():
    wanted = read(
        f"{EMPTY}groups: []\npermissions: [{{vhost: v, user: u, configure: '', write: '', read: ''}}]\n"
    )
    wanted["user"] = {("u",): Item("user", ("u",), {"password_hash": "h", "tags": ""})}
    changes = [show.line(one) for one in plan(wanted, has()).changes]
    assert changes == ["create user u", 'create permission of u in v: configure "", write "", read ""']
    wanted["user"][("guest",)] = Item("user", ("guest",), {"password_hash": "new", "tags": ""})
    assert plan(wanted, has()).changes[-1].item.key == ("guest",)  # after all that needs the old password


@pytest.mark.parametrize(
    ("text", "there", "said"),
    [
        (WANTED.replace("vhost: v", "vhost: w"), {}, "there is no virtual host 'w'"),
        (WANTED, {"permission": []}, "user 'guest', who asks, has no permissions in virtual host 'v'"),
        (f"{EMPTY}groups: []\nvhosts: [v]\n", {"vhost": None}, "user 'guest' may not change vhosts"),
        (
            f"{EMPTY}groups: []\npermissions: [{{vhost: v, user: u, configure: '', write: '', read: ''}}]\n",
            {},
            "there is no user 'u'",
        ),
        (
            f"{EMPTY}groups: [{{names: [a], vhost: v, bindings: [none]}}]\n",
            {},
            "there is no exchange 'none' in 'v'",
        ),
        (f"{EMPTY}groups: []\nbindings: [{{source: amq.topic, destination: q, vhost: v}}]", {}, "queue 'q'"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_told_before_anything_is(text, there, said):
    problems = plan(read(text), has(**there)).problems
    assert len(problems) == 1
    assert said in problems[0]


# -- Users


def hashed(password, salt):
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def write(directory, name, text):
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text)


def test_users_are_the_same_if_the_password_is_behind_the_hash(tmp_path):
    write(tmp_path, "sub/u.ini", "[rabbitmq]\nusername = u\npassword = a%%b\ntags = b, a\n")
    (account,) = users.load(tmp_path).values()
    known = {
        "password_hash": hashed("a%b", b"salt"),
        "hashing_algorithm": users.ALGORITHM,
        "tags": ["a", "b"],
    }
    assert differences(account.item(known), known) == []
    assert differences(account.item({**known, "password_hash": hashed("c", b"salt")}), known) == ["password"]
    assert differences(account.item(known), {**known, "tags": []}) == ['tags: [] -> ["a", "b"]']
    made = account.item(None).body["password_hash"]
    assert made == hashed("a%b", base64.b64decode(made)[:4])
    assert "a%b" not in repr(account)


def test_a_user_without_tags_is_the_same(tmp_path):
    write(tmp_path, "u.ini", "[rabbitmq]\nusername = u\npassword = p\n")
    (account,) = users.load(tmp_path).values()
    known = {"password_hash": hashed("p", b"1234"), "hashing_algorithm": users.ALGORITHM, "tags": []}
    assert differences(account.item(known), known) == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "there are no users here"),
        ({"a.ini": "[rabbitmq]\nusername = u\n"}, "'password' is missing"),
        ({"a.ini": "[rabbitmq]\nusername = u\npassword = sec%ret\n"}, "password: write %% for a %"),
        ({"a.ini": "password sec%ret\n"}, "a.ini:1: no file with '[rabbitmq]'"),
        (dict.fromkeys(("a.ini", "b.ini"), "[rabbitmq]\nusername=u\npassword=sec\n"), "user u is in"),
    ],
)
def test_users_that_cannot_be_read(tmp_path, files, said):
    for name, text in files.items():
        write(tmp_path, name, text)
    with pytest.raises(ConfigError) as e:
        users.load(tmp_path)
    assert said in e.value.message
    assert "sec" not in e.value.message


def test_bindings_as_people_read_them():
    assert binding("v", "e", "q", "").label == "binding e -> q in v"
    assert (
        binding("v", "e", "f", "k", kind="exchange", arguments={"a": 1}).name
        == 'e -> exchange f by k {"a": 1}'
    )
