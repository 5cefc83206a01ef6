"""The settings of a source that Segment publishes on its CDN. They prove a write key.

Segment's libraries for browsers and mobile devices read these settings without any credentials
(Segment docs: Custom Proxy). The write key is part of the URL. Therefore neither this module nor
the HTTP client puts the path of the request into a log line, an error or a metric.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from poller.adapters.http import Answer, Http
from poller.adapters.segment.verdicts import SERVICE, in_between
from poller.core.errors import TransientError, UnusableAnswerError

DEADLINE_S = 5.0
_OK, _NOT_FOUND = 200, 404
_DEFAULT = "__default"
_OWN = "Segment.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSettings:
    """The published settings of a source. A change of the source takes up to a day to appear.

    `host` is the host of the tracking API in the source's region, such as `api.segment.io`. It is
    empty if the settings do not name a host. `blocks_unplanned_events` is true if the source drops
    every track that its tracking plan does not name. `destinations` are the names of the connected
    destinations.
    """

    host: str
    enabled_events: frozenset[str]
    disabled_events: frozenset[str]
    blocks_unplanned_events: bool
    blocks_identify: bool
    blocks_group: bool
    destinations: tuple[str, ...]

    def blocks_track(self, event: str) -> bool:
        """Return whether a track of this name is switched off."""
        if event in self.disabled_events:
            return True
        return self.blocks_unplanned_events and event not in self.enabled_events


class SettingsCdn:
    """The published settings of one write key."""

    def __init__(self, write_key: str, http: Http) -> None:
        self._write_key = write_key
        self._http = http

    def read(self) -> PublishedSettings | None:
        """Return the published settings, or None if none are published under this write key.

        Published settings prove the write key. Missing settings prove nothing: a new source is
        published within a day (analytics-kotlin#97), and a source of the HTTP API perhaps never
        (analytics-node#371).

        Raises:
            TransientError: no whole answer came, or a proxy or firewall answered in Segment's
                place.
            FatalError: the proxy variables or the CA certificates of this machine are unusable.
        """
        path = f"/v1/projects/{quote(self._write_key, safe='')}/settings"
        answer = self._http.call("GET", path)
        if answer.status == _NOT_FOUND and "html" not in answer.form:
            return None
        if answer.status != _OK:
            raise TransientError(_refusal(answer), retry_after=answer.retry_after, service=SERVICE)
        settings = answer.json_object
        if not _is_of(self._write_key, settings):
            raise UnusableAnswerError(
                f"{in_between(answer)}, without the settings of the write key", service=SERVICE
            )
        return _parse(settings)


def _refusal(answer: Answer) -> str:
    if "html" in answer.form or 300 <= answer.status < 400:  # noqa: PLR2004 - the redirects
        return in_between(answer)
    return f"Segment's CDN answered {answer.status}"


def _is_of(write_key: str, settings: Mapping[str, Any]) -> bool:
    key = _table(settings, "integrations", _OWN).get("apiKey")
    return isinstance(key, str) and hmac.compare_digest(
        key.encode(errors="backslashreplace"), write_key.encode()
    )


def _parse(settings: Mapping[str, Any]) -> PublishedSettings:
    integrations = _table(settings, "integrations")
    events = {name: _is_enabled(rule) for name, rule in _table(settings, "plan", "track").items()}
    return PublishedSettings(
        host=_host(_table(integrations, _OWN).get("apiHost")),
        enabled_events=frozenset(name for name, is_on in events.items() if is_on),
        disabled_events=frozenset(
            name for name, is_on in events.items() if not is_on and name != _DEFAULT
        ),
        blocks_unplanned_events=not events.get(_DEFAULT, True),
        blocks_identify=not _is_enabled(_table(settings, "plan", "identify", _DEFAULT)),
        blocks_group=not _is_enabled(_table(settings, "plan", "group", _DEFAULT)),
        destinations=tuple(sorted(name for name in integrations if name != _OWN)),
    )


def _host(api_host: object) -> str:
    """Return the host of an `apiHost` such as `api.segment.io/v1`."""
    if not isinstance(api_host, str):
        return ""
    return api_host.rpartition("://")[2].partition("/")[0].lower()


def _is_enabled(rule: object) -> bool:
    """Return whether a rule lets its calls pass. Only `"enabled": false` switches them off."""
    return not isinstance(rule, Mapping) or rule.get("enabled") is not False


def _table(value: Any, *path: str) -> Mapping[str, Any]:
    """Return the object at a path of keys, or an empty object."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}
