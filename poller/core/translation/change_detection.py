"""Change detection: an identify or a group call is sent only if it says something new.

The ledger keeps a fingerprint of what Segment was told last about each user. The fingerprints are
hashes, so the ledger holds no personal data for this purpose.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from poller.core.messages import Fingerprint, Message, Scalar
from poller.core.outcomes import Calls

_KEY_DIGITS = 32
_VALUE_DIGITS = 16
PARTIAL = ""
"""The value of the fingerprint of an identify that was made without a profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastSent:
    """A fingerprint of what Segment was told last about someone, and the server's time of it."""

    fingerprint: str
    at: datetime


def identify_fingerprint(
    user_id: str, traits: Mapping[str, Scalar], *, is_partial: bool, always_send: bool
) -> Fingerprint:
    """Return the fingerprint of an identify.

    A partial identify was made without a profile, so it lacks traits. It is sent only for a user
    about whom Segment was told nothing yet.
    """
    value = PARTIAL
    if not is_partial:
        value = _hash(json.dumps(dict(traits), sort_keys=True))[:_VALUE_DIGITS]
    return Fingerprint(key=identify_key(user_id), value=value, always_send=always_send)


def identify_key(user_id: str) -> str:
    """Return the key under which the ledger keeps the fingerprint of this user's identify."""
    return _key("identify", user_id)


def group_fingerprint(user_id: str, group_id: str) -> Fingerprint:
    """Return the fingerprint of a group call, which says that the user belongs to the group."""
    return Fingerprint(key=_key("group", user_id, group_id), value="member")


def keys_to_check(calls: Calls) -> tuple[str, ...]:
    """Return the keys whose last fingerprints decide what is sent, each once, in order."""
    fingerprints = (message.fingerprint for message in calls.messages)
    keys = (each.key for each in fingerprints if each and not each.always_send)
    return tuple(dict.fromkeys(keys))


def drop_unchanged(calls: Calls, last_fingerprints: Mapping[str, str]) -> Calls:
    """Return the calls without the messages that repeat what was sent before or earlier in them."""
    if not any(message.fingerprint for message in calls.messages):
        return calls
    known = dict(last_fingerprints)
    entries = (
        replace(entry, messages=tuple(each for each in entry.messages if _is_sent(each, known)))
        for entry in calls.forwardable
    )
    return replace(calls, forwardable=tuple(entries))


def _is_sent(message: Message, known: dict[str, str]) -> bool:
    """Return whether the message is to be sent, and note in `known` what it says."""
    fingerprint = message.fingerprint
    if fingerprint is None:
        return True
    before = known.get(fingerprint.key)
    is_new = before is None or fingerprint.value not in {PARTIAL, before}
    if is_new:
        known[fingerprint.key] = fingerprint.value
    return is_new or fingerprint.always_send


def _key(*parts: str) -> str:
    return _hash(json.dumps(parts))[:_KEY_DIGITS]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
