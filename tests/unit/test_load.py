"""Files to values, and everything that can be wrong with them."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from zocalo_daemon.config import load as load_module
from zocalo_daemon.config import places
from zocalo_daemon.config.load import load, with_site_transports
from zocalo_daemon.config.schema import DaemonConfig, GrantConfig, ServiceConfig, TransportConfig
from zocalo_daemon.errors import ConfigError

USER = 4711
ETC = Path(__file__).parents[2] / "etc" / "zocalod.yaml"


@pytest.fixture
def write(tmp_path: Path):
    """Return a function that writes a file of the configuration and returns its path."""

    def write_file(text: str | bytes, name: str = "zocalod.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file


def problems(path: Path | None, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, {"HOME": "/home/me"} | environ, USER)
    found = caught.value.data["problems"]
    assert all(line in caught.value.message for line in found)
    assert all("\n" not in line for line in found)
    return found


SERVICES = "version: 1\nservices:\n  spotfinder:\n    class: a.b:C\n"

# -- valid configurations


def test_everything_that_the_design_shows(write) -> None:
    secret = write("geheim", "rabbit.secret")
    secret.chmod(0o600)
    path = write(f"""\
version: 1
site: /etc/zocalo/site.yaml
site_environment: live
state_dir: /var/lib/zocalo
control:
  socket: /run/zocalo/zocalod.sock
  roles:
    view: [beamline]
    operate: [controls, {{group: spots, services: ["spot*", index]}}]
    admin: [zocalo-admin]
transports:
  rabbit:
    driver: rabbitmq
    hosts: [rmq1:5672, rmq2]
    vhost: zocalo
    username: zocalo
    password_file: rabbit.secret
    tls: {{ca: /etc/pki/ca.pem}}
default_transport: rabbit
runtimes:
  dials:
    interpreter: {sys.executable}
    env: {{OMP_NUM_THREADS: "1"}}
    python_path: [lib, ~/more]
    preload: [dials.array_family.flex]
services:
  dispatcher:
    class: Dispatcher
    instances: 2
  spotfinder:
    class: mypackage.services:SpotFinder
    runtime: dials
    transport: rabbit
    instances: 8
    environment: {{live: true}}
    restart: {{policy: on-failure, backoff: 0.5s, max_backoff: 60s, limit: 10, window: 120s}}
    stop_timeout: 30s
    hang_timeout: 10m
    max_messages: 10000
    max_rss: 2GiB
    max_crashes: 3
    nice: 5
    limits: {{memory: 4GiB, cpu: 200%, open_files: 4096}}
""")
    config = load(path, {"HOME": "/home/me"}, USER)
    rabbit = config.transports["rabbit"]
    assert rabbit.hosts == ("rmq1:5672", "rmq2:5671")
    assert (rabbit.password, rabbit.password_file) == (None, secret)
    assert config.control.roles == {
        "view": (GrantConfig("beamline"),),
        "operate": (GrantConfig("controls"), GrantConfig("spots", ("spot*", "index"))),
        "admin": (GrantConfig("zocalo-admin"),),
    }
    dials = config.runtimes["dials"]
    assert dials.interpreter == Path(sys.executable)
    assert dials.python_path == (path.parent / "lib", Path("/home/me/more"))
    spotfinder = config.services["spotfinder"]
    assert spotfinder.restart.policy == "on-failure"
    assert (spotfinder.hang_timeout, spotfinder.max_rss) == (600.0, 2 * 1024**3)
    assert (spotfinder.limits.cpu, spotfinder.limits.memory) == (2.0, 4 * 1024**3)
    assert spotfinder.environment == {"live": True}
    assert config.files == (path,)


def test_without_any_file_there_are_a_dispatcher_and_a_broker(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(places, "SYSTEM_DIR", tmp_path / "etc")
    config = load(None, {"HOME": str(tmp_path)}, USER)
    assert config.services == {"dispatcher": ServiceConfig("dispatcher", "Dispatcher")}
    assert config.transports == {"embedded": TransportConfig("embedded")}
    assert (config.default_transport, config.files, config.site) == ("embedded", (), None)
    assert list(config.runtimes) == ["default"]


def test_a_user_s_own_file_comes_before_that_of_the_system(monkeypatch, tmp_path: Path, write) -> None:
    monkeypatch.setattr(places, "SYSTEM_DIR", tmp_path / "etc")
    system = write("version: 1\n", "etc/zocalod.yaml")
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert load(None, environ, USER).files == (system,)
    own = write("version: 1\n", "xdg/zocalo/zocalod.yaml")
    assert load(None, environ, USER).files == (own,)
    assert load(None, environ, 0).files == (system,)


def test_the_environment_names_the_site(write) -> None:
    environ = {"ZOCALO_CONFIG": "/site.yaml", "ZOCALO_DEFAULT_ENV": "live", "HOME": "/home/me"}
    config = load(write("version: 1"), environ, USER)
    assert (config.site, config.site_environment) == (Path("/site.yaml"), "live")
    config = load(write("version: 1\nsite: mine.yaml\nsite_environment: test\n"), environ, USER)
    assert config.site == config.files[0].parent / "mine.yaml"
    assert config.site_environment == "test"


def test_the_state_of_a_user_is_with_the_user(write) -> None:
    path = write("version: 1")
    config = load(path, {"XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"}, USER)
    assert (config.state_dir, config.control.socket) == (Path("/s/zocalo"), Path("/r/zocalo/zocalod.sock"))
    config = load(path, {}, 0)
    assert (config.state_dir, config.control.socket) == (
        Path("/var/lib/zocalo"),
        Path("/run/zocalo/zocalod.sock"),
    )


def test_drop_ins_are_merged_in_name_order(write) -> None:
    main = write(SERVICES + "    instances: 2\n    environment: {a: 1, b: [1, 2]}\n    max_rss: 1GiB\n")
    second = write("services: {spotfinder: {environment: {b: [3]}, instances: 4}}", "zocalod.d/20.yaml")
    first = write("services: {spotfinder: {instances: 3, max_rss: }, other: {class: D}}", "zocalod.d/10.yaml")
    write("nonsense: 1", "zocalod.d/.hidden.yaml")
    write("nonsense: 1", "zocalod.d/10.yaml.bak")
    config = load(main, {}, USER)
    assert config.files == (main, first, second)
    assert list(config.services) == ["spotfinder", "other"]
    spotfinder = config.services["spotfinder"]
    assert (spotfinder.instances, spotfinder.environment) == (4, {"a": 1, "b": [3]})
    assert spotfinder.max_rss is None


def test_a_relative_path_starts_where_its_file_stands(write) -> None:
    main = write("version: 1\n")
    write("state_dir: state\n", "zocalod.d/a.yaml")
    assert load(main, {}, USER).state_dir == main.parent / "zocalod.d" / "state"


def test_anchors_and_merge_keys_save_typing(write) -> None:
    config = load(
        write("""\
version: 1
services:
  one: &one
    class: A
    instances: 2
    restart: &patience {limit: 3}
  two:
    <<: *one
    instances: 5
    restart: {<<: [*patience], window: 5m}
"""),
        {},
        USER,
    )
    two = config.services["two"]
    assert (two.name, two.service_class, two.instances) == ("two", "A", 5)
    assert (two.restart.limit, two.restart.window) == (3, 300.0)


@pytest.mark.parametrize(
    "text", ["version: 1\nservices:\ntransports:\n", "\ufeffversion: 1\r\nservices: {}\r\n"]
)
def test_empty_sections_and_foreign_editors_are_fine(write, text: str) -> None:
    config = load(write(text), {}, USER)
    assert config.services == {}
    assert list(config.transports) == ["embedded"]


def test_the_only_transport_is_the_default(write) -> None:
    config = load(write("version: 1\ntransports: {amq: {driver: activemq, hosts: ['[::1]', a:1]}}"), {}, USER)
    assert config.default_transport == "amq"
    assert config.transports["amq"].hosts == ("[::1]:61613", "a:1")


# -- transports of the site


def test_transports_of_the_site_come_later(write) -> None:
    path = write(SERVICES + "    transport: amq\n")
    config = load(path, {"ZOCALO_CONFIG": "/site.yaml"}, USER)
    assert (config.transports, config.default_transport) == ({}, "")
    offered = {name: TransportConfig(name, "activemq", ("a:1",)) for name in ("pika", "amq")}
    complete = with_site_transports(config, offered)
    assert complete.transports == offered
    assert complete.default_transport == "pika"
    assert with_site_transports(config, offered, "amq").default_transport == "amq"
    with pytest.raises(ConfigError, match=r"services\.spotfinder\.transport: there is no transport 'amq'"):
        with_site_transports(config, {})


def test_a_site_without_transports_gets_the_embedded_broker(write) -> None:
    config = load(write("version: 1\nsite: /x.yaml\n"), {}, USER)
    complete = with_site_transports(config, {})
    assert complete.transports == {"embedded": TransportConfig("embedded")}
    assert complete.default_transport == "embedded"


def test_transports_of_the_daemon_win_over_those_of_the_site_by_name(write) -> None:
    config = load(write("version: 1\nsite: /x.yaml\ntransports: {e: {}}\n"), {}, USER)
    offered = {name: TransportConfig(name, "activemq") for name in ("amq", "e")}
    complete = with_site_transports(config, offered, "amq")
    assert complete.transports == {"e": TransportConfig("e"), "amq": offered["amq"]}
    assert complete.default_transport == "e"  # its own only one


def test_the_default_may_be_one_of_the_site(write) -> None:
    text = "version: 1\nsite: /x.yaml\ndefault_transport: amq\ntransports: {e: {}, f: {}}\n"
    config = load(write(text), {}, USER)
    assert with_site_transports(config, {"amq": TransportConfig("amq")}).default_transport == "amq"


def test_a_transport_that_the_site_does_not_have_either(write) -> None:
    path = write(SERVICES + "    transport: amp\ntransports: {e: {}}\ndefault_transport: x\nsite: /x.yaml\n")
    config = load(path, {}, USER)
    with pytest.raises(ConfigError) as caught:
        with_site_transports(config, {"amq": TransportConfig("amq")})
    known = "with those of the site configuration there are: e, amq"
    assert caught.value.data["problems"] == [
        f"{path}:5: services.spotfinder.transport: there is no transport 'amp'; {known}",
        f"{path}:7: default_transport: there is no transport 'x'; {known}",
    ]


# -- one problem each; PATH stands for the file

IN_SERVICE = [
    ("instnces: 3", "services.spotfinder.instnces: unknown key; did you mean 'instances'?"),
    ("Instances: 3", "services.spotfinder.Instances: unknown key; did you mean 'instances'?"),
    ("instances: two", "services.spotfinder.instances: expected a whole number from 0 to 10000, not 'two'"),
    (
        "instances: '2'",
        "services.spotfinder.instances: expected a whole number from 0 to 10000, not '2'; "
        "leave the quotes out",
    ),
    ("instances: true", "services.spotfinder.instances: expected a whole number from 0 to 10000, not 'true'"),
    ("instances: 2.5", "services.spotfinder.instances: expected a whole number from 0 to 10000, not '2.5'"),
    ("instances: -1", "services.spotfinder.instances: -1 is out of range; expected 0 to 10000"),
    ("nice: 20", "services.spotfinder.nice: 20 is out of range; expected -20 to 19"),
    (
        "umask: 0027",
        "services.spotfinder.umask: expected three or four octal digits, but 0027 is read as a number; "
        "put it in quotes: '0027'",
    ),
    ("umask: '088'", "services.spotfinder.umask: expected three or four octal digits, not '088'"),
    (
        "ionice: best-effort/8",
        "services.spotfinder.ionice: unknown word 'best-effort/8'; did you mean 'best-effort/7'?",
    ),
    ("verbose: 1", "services.spotfinder.verbose: expected true or false, not '1'"),
    (
        "stop_timeout: soon",
        "services.spotfinder.stop_timeout: expected a duration, for example 30s, 500ms or 10m, not 'soon'",
    ),
    ("stop_timeout: 30x", "services.spotfinder.stop_timeout: unknown unit of time 'x'; use ms, s, m, h or d"),
    (
        "stop_timeout: 1:30",
        "services.spotfinder.stop_timeout: expected a duration, for example 30s, 500ms or 10m, not '1:30'",
    ),
    ("stop_timeout: -1", "services.spotfinder.stop_timeout: -1 is out of range; expected 0s to 30d"),
    ("stop_timeout: .nan", "services.spotfinder.stop_timeout: .nan is out of range; expected 0s to 30d"),
    (
        "stop_timeout: [1]",
        "services.spotfinder.stop_timeout: expected a duration, for example 30s, 500ms or 10m, not a list",
    ),
    ("max_rss: 2G", "services.spotfinder.max_rss: unknown unit of size 'G'; did you mean 2GiB?"),
    (
        "max_rss: 2 apples",
        "services.spotfinder.max_rss: unknown unit of size 'apples'; use KiB, MiB, GiB or kB, MB, GB",
    ),
    ("max_rss: 2gib", "services.spotfinder.max_rss: unknown unit of size 'gib'; did you mean 2GiB?"),
    ("max_rss: 12", "services.spotfinder.max_rss: 12 is out of range; expected 1MiB to 1024TiB"),
    (
        "limits: {cpu: 2}",
        "services.spotfinder.limits.cpu: expected a percentage, for example 200% for two cores, not '2'",
    ),
    ("limits: 2GiB", "services.spotfinder.limits: expected a map with keys such as 'memory', not '2GiB'"),
    (
        "restart: {policy: allways}",
        "services.spotfinder.restart.policy: unknown word 'allways'; did you mean 'always'?",
    ),
    (
        "restart: {policy: xyzzy}",
        "services.spotfinder.restart.policy: unknown word 'xyzzy'; expected always, on-failure or never",
    ),
    (
        "restart: {policy: no}",
        "services.spotfinder.restart.policy: expected always or on-failure or never, "
        "but no is read as yes or no; put it in quotes: 'no'",
    ),
    ("restart: {backoff: 2m}", "services.spotfinder.restart.backoff: backoff is longer than max_backoff"),
    (
        "restart: {max_backoff: 0.1s}",
        "services.spotfinder.restart.max_backoff: backoff is longer than max_backoff",
    ),
    ("runtime: defalt", "services.spotfinder.runtime: there is no runtime 'defalt'; did you mean 'default'?"),
    (
        "transport: rabbit",
        "services.spotfinder.transport: there is no transport 'rabbit'; expected embedded",
    ),
    (
        "environment: [a]",
        "services.spotfinder.environment: expected a map, for example {live: true}, not a list",
    ),
    (
        "environment: {on: 1}",
        "services.spotfinder.environment.on: expected text as key, but on is read as yes or no; "
        "put it in quotes: 'on'",
    ),
    (
        "environment: {d: 2026-01-01}",
        "services.spotfinder.environment.d: 2026-01-01 is read as a date; put it in quotes: '2026-01-01'",
    ),
    ("environment: {n: .nan}", "services.spotfinder.environment.n: expected a finite number, not .nan"),
    ("class: x", "services.spotfinder.class: the key is there already, in line 4"),
]


@pytest.mark.parametrize(("line", "expected"), IN_SERVICE, ids=lambda v: v[:30])
def test_a_problem_of_a_service(write, line: str, expected: str) -> None:
    path = write(SERVICES + f"    {line}\n")
    assert problems(path) == [f"{path}:5: {expected}"]


ON_ONE_LINE = [
    ("servics: {}", "servics: unknown key; did you mean 'services'?"),
    ("frobnicate: 1", "frobnicate: unknown key; expected "),
    ("services: [a]", "services: expected a map, for example {dispatcher: {class: Dispatcher}}, not a list"),
    ("services: {a: }", "services.a: 'class' is missing; write for example 'class: Dispatcher'"),
    ("services: {a: {class: }}", "services.a: 'class' is missing; write for example 'class: Dispatcher'"),
    ("services: {a: {class: a b}}", "services.a.class: expected an entry point such as Dispatcher"),
    ("services: {a: {class: ':C'}}", "services.a.class: expected an entry point such as Dispatcher"),
    ("services: {all: {class: A}}", "services.all: 'all' stands for every service; choose another name"),
    ("services: {Spot Finder: {class: A}}", "services.Spot Finder: a name consists of"),
    ("services: {a/b: {class: A}}", "services.a/b: a name consists of"),
    ("services: {'a*': {class: A}}", "services.a*: a name consists of"),
    ("services: {-a: {class: A}}", "services.-a: a name consists of"),
    ("services: {no: {class: A}}", "services.no: YAML does not read no as text; put it in quotes"),
    ("services: {? {a: b} : {class: A}}", "a key has to be a single word"),
    (
        "site_environment: on",
        "site_environment: expected text, but on is read as yes or no; put it in quotes",
    ),
    ("state_dir: ''", "state_dir: expected a path, not an empty text"),
    ("state_dir: ~other/x", "state_dir: '~other/x': only '~/' is expanded"),
    ('state_dir: "a\\0b"', "state_dir: has a control character"),
    (f"control: {{socket: /{'x' * 107}}}", "control.socket: the path of a socket takes at most 107 bytes"),
    ("control: {roles: {viewer: [a]}}", "control.roles.viewer: unknown key; did you mean 'view'?"),
    ("control: {roles: {view: a}}", "control.roles.view: expected a list, for example [beamline, controls]"),
    (
        "control: {roles: {view: [{group: a, service: [b]}]}}",
        "control.roles.view[0].service: unknown key; did",
    ),
    ("control: {roles: {view: [{services: [b]}]}}", "control.roles.view[0]: 'group' is missing"),
    (
        "control: {roles: {view: [{group: a, services: []}]}}",
        "control.roles.view[0].services: no service; leave",
    ),
    (
        "control: {roles: {view: [{group: a, services: [b/0]}]}}",
        "control.roles.view[0].services[0]: 'b/0' matches",
    ),
    ("control: {roles: {view: [1]}}", "control.roles.view[0]: expected text, but 1 is read as a number"),
    ("default_transport: rabbit", "default_transport: there is no transport 'rabbit'; expected embedded"),
    (
        "transports: {a: {}, b: {}}\ndefault_transport:",
        "transports: several transports; add 'default_transport: a'",
    ),
    ("transports:\ndefault_transport: a", "default_transport: there is no transport 'a'; expected embedded"),
    ("runtimes: 3\nservices: {a: {class: A, runtime: b}}", "runtimes: expected a map"),
    ("transports: {a: {}, b: {}}", "transports: several transports; add 'default_transport: a'"),
    (
        "transports: {a: {driver: rabitmq}}",
        "transports.a.driver: unknown word 'rabitmq'; did you mean 'rabbitmq'?",
    ),
    ("transports: {a: {driver: rabbitmq}}", "transports.a: the driver rabbitmq needs 'hosts'"),
    (
        "transports: {a: {driver: activemq, hosts: []}}",
        "transports.a.hosts: the driver activemq needs 'hosts'",
    ),
    (
        "transports: {a: {driver: activemq, hosts: [x:1], vhost: v}}",
        "transports.a.vhost: only the driver rabbitmq has virtual hosts",
    ),
    (
        "transports: {a: {driver: rabbitmq, hosts: [x:1], prefix: p}}",
        "transports.a.prefix: RabbitMQ has virtual hosts instead of prefixes: use 'vhost'",
    ),
    ("transports: {a: {hosts: [x:1]}}", "transports.a.hosts: the embedded broker has no such key"),
    ("transports: {a: {heartbeat: 5s}}", "transports.a.heartbeat: the embedded broker has no such key"),
    ("transports: {a: {driver: rabbitmq, hosts: [x:y]}}", "transports.a.hosts[0]: expected host:port"),
    ("transports: {a: {driver: rabbitmq, hosts: ['::1']}}", "transports.a.hosts[0]: expected host:port"),
    (
        "transports: {a: {driver: rabbitmq, hosts: [x:70000]}}",
        "transports.a.hosts[0]: port 70000 is out of range",
    ),
    ("transports: {a: {driver: rabbitmq, hosts: [10:20]}}", "transports.a.hosts[0]: expected host:port"),
    ("transports: {a: {driver: rabbitmq, hosts: x}}", "transports.a.hosts: expected a list"),
    (
        "transports: {a: {driver: rabbitmq, hosts: [x], tls: true}}",
        "transports.a.tls: expected a map with keys such as 'ca', not 'true'",
    ),
    (
        "transports: {a: {driver: rabbitmq, hosts: [x], tls: {key: k}}}",
        "transports.a.tls.key: a key without 'certificate'",
    ),
    (
        "transports: {a: {driver: rabbitmq, hosts: [x], password_file: nowhere}}",
        "transports.a.password_file: ",
    ),
    ("runtimes: {a: {interpreter: /etc/passwd}}", "runtimes.a.interpreter: /etc/passwd cannot be executed"),
    ("runtimes: {a: {interpreter: /}}", "runtimes.a.interpreter: / cannot be executed"),
    ("runtimes: {a: {interpreter: nowhere}}", "runtimes.a.interpreter: "),
    (
        "runtimes: {a: {env: {OMP: 1}}}",
        "runtimes.a.env.OMP: expected text, as every environment variable is, but 1 is read as a number; "
        "put it in quotes: '1'",
    ),
    ("runtimes: {a: {env: {'A=B': c}}}", "runtimes.a.env.A=B: expected the name of an environment variable"),
    ("runtimes: {a: {preload: [a b]}}", "runtimes.a.preload[0]: expected the name of a module"),
    ("runtimes: {a: {python_path: /x}}", "runtimes.a.python_path: expected a list"),
    ("a: !!python/object/apply:os.system [x]", "YAML tags (words after '!') have no meaning here"),
    ("a: *b", "this '*' refers to no anchor ('&name') before it"),
    ("a: &b [*b]", "this '*' refers to no anchor ('&name') before it"),
    ("a: {<<: 3}", "after '<<' stands the alias of a map"),
    ("\tstate_dir: x", "a tab indents this line; use spaces"),
    ("a: @b", "a value cannot begin with this character; quote it"),
    ("a: b: c", "a ':' where none can be"),
    ("a: 'b", "a quote is opened and never closed"),
    ("--- a", "a second YAML document begins here"),
    ("a: \x01", "the control character U+0001 may not stand in YAML"),
    (b"a: \xff", "this line is not UTF-8 text"),
    ("a: " + "[" * 40 + "]" * 40, "maps and lists are nested more than 32 deep"),
    ("a: " + "[" * 50_000, "maps and lists are nested more than 32 deep"),
]


@pytest.mark.parametrize(("line", "expected"), ON_ONE_LINE, ids=lambda v: str(v)[:30])
def test_a_problem_of_line_two(write, line: str | bytes, expected: str) -> None:
    path = write(b"version: 1\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    (found,) = problems(path)
    line_number = 3 if "quote is" in expected or "'a'; expected embedded" in expected else 2
    assert found.startswith(f"{path}:{line_number}: {expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1: 'version' is missing; write 'version: 1' at the top"),
        ("# only a comment\n", ":1: 'version' is missing; write 'version: 1' at the top"),
        ("services: {}", ":1: 'version' is missing; write 'version: 1' at the top"),
        ("version: 2", ":1: version: expected 1, the version of this format, not '2'"),
        ("version: '1'", ":1: version: expected 1, the version of this format, not '1'"),
        ("- a", ":1: expected a map of keys and values, for example 'version: 1'"),
        ("just words", ":1: expected a map of keys and values, for example 'version: 1'"),
        (
            "version: 1\na: [b\nc: d\n",
            ":3: a bracket is not closed, or a ',' is missing (it begins in line 2)",
        ),
        (
            "version: 1\n  services: {}\n",
            ":2: a ':' where none can be; quote the value, or correct the indentation",
        ),
        (
            "version: 1\nservices\n",
            ":2: a ':' is missing after the key; write 'key: value'",
        ),
    ],
)
def test_a_problem_of_the_whole_file(write, text: str, expected: str) -> None:
    path = write(text)
    assert problems(path) == [f"{path}{expected}"]


def test_every_problem_of_every_file_is_told_in_order(write) -> None:
    main = write("version: 1\nservices:\n  one:\n    class: A\n    nice: 99\nwhat: 1\n")
    extra = write("services:\n  one:\n    instances: -3\n    nicce: 1\n", "zocalod.d/a.yaml")
    assert [line.split(": ", 2)[:2] for line in problems(main)] == [
        [f"{main}:5", "services.one.nice"],
        [f"{main}:6", "what"],
        [f"{extra}:3", "services.one.instances"],
        [f"{extra}:4", "services.one.nicce"],
    ]


def test_what_a_drop_in_replaces_is_not_looked_at(write) -> None:
    main = write("version: 1\nservices: {one: {class: A, nice: 99}}\n")
    write("services: {one: {nice: 1}}\n", "zocalod.d/a.yaml")
    assert load(main, {}, USER).services["one"].nice == 1


def test_many_problems_are_counted(write) -> None:
    found = problems(write("version: 1\n" + "".join(f"key{n}: 1\n" for n in range(5000))))
    assert len(found) == 101
    assert found[-1].endswith("and 4900 more problems")


# -- bombs


def test_aliases_cannot_stand_for_a_billion_values(write) -> None:
    lines = ["version: 1", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (found,) = problems(write("\n".join(lines)))
    assert "more than 100000 values, counting those behind aliases" in found


def test_a_file_is_bounded(write) -> None:
    path = write("version: 1\n#" + "x" * 1024 * 1024)
    assert problems(path) == [f"{path}: the file has more than 1024 KiB"]


# -- files that cannot be read


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    assert problems(path) == [f"{path}: cannot be read: no such file or directory"]


def test_a_directory_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    expected = "cannot be read: it is no file, but a directory or a device"
    assert problems(tmp_path) == [f"{tmp_path}: {expected}"]
    os.mkfifo(tmp_path / "pipe")
    assert problems(tmp_path / "pipe") == [f"{tmp_path / 'pipe'}: {expected}"]


def test_a_relative_path_is_told_as_it_is_on_disk(write, monkeypatch) -> None:
    path = write("version: 2")
    monkeypatch.chdir(path.parent)
    assert problems(Path("zocalod.yaml"))[0].startswith(f"{path}:1: ")


def test_no_permission(write, monkeypatch) -> None:
    path = write("version: 1")

    def refuse(*_args: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(load_module.os, "open", refuse)
    assert problems(path) == [f"{path}: cannot be read: permission denied"]


def test_a_link_to_nowhere_is_told(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(places, "SYSTEM_DIR", tmp_path)
    (tmp_path / "zocalod.yaml").symlink_to("nowhere")
    assert problems(None) == [f"{tmp_path}/zocalod.yaml: cannot be read: no such file or directory"]


def test_the_built_in_socket_can_be_too_long(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(places, "SYSTEM_DIR", tmp_path)
    (found,) = problems(None, XDG_RUNTIME_DIR="/" + "x" * 100)
    assert found.startswith("built-in configuration: control.socket: the path of a socket takes at most 107")


# -- secrets

RABBIT = "version: 1\ntransports:\n  rabbit:\n    driver: rabbitmq\n    hosts: [rmq]\n"


@pytest.mark.parametrize(
    "line",
    [
        "password: 31415926",
        "password: [geheim]",
        "password: {geheim: 1, geheim: 1}",
        "password: *geheim",
        "password: !geheim",
        "password: @geheim",
        "password: 'geheim",
        'password: "geheim\\n"',
        "password: 2026-01-01",
        "pasword: geheim",
        "hosts: ['amqp://u:geheim@rmq:1']",
        "password: geheim\n    driver: embedded",
        "tls: {password geheim}",
        "prefix: 'a\n    password: geheim'\n    driver: embedded",
        'vhost: "x\\n\n    password: geheim"',
    ],
)
def test_no_problem_shows_a_password(write, line: str) -> None:
    text = "\n".join(problems(write(RABBIT + f"    {line}\n")))
    assert not any(secret in text for secret in ("geheim", "31415926", "2026"))


def test_a_password_is_not_in_repr(write) -> None:
    config = load(write(RABBIT + "    password: geheim\n"), {}, USER)
    assert config.transports["rabbit"].password == "geheim"
    assert "geheim" not in repr(config)


def test_one_password_is_enough(write) -> None:
    write("x", "secret").chmod(0o600)
    path = write(RABBIT + "    password: geheim\n    password_file: secret\n")
    assert problems(path) == [
        f"{path}:7: transports.rabbit.password_file: give either 'password' or 'password_file'"
    ]


def test_others_must_not_read_a_password(write) -> None:
    secret = write("x", "secret")
    path = write(RABBIT + "    password_file: secret\n")
    secret.chmod(0o644)
    assert problems(path) == [
        f"{path}:6: transports.rabbit.password_file: others can read the password; chmod 600 {secret}"
    ]
    secret.chmod(0o640)
    assert isinstance(load(path, {}, USER), DaemonConfig)


# -- the file that is installed


def test_the_installed_file_is_the_built_in_configuration(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(places, "SYSTEM_DIR", tmp_path / "etc")
    installed, built_in = load(ETC, {}, 0), load(None, {}, 0)
    assert installed.services == built_in.services
    assert installed.transports == built_in.transports


def test_what_the_installed_file_shows_is_valid(write) -> None:
    shown = "\n".join(
        line[1:] if (line.startswith("#") and line[1:2] not in ("", " ")) or line.startswith("#  ") else line
        for line in ETC.read_text().splitlines()
    )
    shown = shown.replace("/opt/dials/bin/python", sys.executable)
    secret = write("x", "rabbit.secret")
    secret.chmod(stat.S_IRUSR)
    config = load(write(shown.replace("/etc/zocalo/rabbit.secret", str(secret))), {}, 0)
    assert list(config.services) == ["dispatcher", "spotfinder"]
    assert config.default_transport == "rabbit"
    assert list(config.runtimes) == ["default", "dials"]


def test_the_sockets_of_further_relays_have_room_too(write):
    file = write(f"version: 1\ncontrol: {{socket: /{'x' * 95}/z.sock}}\nrelay_processes: 2\n")
    assert "107 bytes, not 109" in " ".join(problems(file))
