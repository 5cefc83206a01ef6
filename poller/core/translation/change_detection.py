"""Identify and group calls only where they say something: what was said of whom is remembered, as hashes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from poller.core.messages import Fact, Message, Scalar
from poller.core.outcomes import Calls, Forwardable

_KEY_DIGITS = 32
_FINGERPRINT_DIGITS = 16
PARTIAL = ""
"""The fingerprint of what was said without a profile: whatever is said with one later is news."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What Segment was told of someone, as a fingerprint, and when by the server's clock."""

    fingerprint: str
    at: datetime


def identify_fact(
    user_id: str, traits: Mapping[str, Scalar], *, is_partial: bool, is_due: bool
) -> Fact:
    """What an identify says; a partial one, made without a profile, is news only of someone never heard of."""
    fingerprint = (
        PARTIAL
        if is_partial
        else _hash(json.dumps(dict(traits), sort_keys=True))[:_FINGERPRINT_DIGITS]
    )
    return Fact(key=identify_key(user_id), fingerprint=fingerprint, is_due=is_due)


def identify_key(user_id: str) -> str:
    """Return the key of what an identify of this user says."""
    return _key("identify", user_id)


def group_fact(user_id: str, group_id: str) -> Fact:
    """That the user belongs to the group."""
    return Fact(key=_key("group", user_id, group_id), fingerprint="member")


def facts_in(calls: Calls) -> tuple[str, ...]:
    """The keys of all that these calls say and that is to be said only if it is news, each once."""
    keys = (
        message.fact.key for message in calls.messages if message.fact and not message.fact.is_due
    )
    return tuple(dict.fromkeys(keys))


def drop_unchanged(calls: Calls, said: Mapping[str, str]) -> Calls:
    """The calls without those messages that say what was `said` before, or say it twice."""
    if not any(message.fact is not None for message in calls.messages):
        return calls
    memory = _Memory(dict(said))
    entries = [_sifted(entry, memory) for entry in calls.forwardable]
    return replace(calls, forwardable=tuple(entries))


@dataclass(frozen=True, slots=True)
class _Memory:
    said: dict[str, str]

    def is_news(self, message: Message) -> bool:
        """Whether it says something new, which is no news from then on."""
        fact = message.fact
        if fact is None:
            return True
        before = self.said.get(fact.key)
        is_other = before is None or (fact.fingerprint not in {PARTIAL, before})
        if is_other:
            self.said[fact.key] = fact.fingerprint
        return is_other or fact.is_due


def _sifted(entry: Forwardable, memory: _Memory) -> Forwardable:
    return replace(
        entry, messages=tuple(message for message in entry.messages if memory.is_news(message))
    )


def _key(*parts: str) -> str:
    return _hash(json.dumps(parts))[:_KEY_DIGITS]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
