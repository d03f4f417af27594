"""The HTTP API of RabbitMQ's management plugin: which queues there are, and where dead letters go.

https://www.rabbitmq.com/docs/http-api-reference. It blocks: only an inspector calls it, never the loop.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from zocalo_daemon.brokers.peer import tls_context, with_password
from zocalo_daemon.errors import Unavailable

PATIENCE = 5.0  # seconds for one answer
_COLUMNS = "name,messages_ready,messages_unacknowledged,consumers,arguments,effective_policy_definition"


class Management:
    """The API, for one virtual host.

    Args:
        settings: url, username, password or password_file, and ca for https.
    """

    def __init__(self, settings: Mapping[str, Any], vhost: str) -> None:
        self._url = str(settings["url"]).rstrip("/").removesuffix("/api")
        self._settings = settings
        self._vhost = quote(vhost, safe="")

    def queues(self) -> list[dict[str, Any]]:
        """Return all queues, with their counts of a few seconds ago.

        Raises:
            ZocaloError: it does not answer, or refuses.
        """
        found: list[dict[str, Any]] = self._get(f"queues/{self._vhost}?columns={_COLUMNS}")
        return found

    def bound(self, exchange: str) -> set[str]:
        """Return the queues that an exchange leads to directly.

        Raises:
            ZocaloError: as for `queues`.
        """
        found = self._get(f"exchanges/{self._vhost}/{quote(exchange, safe='')}/bindings/source")
        return {str(one["destination"]) for one in found if one["destination_type"] == "queue"}

    def _get(self, path: str) -> Any:
        settings = with_password(self._settings)
        user, password = settings.get("username") or "guest", settings.get("password") or "guest"
        secret = base64.b64encode(f"{user}:{password}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310 - the configuration takes http and https only
            f"{self._url}/api/{path}", headers={"Authorization": f"Basic {secret}"}
        )
        tls = {"ca": settings["ca"]} if settings.get("ca") else {}
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls_context(tls))
        )
        try:
            with opener.open(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as e:
            advice = f"; check user '{user}', its password and tags" if e.code in (401, 403) else ""
            raise Unavailable(f"the management API at {self._url} says {e.code} {e.reason}{advice}") from None
        except (OSError, ValueError) as e:
            raise Unavailable(f"the management API at {self._url} does not answer: {e}") from None
