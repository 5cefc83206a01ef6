"""Segment's terms: the calls, the batches that fit one request, and the answers to them."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from poller.core.events import Stream
from poller.core.log_ids import LogId

Scalar = str | int | float | bool
"""The values that leave. All are flat: a warehouse turns lists into text.

Source: Segment docs, Warehouse Schemas.
"""

MAX_MESSAGE_BYTES = 32_000
"""Segment takes messages below 32,768 bytes. The difference is a margin."""
MAX_BATCH_BYTES = 475_000
"""Segment takes 500 KB, and its own libraries differ on the size of a KB.

This is the limit of its Python library.
"""
MAX_BATCH_MESSAGES = 500
"""The most messages of one batch. Larger batches are not faster (measured on loopback).

Segment's own limit is 2,500 (Segment docs: HTTP API).
"""
ENVELOPE_BYTES = 1_024
"""Room for the body around the messages: write key, `sentAt`, brackets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """A hash of whom a message is about (`key`) and of what it says (`value`).

    `always_send` says that the message is sent even if it repeats what was sent before. The key of
    a signup is its message id, since several events of one user may share that id.
    """

    key: str
    value: str
    always_send: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One Segment call, made from the event `log_id`.

    A message has a user id, an anonymous id, or both. Neither the log id nor the fingerprint is
    sent. A message without a fingerprint is always sent. Any other message is sent if its
    fingerprint differs from the last one under the same key.
    """

    message_id: str
    log_id: LogId
    user_id: str | None = field(repr=False)
    anonymous_id: str | None = field(default=None, repr=False)
    timestamp: datetime
    context: Mapping[str, Any] = field(repr=False)
    fingerprint: Fingerprint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identify(Message):
    traits: Mapping[str, Scalar] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Track(Message):
    event: str
    properties: Mapping[str, Scalar] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Message):
    group_id: str
    traits: Mapping[str, Scalar] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Messages that fit one request, in the order in which they are to arrive. Never empty.

    `bodies` are the messages as they are posted, in the same order.
    """

    messages: tuple[Message, ...]
    bodies: tuple[bytes, ...] = field(repr=False)

    def halves(self) -> tuple["Batch", "Batch"]:
        middle = len(self.messages) // 2
        return (
            Batch(messages=self.messages[:middle], bodies=self.bodies[:middle]),
            Batch(messages=self.messages[middle:], bodies=self.bodies[middle:]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Segment's acknowledgement of a whole batch. Only a sink makes one.

    `acknowledged_at` is the time of the answer, or None if no two clocks agree on a time.
    """

    message_ids: tuple[str, ...]
    acknowledged_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A message that Segment will never take, and the status of its answer."""

    message: Message
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The receipts and refusals of a page's messages."""

    receipts: tuple[Receipt, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    @property
    def acknowledged(self) -> frozenset[str]:
        return frozenset(
            message_id for receipt in self.receipts for message_id in receipt.message_ids
        )


def message_id(stream: Stream, kind: str, key: str, log_id: LogId) -> str:
    """Return an id of 41 to 49 characters that is the same at every attempt.

    Segment drops a message whose id it has seen. So every retry, replay and second run must send
    the same id, and no two different messages may share one. The id is a hash, since nothing of the
    user may stand in it. The stream is part of the hash, since Segment drops repeats over all
    sources of all its customers (Segment docs: Handling Duplicate Data). `log_id` is the event that
    the message is about.
    """
    names = stream.names_at(log_id) if stream.in_ids else stream
    hashed = _begun_hash(stream.domain, names.source_name, names.generation, kind).copy()
    hashed.update(json.dumps(key).encode() + b"]")
    return f"{kind}-{hashed.hexdigest()[:40]}"


@lru_cache(maxsize=64)
def _begun_hash(*parts: str) -> "hashlib._Hash":
    """Begin the hash of a JSON list of texts. The last text and the bracket are still missing."""
    return hashlib.sha256(f"{json.dumps(parts)[:-1]}, ".encode())


def signup_message_id(stream: Stream, user_id: str, log_id: LogId) -> str:
    """Return the id of the signup of a user, who is named by the id in the log."""
    return message_id(stream, "signup", user_id, log_id)


def signup_message_ids(stream: Stream, user_id: str) -> tuple[str, ...]:
    """Return every id that the signup of a user may have, whichever event it came from."""
    just_above = [LogId(f"{each.after}0") for each in stream.in_ids] or [LogId("")]
    return tuple(signup_message_id(stream, user_id, log_id) for log_id in just_above)


def pack(messages: Iterable[Message], encode: Callable[[Message], bytes]) -> Iterator[Batch]:
    """Yield batches within Segment's limits, with the messages in order.

    Each message is encoded once. Each must be within `MAX_MESSAGE_BYTES`.
    """
    held: list[tuple[Message, bytes]] = []
    held_bytes = ENVELOPE_BYTES
    for message in messages:
        body = encode(message)
        message_bytes = len(body) + 1  # the comma between two messages
        is_full = held_bytes + message_bytes > MAX_BATCH_BYTES or len(held) == MAX_BATCH_MESSAGES
        if held and is_full:
            yield _batch(held)
            held, held_bytes = [], ENVELOPE_BYTES
        held.append((message, body))
        held_bytes += message_bytes
    if held:
        yield _batch(held)


def _batch(encoded: list[tuple[Message, bytes]]) -> Batch:
    messages, bodies = zip(*encoded, strict=True)
    return Batch(messages=messages, bodies=bodies)
