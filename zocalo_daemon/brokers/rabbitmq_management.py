"""The HTTP API of RabbitMQ's management plugin: which queues there are, and where dead letters go.

https://www.rabbitmq.com/docs/http-api-reference. It blocks: only an inspector calls it, never the loop.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from zocalo_daemon.brokers.peer import tls_context, with_password
from zocalo_daemon.errors import Unavailable, ZocaloError

PATIENCE = 5.0  # seconds for one answer
_COLUMNS = "name,messages_ready,messages_unacknowledged,consumers,arguments,effective_policy_definition"


class Refused(ZocaloError):
    """The API has answered, and does not do it; `status` is that of HTTP."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """The API of a broker.

    Args:
        settings: url (several with commas: the first that answers counts), username, password or
            password_file, and ca for https.
        patience: seconds for one answer.
    """

    def __init__(self, settings: Mapping[str, Any], patience: float = PATIENCE) -> None:
        urls = [one.strip().rstrip("/").removesuffix("/api") for one in str(settings["url"]).split(",")]
        self._urls = [one for one in urls if one]
        self._settings, self._patience = settings, patience

    @property
    def url(self) -> str:
        """Where it is, without /api; all places if it has not answered yet."""
        return ", ".join(self._urls)

    @property
    def user(self) -> str:
        """The name of who asks."""
        return str(self._settings.get("username") or "guest")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return what the API answers, None for nothing.

        Args:
            path: below /api/.
            body: sent as JSON.

        Raises:
            Refused: it says no.
            Unavailable: it does not answer, or is something else.
            ZocaloError: a file of the settings cannot be read.
        """
        request = self._request(method, path, body)
        for url in self._urls[:-1]:
            try:
                return self._answer(url, request)
            except Unavailable:
                continue
        return self._answer(self._urls[-1], request)

    def _request(self, method: str, path: str, body: Any) -> Mapping[str, Any]:
        password = with_password(self._settings).get("password") or "guest"
        secret = base64.b64encode(f"{self.user}:{password}".encode()).decode()
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Basic {secret}", "Content-Type": "application/json"}
        return {"method": method, "path": path, "data": data, "headers": headers}

    def _answer(self, url: str, made: Mapping[str, Any]) -> Any:
        given = {key: value for key, value in made.items() if key != "path"}
        request = urllib.request.Request(f"{url}/api/{made['path']}", **given)  # noqa: S310 - http and https only
        tls = {"ca": self._settings["ca"]} if self._settings.get("ca") else {}
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls_context(tls))
        )
        try:
            with opener.open(request, timeout=self._patience) as answer:
                text = answer.read()
        except urllib.error.HTTPError as e:
            with e:
                raise self._refused(url, e) from None
        except (OSError, http.client.HTTPException) as e:
            why = getattr(e, "reason", None) or e
            raise Unavailable(f"the management API at {url} does not answer: {why}") from None
        self._urls = [url]
        try:
            return json.loads(text) if text else None
        except ValueError:
            raise Unavailable(f"what answers at {url} is no management API of RabbitMQ") from None

    def _refused(self, url: str, error: urllib.error.HTTPError) -> Refused:
        said = f"the management API at {url} says {error.code} {error.reason}"
        if error.code in (401, 403):
            said += f"; check user '{self.user}', its password, tags and permissions"
        with contextlib.suppress(LookupError, TypeError, OSError, ValueError, http.client.HTTPException):
            said += f" ({str(json.loads(error.read(65536))['reason']).strip()})"
        return Refused(said, error.code)


class Management:
    """What operators ask of it, for one virtual host.

    Args:
        settings: as of Api.
    """

    def __init__(self, settings: Mapping[str, Any], vhost: str) -> None:
        self._api = Api(settings)
        self._vhost = quote(vhost, safe="")

    def queues(self) -> list[dict[str, Any]]:
        """Return all queues, with their counts of a few seconds ago.

        Raises:
            ZocaloError: it does not answer, or refuses.
        """
        found: list[dict[str, Any]] = self._api.ask("GET", f"queues/{self._vhost}?columns={_COLUMNS}")
        return found

    def bound(self, exchange: str) -> set[str]:
        """Return the queues that an exchange leads to directly.

        Raises:
            ZocaloError: as for `queues`.
        """
        found = self._api.ask("GET", f"exchanges/{self._vhost}/{quote(exchange, safe='')}/bindings/source")
        return {str(one["destination"]) for one in found if one["destination_type"] == "queue"}
