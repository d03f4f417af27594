"""Rules of zocalod.yaml that are more than a type: names, addresses, files, keys that depend on others."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

from . import sequence
from .nodes import Items, Node, Scalar, Table
from .problems import one_of
from .schema import DEFAULT_RUNTIME, DEFAULT_TRANSPORT, GrantConfig
from .values import path, text
from .walk import Context, Converter, Given, Unfit, seen, shown

MAX_SOCKET_PATH = 107  # bytes: sun_path of unix(7) less the final NUL
RELAY_SOCKET = "relay.sock"  # stands beside the control socket

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_PATTERN = re.compile(r"[a-z0-9_*?!\[\]-]{1,100}", re.ASCII)
_CLASS = re.compile(r"[^\W\d][\w.-]*|[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_HOST = re.compile(r"([A-Za-z0-9_](?:[A-Za-z0-9_.-]*)|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,6}))?", re.ASCII)
_PORTS = {
    ("rabbitmq", False): 5672,
    ("rabbitmq", True): 5671,
    ("activemq", False): 61613,
    ("activemq", True): 61614,
}
_KEYS_OF_NETWORK = (
    *("hosts", "username", "password", "password_file"),
    *("tls", "heartbeat", "management", "spool"),
)


def or_empty(section: Converter) -> Converter:
    """Return a converter that takes nothing (`rabbit:` and no more) for a section without keys."""

    def convert(node: Node, context: Context) -> Any:
        empty = isinstance(node, Scalar) and node.kind == "null"
        return section(Table(node.where) if empty else node, context)

    return convert


def or_group(section: Converter) -> Converter:
    """Return a converter that takes the name of a group for a grant of everything."""

    def convert(node: Node, context: Context) -> Any:
        if isinstance(node, Table):
            return section(node, context)
        return GrantConfig(text(node, context))

    return convert


def pattern(node: Node, context: Context) -> str:
    """Convert a pattern of names of services; one that cannot match any is a mistake."""
    word = text(node, context, "expected a name or a pattern of services, for example spot*")
    if not _PATTERN.fullmatch(word):
        raise Unfit(f"'{shown(word)}' matches no service; expected a name or a pattern, for example 'spot*'")
    return word


def grant(given: Given) -> None:
    """A list of no services would give nothing, and nobody means that."""
    services = given.table.entries.get("services")
    if services and isinstance(services.node, Items) and not services.node.items:
        given.add("services", "no service; leave 'services' out to mean all of them")


def version(node: Node, _context: Context) -> int:
    """Convert the version of the file format; there is one."""
    if not isinstance(node, Scalar) or node.kind != "int" or node.value != 1:
        raise Unfit(f"expected 1, the version of this format, not {seen(node)}")
    return 1


def name(node: Node, context: Context) -> str:
    """Convert the name of a runtime or transport."""
    return text(node, context, "expected a name")


def key_name(key: Scalar) -> None:
    """Take the name of a runtime, transport or service: it appears in paths, globs and process titles."""
    word = shown(key.text)
    if key.kind != "text":
        raise Unfit(f"YAML does not read {word} as text; put it in quotes, or choose another name")
    if not _NAME.fullmatch(key.text):
        better = re.sub(r"[^a-z0-9_-]+", "-", key.text.lower()).strip("-_")[:63]
        hint = f"; for example '{better}'" if _NAME.fullmatch(better) else ""
        raise Unfit(f"a name consists of a-z, 0-9, '_' and '-', at most 63 of them{hint}")


def service_name(key: Scalar) -> None:
    """Take the name of a service; `all` means every one of them on the command line."""
    key_name(key)
    if key.text == "all":
        raise Unfit("'all' stands for every service; choose another name")


def service_class(node: Node, context: Context) -> str:
    """Convert an entry point of workflows.services or "package.module:Class"."""
    word = text(node, context, "expected a class, for example Dispatcher or mypackage.services:SpotFinder")
    if not _CLASS.fullmatch(word):
        raise Unfit(
            f"expected an entry point such as Dispatcher, or package.module:Class, not '{shown(word)}'"
        )
    return word


def module(node: Node, context: Context) -> str:
    """Convert the dotted name of a module."""
    word = text(node, context, "expected the name of a module, for example numpy.linalg")
    if not _MODULE.fullmatch(word):
        raise Unfit(f"expected the name of a module, for example numpy.linalg, not '{shown(word)}'")
    return word


def variable(key: Scalar) -> None:
    """Take the name of an environment variable."""
    if key.kind != "text":
        raise Unfit(f"YAML does not read {shown(key.text)} as text; put it in quotes")
    if not _VARIABLE.fullmatch(key.text):
        raise Unfit("expected the name of an environment variable, for example OMP_NUM_THREADS")


def env_value(node: Node, context: Context) -> str:
    """Convert the value of an environment variable, which is always text."""
    if isinstance(node, Scalar) and node.kind == "text" and "\0" not in node.text:
        return node.text
    return text(node, context, "expected text, as every environment variable is")


def secret(node: Node, context: Context) -> str:
    """Convert a password; no message shows it."""
    return text(node, context, "expected the password as text", secret=True)


def secret_file(node: Node, context: Context) -> Path:
    """Convert the path of a file that others cannot read."""
    file = path(node, context)
    mode = _look(file).st_mode
    if not stat.S_ISREG(mode):
        raise Unfit(f"{file} is no file")
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise Unfit(f"others can read the password; chmod 600 {file}")
    if not os.access(file, os.R_OK):
        raise Unfit(f"{file} cannot be read by the daemon's user")
    return file


def interpreter(node: Node, context: Context) -> Path:
    """Convert the path of a Python interpreter. It stays a symlink: a virtual environment is found by it."""
    file = path(node, context)
    if not stat.S_ISREG(_look(file).st_mode) or not os.access(file, os.X_OK):
        raise Unfit(f"{file} cannot be executed; expected an interpreter, for example /opt/dials/bin/python")
    return file


def _look(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as exc:
        raise Unfit(f"{file}: {(exc.strerror or 'cannot be read').lower()}") from None


def socket(node: Node, context: Context) -> Path:
    """Convert the path of the control socket."""
    file = path(node, context)
    if problem := socket_problem(file):
        raise Unfit(problem)
    return file


def socket_problem(file: Path) -> str | None:
    """Return why no socket can be bound at a path, or None."""
    longest = max((len(os.fsencode(file)), len(os.fsencode(file.parent / RELAY_SOCKET))))
    if longest > MAX_SOCKET_PATH:
        return (
            f"the path of a socket takes at most {MAX_SOCKET_PATH} bytes, not {longest}; choose a shorter one"
        )
    return None


def host(node: Node, context: Context) -> str:
    """Convert "host:port" or "host"; an IPv6 address stands in brackets (RFC 3986, section 3.2.2)."""
    word = text(node, context, "expected host:port, for example rmq1:5672")
    if "@" in word or "//" in word:
        raise Unfit("expected host:port alone; driver, username and password are keys of their own")
    match = _HOST.fullmatch(word)
    if match is None:
        brackets = "; an IPv6 address stands in brackets: '[::1]:5672'" if word.count(":") > 1 else ""
        raise Unfit(f"expected host:port, for example rmq1:5672, not '{shown(word)}'{brackets}")
    if match[2] and not 1 <= int(match[2]) <= 65535:
        raise Unfit(f"port {match[2]} is out of range; expected 1 to 65535")
    return word


def restart(given: Given) -> None:
    """The pause between restarts grows from backoff to max_backoff."""
    backoff = given.values.get("backoff", 0.5)
    if backoff > given.values.get("max_backoff", 60.0):
        key = "max_backoff" if "max_backoff" in given.values else "backoff"
        given.add(key, "backoff is longer than max_backoff")


def tls(given: Given) -> None:
    """A certificate and its key belong together."""
    if "key" in given.values and "certificate" not in given.values:
        given.add("key", "a key without 'certificate'")


def credentials(given: Given) -> None:
    """A password stands in one place."""
    if "password" in given.table.entries and "password_file" in given.table.entries:
        given.add("password_file", "give either 'password' or 'password_file'")


def transport(given: Given) -> None:
    """Some keys belong to drivers that speak over a network; every host gets its port."""
    if "driver" in given.table.entries and "driver" not in given.values:
        return  # reported; what the others should be is unknown
    driver = given.values.get("driver", "embedded")
    if driver == "embedded":
        for key in (*_KEYS_OF_NETWORK, "vhost"):
            if key in given.table.entries:
                given.add(key, "the embedded broker has no such key; is 'driver: rabbitmq' missing?")
        return
    hosts = given.table.entries.get("hosts")
    if hosts is None or (isinstance(hosts.node, Items) and not hosts.node.items):
        given.add("hosts", f"the driver {driver} needs 'hosts', for example 'hosts: [rmq1:5672]'")
    if driver != "rabbitmq" and "vhost" in given.values:
        given.add("vhost", "only the driver rabbitmq has virtual hosts")
    for key in ("heartbeat", "management"):
        if driver != "rabbitmq" and key in given.values:
            given.add(key, "only the driver rabbitmq has this key")
    if driver == "rabbitmq" and "prefix" in given.values:
        given.add("prefix", "RabbitMQ has virtual hosts instead of prefixes: use 'vhost'")
    credentials(given)
    port = _PORTS[driver, "tls" in given.values]
    named = given.values.get("hosts", ())
    given.values["hosts"] = tuple(
        word if re.search(r":[0-9]+$", word) else f"{word}:{port}" for word in named
    )


def references(given: Given) -> None:
    """Services name runtimes, transports and other services that exist."""
    runtimes = _names(given, "runtimes")
    transports = _transports(given)
    services = given.table.entries.get("services")
    if services and isinstance(services.node, Table):
        for service, entry in services.node.entries.items():
            if isinstance(entry.node, Table):
                inside = given.context.inside("services").inside(shown(service))
                part = Given({}, entry.node, inside)
                _known(part, "runtime", None if runtimes is None else [*runtimes, DEFAULT_RUNTIME])
                _known(part, "transport", transports)
    sequence.check(given)
    _known(given, "default_transport", transports)
    own = _names(given, "transports")
    if own and len(own) > 1 and _word(given, "default_transport") is None:
        given.add("transports", f"several transports; add 'default_transport: {own[0]}'")


def _transports(given: Given) -> list[str] | None:
    """Return the names of the transports; None if they are not known yet."""
    names = _names(given, "transports")
    if given.context.site or "site" in given.values:
        return None
    return [DEFAULT_TRANSPORT] if names == [] else names


def _names(given: Given, key: str) -> list[str] | None:
    """Return the names of a map, those of members that are wrong too; None if it is no map."""
    entry = given.table.entries.get(key)
    if entry is None or (isinstance(entry.node, Scalar) and entry.node.kind == "null"):
        return []
    return list(entry.node.entries) if isinstance(entry.node, Table) else None


def _word(given: Given, key: str) -> str | None:
    entry = given.table.entries.get(key)
    node = entry.node if entry else None
    return node.text if isinstance(node, Scalar) and node.kind == "text" else None


def _known(given: Given, key: str, names: list[str] | None) -> None:
    word = _word(given, key)
    if names is None or word is None or word in names:
        return
    kind = key.rpartition("_")[2]
    given.add(key, f"there is no {kind} '{shown(word)}'; {one_of(word, names)}")
