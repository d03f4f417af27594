"""Names that can be completed, as the daemon knows them: services, queues, reports, recipes."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Word = tuple[str, str]  # what can stand there, and a few words about it
    Ask = Callable[[str], Any]  # from an operation to its value

SCRIPTS = {"bash": "zocaloctl.bash", "zsh": "_zocaloctl", "fish": "zocaloctl.fish"}


def _services(ask: Ask, _current: str) -> list[Word]:
    return [
        (service["name"], service.get("state") or "") for service in (ask("status") or {}).get("services", ())
    ]


def _targets(ask: Ask, current: str) -> list[Word]:
    """Return services, and instances once it is clear of which one."""
    document = ask("status") or {}
    services = document.get("services", ())
    found = [(service["name"], service.get("state") or "") for service in services]
    close = [service for service in services if service["name"].startswith(current.partition("/")[0])]
    if "/" in current or len(close) == 1:
        found += [
            (instance["id"], instance.get("state") or "")
            for one in close
            for instance in one.get("instances", ())
        ]
    return [*found, ("all", "every service")] if services else []


def _sources(ask: Ask, current: str) -> list[Word]:
    relays = (ask("status") or {}).get("daemon", {}).get("relays") or [{"name": "relay"}]
    own = [("zocalod", "the daemon itself"), *((one["name"], "the transport pool") for one in relays)]
    return _targets(ask, current) + own


def _sizes(ask: Ask, current: str) -> list[Word]:
    return [(f"{name}=", about) for name, about in _services(ask, current)]


def _crashes(ask: Ask, current: str) -> list[Word]:
    reports = (ask("crashes") or {}).get("crashes", ())
    numbers = [
        (str(one.get("id")), f"{one.get('instance', '')} {one.get('cause', '')}".strip()) for one in reports
    ]
    return numbers if current else [*numbers, *_services(ask, current)]


def _recipes(ask: Ask, _current: str) -> list[Word]:
    lines = (ask("trace") or {}).get("lines", ())
    return [(name, "") for name in dict.fromkeys(line["recipe"] for line in reversed(lines))]


def _queues(ask: Ask, _current: str) -> list[Word]:
    return [(queue["name"], f"{queue.get('ready', 0)} ready") for queue in ask("queues") or ()]


def _dead_letters(ask: Ask, _current: str) -> list[Word]:
    found = [queue for queue in ask("queues") or () if queue.get("dead_letters")]
    return [(queue["name"], f"{queue.get('ready', 0)} waiting") for queue in found]


def _transports(ask: Ask, _current: str) -> list[Word]:
    return [(one["name"], one.get("driver") or "") for one in (ask("status") or {}).get("transports", ())]


def _hosts(ask: Ask, _current: str) -> list[Word]:
    known = (ask("cluster") or {}).get("services", ())
    return [(one["host"], one.get("serviceclass") or "") for one in known]


def _shells(_ask: Ask, _current: str) -> list[Word]:
    return [(name, "") for name in SCRIPTS]


FINDERS: dict[str, Callable[[Ask, str], list[Word]]] = {
    "services": _services,
    "targets": _targets,
    "sources": _sources,
    "sizes": _sizes,
    "crashes": _crashes,
    "recipes": _recipes,
    **dict.fromkeys(("queue", "queues"), _queues),
    "dead letters": _dead_letters,
    "transports": _transports,
    "hosts": _hosts,
    "shells": _shells,
}
