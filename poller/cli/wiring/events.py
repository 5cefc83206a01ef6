"""The stream of settled events: served by the daemon, and read by other commands."""

import json
import os
import select
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog

from poller.adapters.sql_ledger.local_files.event_socket import (
    connect_beside,
    listen_beside,
    peer_user,
)
from poller.config import Settings
from poller.core.errors import FatalError, TransientError
from poller.service.watching.event_stream import VERSION
from poller.service.watching.event_streams import EventStreams
from poller.service.watching.feed import Feed

_CHUNK_BYTES = 65_536
_SNAPSHOT_S = 5.0
"""The time for the events in memory to arrive."""

Line = dict[str, Any]

log = structlog.get_logger()


@contextmanager
def serve_events(
    settings: Settings, feed: Feed, streams: EventStreams | None = None
) -> Iterator[None]:
    """Let `tail` and `trace` read the feed within this context.

    The pipelines of a process share the thread of `streams`.

    If no socket can be made, a warning says so, and the daemon does its work without it.
    """
    try:
        listening = listen_beside(settings.state.url, settings.pipeline)
    except OSError as error:
        log.warning("tail.unavailable", reason=error.strerror)
        yield
        return
    streams = streams or EventStreams()
    try:
        stream = streams.open(listening.socket, feed, show=settings.page.show, may_read=_is_ours)
        try:
            yield
        finally:
            stream.close()
    finally:
        listening.remove()


def open_stream(settings: Settings) -> socket.socket | None:
    """Connect to the running daemon, or return None without one.

    Raises:
        FatalError: the daemon belongs to another user.
    """
    try:
        return connect_beside(settings.state.url, settings.pipeline)
    except OSError as error:
        raise FatalError(
            f"the daemon cannot be asked: {error.strerror}",
            code="ledger-inaccessible",
            hint="run the command as the user who runs the daemon, or as root",
        ) from None


def lines_of(connection: socket.socket, *, timeout_s: float | None = None) -> Iterator[Line]:
    """Yield what the daemon sends, until it ends or the reader of stdout is gone.

    Raises:
        TransientError: the daemon speaks another version of the protocol, or sends nothing
            for `timeout_s`.
    """
    with _copied_stdout() as stdout:
        rest = b""
        while chunk := _next_chunk(connection, stdout, timeout_s):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield _decoded(line)


def _decoded(line: bytes) -> Line:
    decoded: Line = json.loads(line)
    if decoded["kind"] == "hello" and decoded["version"] != VERSION:
        raise TransientError(
            "the daemon speaks another version of the stream of events",
            hint="restart the daemon, so that it runs the version that is installed",
        )
    return decoded


def events_in_memory(settings: Settings) -> list[Line] | None:
    """Return the events that the running daemon remembers, the oldest first, or None without one.

    Raises:
        FatalError, TransientError: the daemon cannot be asked.
    """
    connection = open_stream(settings)
    if connection is None:
        return None
    found = []
    with connection:
        for line in lines_of(connection, timeout_s=_SNAPSHOT_S):
            if line["kind"] == "event":
                found.append(line)
            elif line["kind"] in {"live", "end"}:
                break
    return found


@contextmanager
def _copied_stdout() -> Iterator[int | None]:
    """Yield a copy of stdout, which is still the pipe when the output goes to /dev/null."""
    try:
        copied = os.dup(sys.stdout.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        yield None
        return
    try:
        yield copied
    finally:
        os.close(copied)


def _next_chunk(connection: socket.socket, stdout: int | None, timeout_s: float | None) -> bytes:
    """Return what has come, or nothing at the end."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if stdout is not None:
        poll.register(stdout, 0)  # tells only that the reader of a pipe is gone
    ready = dict(poll.poll(None if timeout_s is None else timeout_s * 1000))
    if not ready:
        raise TransientError("the daemon does not answer at its socket")
    with suppress(ConnectionResetError):
        return b"" if stdout in ready else connection.recv(_CHUNK_BYTES)
    return b""


def _is_ours(connection: socket.socket) -> bool:
    with suppress(OSError):
        return peer_user(connection) == os.geteuid()
    return False
