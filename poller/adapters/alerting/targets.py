"""The places that alerts go to, by URL: the services that Apprise knows, and plain webhooks.

Apprise is an extra. Its import takes half a second, so it is imported when the first URL is opened.
A URL holds tokens, so no error and no log line shows one.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from hashlib import sha256
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.core.errors import FatalError, TransientError

DEADLINE_S = 30.0
_WEB = ("http", "https")

Severity = Literal["critical", "warning", "good"]
_APPRISE_TYPES = {"critical": "failure", "warning": "warning", "good": "success"}


class UnknownUrlError(Exception):
    """Apprise does not know the URL at this place of the list, counted from 1."""

    def __init__(self, number: int) -> None:
        super().__init__(f"URL {number} is not known")
        self.number = number


class MissingAppriseError(Exception):
    """Apprise is not installed."""


class Target(Protocol):
    """One place that alerts go to.

    `name` is for people. `key` is a hash of the URL, so it stays the same in another order.
    """

    name: str
    key: str

    def send(self, title: str, body: str, severity: Severity) -> None:
        """Send one alert. It takes at most `DEADLINE_S`.

        Raises:
            TransientError: the alert may not have arrived.
        """
        ...


def open_targets(urls: Sequence[str]) -> tuple[Target, ...]:
    """Return the targets of the URLs, in order. Nothing is sent.

    Raises:
        MissingAppriseError: Apprise is not installed.
        UnknownUrlError: Apprise does not know a URL.
    """
    return tuple(_open(number, url) for number, url in enumerate(urls, 1))


def _open(number: int, url: str) -> Target:
    plugin = _plugin(url)
    key = sha256(url.encode()).hexdigest()[:16]
    if plugin is not None:
        return AppriseTarget(f"{number} ({plugin.service_name})", key, plugin)
    if urlsplit(url).scheme.lower() in _WEB:
        return WebhookTarget(f"{number} (webhook)", key, url)
    raise UnknownUrlError(number)


def _plugin(url: str) -> Any:
    """Return Apprise's object for the URL, or None if Apprise does not know the URL."""
    # Apprise and urllib3 log URLs. A program may have set up logging in its own way.
    for name in ("apprise", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        import apprise  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise MissingAppriseError from None
    plugin = apprise.Apprise.instantiate(url, asset=apprise.AppriseAsset(service_timeout=0))
    if plugin is not None:
        plugin.redirects = False  # a redirect would carry the token to another host
        plugin.optional = False  # the failure of an optional service would count as success
    return plugin


class AppriseTarget:
    """A service that Apprise knows.

    The timeouts of Apprise are for one read each. So each attempt has a thread of its own, and an
    attempt that takes too long is left behind. There is no second attempt before it ends.
    """

    def __init__(self, name: str, key: str, plugin: Any, *, deadline_s: float = DEADLINE_S) -> None:
        self.name = name
        self.key = key
        self._plugin = plugin
        self._deadline_s = deadline_s
        self._attempt: threading.Thread | None = None

    def send(self, title: str, body: str, severity: Severity) -> None:
        if self._attempt is not None and self._attempt.is_alive():
            raise TransientError("the attempt before still waits for an answer")
        arrived: list[bool] = []
        self._attempt = _start(lambda: arrived.append(self._notify(title, body, severity)))
        self._attempt.join(self._deadline_s)
        if self._attempt.is_alive():
            raise TransientError("no answer in time")
        if arrived != [True]:
            raise TransientError("the service cannot be reached, or did not take the alert")

    def _notify(self, title: str, body: str, severity: Severity) -> bool:
        import apprise  # noqa: PLC0415 - an extra, and slow to import

        sender = apprise.Apprise()
        sender.add(self._plugin)
        try:
            return bool(
                sender.notify(
                    title=title, body=body, notify_type=_APPRISE_TYPES[severity], body_format="text"
                )
            )
        except Exception:  # noqa: BLE001 - a bug of a plugin is a failed attempt
            return False


def _start(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, name="alert", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # Python raises it for EAGAIN
        raise TransientError("no thread can be started") from None
    return thread


class WebhookTarget:
    """A web server that takes an alert as a JSON object with `title`, `message` and `severity`.

    Redirects are refused.
    """

    def __init__(self, name: str, key: str, url: str, *, deadline_s: float = DEADLINE_S) -> None:
        self.name = name
        self.key = key
        parts = urlsplit(url)
        self._path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._deadline_s = deadline_s

    def send(self, title: str, body: str, severity: Severity) -> None:
        alert = {"title": title, "message": body, "severity": severity}
        try:
            with self._connected() as http:
                answer = http.call("POST", self._path, json=alert)
        except FatalError as error:  # the proxy or the CA certificates of the environment
            raise TransientError(str(error)) from None
        if answer.status // 100 != 2:  # noqa: PLR2004 - any success
            raise TransientError(f"it answered {answer.form}")

    def _connected(self) -> closing[Http]:
        """Open a client for one alert. Alerts are too rare to keep a connection between them."""
        return closing(
            Http(self._origin, ServerClock(), service="webhook", deadline_s=self._deadline_s)
        )
