"""The pings to a dead man's switch: a service that tells people when the pings stop.

The forms are those of Healthchecks (healthchecks.io/docs/http_api). Its ping URL ends with a UUID,
or with a ping key and a slug. Any other URL is called for success only, because most other services
have no forms of a ping, or name them in another way.
"""

import re
from contextlib import closing
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.core.errors import FatalError, TransientError

DEADLINE_S = 10.0
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_HEALTHCHECKS = re.compile(rf"(?:/[^/]+)*/{_UUID}/?|(?:/[^/]+)*/[A-Za-z0-9_-]{{22}}/[a-z0-9_-]+/?")

Ping = Literal["success", "start", "fail", "log"]


class HeartbeatUrl:
    """The URL of one check of a dead man's switch."""

    def __init__(self, url: str, *, deadline_s: float = DEADLINE_S) -> None:
        parts = urlsplit(url)
        self._path = parts.path or "/"
        self._query = parse_qsl(parts.query, keep_blank_values=True)
        self._has_forms = _HEALTHCHECKS.fullmatch(parts.path) is not None
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._deadline_s = deadline_s

    def ping(self, kind: Ping, text: str = "", *, run_id: str | None = None) -> None:
        """Send one ping, and this text with it. A kind that the URL does not have is left out.

        `run_id` joins a start to the success after it, and Healthchecks shows the time between.

        Raises:
            TransientError: the ping may not have arrived.
        """
        if kind != "success" and not self._has_forms:
            return
        path = self._path if kind == "success" else f"{self._path.rstrip('/')}/{kind}"
        query = [*self._query, *([("rid", run_id)] if run_id and self._has_forms else [])]
        # Some services take GET alone. Healthchecks takes POST, and keeps the text.
        method, request = ("POST", {"content": text.encode()}) if self._has_forms else ("GET", {})
        try:
            with self._connected() as http:
                answer = http.call(method, path, params=query, **request)
        except FatalError as error:  # the proxy or the CA certificates of the environment
            raise TransientError(str(error)) from None
        if answer.status // 100 != 2:  # noqa: PLR2004 - any success
            raise TransientError(f"the dead man's switch answered {answer.form}")
        if b"not found" in answer.body[:100]:  # Healthchecks answers 200 to an unknown UUID
            raise TransientError("the dead man's switch does not know the check")

    def _connected(self) -> closing[Http]:
        """Open a client for one ping. Pings are too rare to keep a connection between them."""
        http = Http(self._origin, ServerClock(), service="heartbeat", deadline_s=self._deadline_s)
        return closing(http)

    def ping_without_effect(self, text: str) -> None:
        """Send a ping that leaves the check as it is, or an ordinary one if there is no such ping.

        Raises:
            TransientError: the ping may not have arrived.
        """
        self.ping("log" if self._has_forms else "success", text)
