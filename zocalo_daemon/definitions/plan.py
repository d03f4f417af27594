"""What is to be made, changed and removed so that a broker has what is wanted, and in which order (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from zocalo_daemon.definitions.broker import Broker, Held
from zocalo_daemon.definitions.items import DEFAULT_VHOST, KINDS, Item, Key, differences

_PLURALS = {
    **{"user": "users", "vhost": "vhosts", "permission": "permissions", "policy": "policies"},
    **{"exchange": "exchanges", "queue": "queues", "binding": "bindings"},
}
Wanted = Mapping[str, Mapping[Key, Item]]
Request = tuple[str, str, dict[str, Any] | None]  # method, path below /api/, JSON


class Change(NamedTuple):
    """One change.

    Args:
        action: create, update, replace or remove.
        details: what is different, for people; no secrets.
        requests: that carry it out; they may have secrets.
        if_empty: the queue is to be removed only if it has no messages.
    """

    action: str
    item: Item
    details: tuple[str, ...]
    requests: tuple[Request, ...]
    if_empty: bool = False


class Plan(NamedTuple):
    """What is to be done.

    Args:
        changes: in their order.
        problems: for which nothing can be done.
        kept: why something stays that is not wanted.
    """

    changes: list[Change]
    problems: list[str]
    kept: list[str]


def plan(wanted: Wanted, there: Broker, force: bool = False) -> Plan:
    """Return what is to be done; kinds that are not in `wanted` stay as they are.

    What would lose messages is not done, but for `force`; nor what would lock out who asks.
    """
    replaced = _replaced(wanted, there)
    makes = [change for kind in KINDS for change in _makes(kind, wanted, there, replaced)]
    problems = [*_conflicts(makes), *_unknown(wanted, there), *_forbidden(wanted, there)]
    kept: list[str] = []
    gone = _Gone(wanted, there, replaced)
    removes = [
        _remove(held, force) for kind in reversed(KINDS) for held in _unwanted(kind, gone, kept, force)
    ]
    makes = [one for one in makes if one.action != "conflict"]
    # Once its own account is another one, it may be able to do nothing else.
    last = [one for one in makes if one.item.kind == "user" and one.item.key == (there.user,)]
    return Plan([one for one in makes if one not in last] + removes + last, problems, kept)


# -- What is made and changed


def _replaced(wanted: Wanted, there: Broker) -> set[Key]:
    """Return the exchanges that are to be made anew: they cannot be changed, and hold no messages."""
    return {
        key
        for key, item in wanted.get("exchange", {}).items()
        if (held := there.of("exchange").get(key)) and differences(item, held.item.body)
    }


def _makes(kind: str, wanted: Wanted, there: Broker, replaced: set[Key]) -> Iterator[Change]:
    for key, item in wanted.get(kind, {}).items():
        held = there.of(kind).get(key)
        if held is None or (kind == "binding" and _ends(key) & replaced):
            yield Change("create", item, _described(item), (_put(item),))
            continue
        different = tuple(differences(item, held.item.body))
        if not different:
            continue
        if kind == "exchange":
            yield Change("replace", item, different, (_delete(item), _put(item)))
        elif kind == "queue":
            yield Change("conflict", item, different, ())
        else:
            known = {name: value for name, value in held.item.body.items() if value is not None}
            whole = item._replace(body={**known, **item.body})
            yield Change("update", item, different, (_put(whole),))


def _ends(key: Key) -> set[Key]:
    """Return the exchanges of a binding."""
    vhost, source, kind, destination = key[:4]
    return {(vhost, source)} | ({(vhost, destination)} if kind == "exchange" else set())


def _described(item: Item) -> tuple[str, ...]:
    if item.kind == "user":
        return (f"tags {item.body['tags']}",) if item.body["tags"] else ()
    shown = {**item.body, **item.body.get("arguments", {})}
    shown.pop("arguments", None)
    return tuple(
        f"{name} {value if isinstance(value, str) and value else json.dumps(value, sort_keys=True)}"
        for name, value in shown.items()
        if value is not False and value != {}
    )


def _conflicts(makes: list[Change]) -> Iterator[str]:
    for one in makes:
        if one.action == "conflict":
            yield (
                f"{one.item.place}: {one.item.label} is there, but otherwise ({', '.join(one.details)}), and "
                "RabbitMQ cannot change a queue: move its messages away (zocaloctl drain) and delete it"
            )


def _unknown(wanted: Wanted, there: Broker) -> Iterator[str]:
    """Yield what is wanted in a virtual host, for a user or between ends that will not be there."""

    def known(kind: str) -> set[Key]:
        of_broker = {key for key, one in there.of(kind).items() if kind not in wanted or one.temporary}
        return of_broker | set(wanted.get(kind, ())) | ({(DEFAULT_VHOST,)} if kind == "vhost" else set())

    hosts, users = known("vhost"), known("user") | {(there.user,)}
    ends = {"exchange": known("exchange"), "queue": known("queue")}
    for item in (item for items in wanted.values() for item in items.values()):
        if item.vhost is not None and (item.vhost,) not in hosts:
            hosts.add((item.vhost,))  # told once for all that is in it
            yield f"{item.place}: there is no virtual host '{item.vhost}'; list it under 'vhosts'"
        elif item.kind == "permission" and "user" in there.held and (item.key[1],) not in users:
            yield f"{item.place}: there is no user '{item.key[1]}'; --user-config names the files with users"
        elif item.kind == "binding":
            vhost, source, kind, destination = item.key[:4]
            for what, name in (("exchange", source), (kind, destination)):
                if (vhost, name) not in ends[what] and not name.startswith("amq."):
                    yield f"{item.place}: there is no {what} '{name}' in '{vhost}' for this binding"


def _forbidden(wanted: Wanted, there: Broker) -> Iterator[str]:
    """Yield what the user who asks may not do, as far as that can be told."""
    for kind in ("user", "vhost", "permission"):
        if kind in wanted and kind not in there.held:
            yield f"user '{there.user}' may not change {_PLURALS[kind]}: give it the tag administrator"
    own = _entered(wanted, there)
    if own is None:
        return
    needed = {key[0] for kind in ("exchange", "queue", "binding") for key in wanted.get(kind, {})}
    there_will_be = {**there.of("vhost"), **wanted.get("vhost", {})}
    for vhost in sorted(one for one in needed - own if (one,) in there_will_be):
        yield (
            f"user '{there.user}', who asks, has no permissions in virtual host '{vhost}': list them under "
            f"'permissions', or: rabbitmqctl set_permissions -p {vhost} {there.user} '.*' '.*' '.*'"
        )


def _entered(wanted: Wanted, there: Broker) -> set[str] | None:
    """Return the virtual hosts in which who asks has or gets permissions; None if that cannot be told."""
    if "permission" not in there.held:
        return None
    both = [*there.of("permission"), *wanted.get("permission", ())]
    return {vhost for vhost, user in both if user == there.user}


# -- What is removed


class _Gone:
    """What will not be there any more by what else is removed or replaced."""

    def __init__(self, wanted: Wanted, there: Broker, replaced: set[Key]) -> None:
        self.wanted, self.there, self._replaced = wanted, there, replaced
        self._entered = _entered(wanted, there)

    def left(self, kind: str) -> Iterator[Held]:
        """Yield what the broker has of a kind that is not wanted, where who asks may do something."""
        if kind not in self.wanted:
            return
        for key, one in self.there.of(kind).items():
            inside = kind in ("policy", "exchange", "queue", "binding")
            closed = inside and self._entered is not None and key[0] not in self._entered
            if key not in self.wanted[kind] and not closed:
                yield one

    def goes(self, kind: str, key: Key) -> bool:
        """Say whether a definition is one that nobody wants, and that can be removed."""
        held = self.there.of(kind).get(key)
        return (
            kind in self.wanted and key not in self.wanted[kind] and held is not None and not held.temporary
        )

    def with_others(self, item: Item) -> bool:
        """Say whether something goes with what it is in, or of, without being asked."""
        if item.vhost is not None and self.goes("vhost", (item.vhost,)) and item.vhost != DEFAULT_VHOST:
            return True
        if item.kind == "permission":
            return self.goes("user", (item.key[1],)) and item.key[1] != self.there.user
        if item.kind != "binding":
            return False
        exchanges = _ends(item.key)
        to = (item.key[0], item.key[3])
        return bool(exchanges & self._replaced) or self.goes("queue", to) or any(
            self.goes("exchange", one) for one in exchanges
        )  # fmt: skip


def _unwanted(kind: str, gone: _Gone, kept: list[str], force: bool) -> Iterator[Held]:
    """Yield what is to be removed of a kind; add to `kept` why something is not."""
    for held in gone.left(kind):
        item, me = held.item, gone.there.user
        if held.temporary or gone.with_others(item) or (kind, item.key) == ("vhost", (DEFAULT_VHOST,)):
            continue
        if (kind == "user" and item.key[0] == me) or (kind == "permission" and item.key[1] == me):
            continue  # it is needed for all this
        messages = held.messages
        if kind == "vhost":
            messages = sum(
                one.messages for one in gone.there.of("queue").values() if one.item.vhost == item.key[0]
            )
        if messages and not force:
            kept.append(
                f"{item.label} is not in the file, but has {messages} messages, and stays: drain or purge "
                "it first, or say --force"
            )
            continue
        yield held


def _remove(held: Held, force: bool) -> Change:
    careful = held.item.kind == "queue" and not force
    return Change("remove", held.item, (), (_delete(held.item, held.properties),), careful)


# -- Requests, https://www.rabbitmq.com/docs/http-api-reference


def _path(item: Item) -> str:
    if item.kind != "binding":
        words = [_PLURALS[item.kind], *item.key]
    else:
        vhost, source, kind, destination = item.key[:4]
        words = ["bindings", vhost, "e", source, kind[0], destination]
    return "/".join(quote(word, safe="") for word in words)


def _put(item: Item) -> Request:
    if item.kind == "binding":
        return "POST", _path(item), {"routing_key": item.key[4], "arguments": json.loads(item.key[5])}
    return "PUT", _path(item), dict(item.body)


def _delete(item: Item, properties: str = "") -> Request:
    path = _path(item)
    return "DELETE", f"{path}/{quote(properties, safe='')}" if properties else path, None
