"""The address of a signup that no browser asked for: the person's own, or that of a server.

Auth0 shows the address of whoever sent the request. If a native app sent it, that is the person's
own device. If a server sent it, the address is the server's, and the person's address only shows
in the login that completes the signup. Neither has a readable user agent, so other evidence
decides:

- A Management API operation on the same user (`sapi`) on the page, or the mark of such an
  operation in the signup itself, shows a server.
- Auth0's SDKs for native apps name themselves in `auth0_client`. They run on the person's device.
- A login of the same user and client within two minutes, by a browser or a native app, shows the
  person's address. If the signup has the same address, it is the person's own.

Without any evidence nothing is believed, and the signup has no address.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from poller.core.events import LogEvent
from poller.core.log_ids import LogId
from poller.core.translation.event_facts import is_made_by_api, is_without_browser
from poller.core.translation.event_types import LOGIN_TYPES, SIGNUP
from poller.core.translation.fields import at, ip_text, text, user_id_of

COMPLETED_WITHIN = timedelta(minutes=2)
"""A login of the user within this time after the signup completes the signup."""
_NATIVE_SDKS = {"auth0.swift", "auth0.android", "react-native-auth0", "auth0-flutter"}
"""The names of Auth0's SDKs for native apps, as their headers `Auth0-Client` give them."""
_NATIVE_SYSTEMS = {"ios", "android", "swift"}
"""Keys of `auth0_client.env` that only those SDKs send (Auth0.swift, Auth0.Android: Telemetry)."""


def addresses(events: Sequence[LogEvent], *, find: bool = True) -> Mapping[LogId, LogEvent | None]:
    """Return the event whose address is the person's, for each signup without a browser.

    The value is the signup itself, or the login that completes it, or None. Any other event is
    missing: its own address is the person's. Only these events are looked at. Without `find`, no
    evidence is looked for.
    """
    signups = [event for event in events if event.type == SIGNUP and is_without_browser(event)]
    if not signups or not find:
        return {signup.log_id: None for signup in signups}
    made_by_api = {_user_made(event) for event in events if event.type == "sapi"} - {None}
    return {signup.log_id: _address(signup, events, made_by_api) for signup in signups}


def _address(
    signup: LogEvent, events: Iterable[LogEvent], made_by_api: set[str | None]
) -> LogEvent | None:
    is_servers = is_made_by_api(signup) or user_id_of(signup.record) in made_by_api
    if not is_servers and _is_native(signup.record):
        return signup
    login = next((event for event in events if _completes(event, signup)), None)
    own, theirs = (ip_text(event.record.get("ip")) if event else None for event in (signup, login))
    if not is_servers and own and own == theirs:
        return signup
    return login


def _completes(event: LogEvent, signup: LogEvent) -> bool:
    """Return whether the event is a login of the same user and client, soon after the signup.

    A server may log the user in too. So only a login by a browser or a native app counts.
    """
    if event.type not in LOGIN_TYPES or event.date is None or signup.date is None:
        return False
    if is_without_browser(event) and not _is_native(event.record):
        return False
    if not timedelta(0) <= event.date - signup.date <= COMPLETED_WITHIN:
        return False
    return _who(event.record) == _who(signup.record) and None not in _who(signup.record)


def _who(record: Mapping[str, Any]) -> tuple[str | None, str | None]:
    return user_id_of(record), text(record.get("client_id"))


def _is_native(record: Mapping[str, Any]) -> bool:
    client = record.get("auth0_client")
    name, env = text(at(client, "name")), at(client, "env")
    systems = {key.lower() for key in env} if isinstance(env, dict) else set()
    return (name or "").lower() in _NATIVE_SDKS or bool(systems & _NATIVE_SYSTEMS)


def _user_made(operation: LogEvent) -> str | None:
    """Return the user whom an operation of the Management API made (recorded in 2023)."""
    if str(operation.record.get("description")).lower() != "create a user":
        return None
    return text(at(operation.record, "details", "response", "body", "user_id"))
