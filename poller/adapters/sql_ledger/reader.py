"""What `status` and `check` read: needs no stream and no secret, and does not disturb who writes."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, ScalarSelect, func, select

from poller.adapters.sql_ledger.fatal_exit import FatalExit, read_fatal_exit
from poller.adapters.sql_ledger.ledger import unknown_stream_error
from poller.adapters.sql_ledger.sqlite import driver, ledger_files
from poller.adapters.sql_ledger.sqlite.database import Database
from poller.adapters.sql_ledger.sqlite.lock import Holder, Role, holder_of
from poller.adapters.sql_ledger.sqlite.migrations import OlderLedgerError
from poller.adapters.sql_ledger.tables import revisits, rows, schema, totals, unread
from poller.core.errors import FatalError, TransientError
from poller.core.events import Stream
from poller.core.log_ids import moment_of
from poller.core.settlement import LOG, OUTCOMES, Sent, Tally
from poller.core.spans import Gap, ReopenedGap, Span, UnreadStretch

_TRIED_BYTES = 65_536  # more than a settled page takes


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatus:
    """How the daemon fared, by this machine's clock; `cycle_error` is that of the last cycle."""

    cycle_at: datetime | None = None
    cycle_error: str | None = None
    blocked_since: datetime | None = None
    blocked_code: str | None = None
    blocked_reason: str | None = None
    blocked_hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is settled of one stream, as of one moment; `first_hour` is the oldest that anything was counted in.

    `revisits` are walks of what was a gap, not settled above where they stand.
    """

    spans: tuple[Span, ...]
    gaps: tuple[Gap, ...]
    revisits: tuple[ReopenedGap, ...]
    unread: tuple[UnreadStretch, ...]
    tallies: Mapping[Tally, int]
    sent: Mapping[Sent, int]
    first_hour: datetime | None


class LedgerReader:
    """Reads the ledger of any number of streams; each call sees the ledger of one moment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str) -> Self:
        """Raises:
        TransientError: locked.
        FatalError: missing, gone since it was made, not readable, damaged, of a later version.
        """
        return cls(Database.open_read_only(driver.ledger_path(url)))

    def close(self) -> None:
        self._database.close()

    def streams(self) -> tuple[Stream, ...]:
        """In the order in which they were begun."""
        with self._database.reading() as connection:
            return tuple(rows.streams(connection))

    def may_become(self, stream: Stream) -> bool:
        """Whether `run` would rename a stream that has settled nothing to this one."""
        with self._database.reading() as connection:
            known = rows.streams(connection).items()
            return any(rows.may_become(connection, other, key, stream) for other, key in known)

    def spans(self, stream: Stream) -> tuple[Span, ...]:
        """By `after`."""
        with self._database.reading() as connection:
            key = rows.streams(connection).get(stream)
            return () if key is None else rows.spans(connection, stream, key)

    def gaps(self, stream: Stream) -> tuple[Gap, ...]:
        """By `after`; they may overlap."""
        with self._database.reading() as connection:
            key = rows.streams(connection).get(stream)
            return () if key is None else rows.gaps(connection, key)

    def record(self, stream: Stream, since: datetime, until: datetime) -> Record:
        """Return spans, gaps, and the log's own counts in the hours from `since` to before `until`, of one moment.

        What was read from files is not among the counts: the log is compared with what was read from the log.
        """
        columns = schema.hourly_event_count.c
        mine = (columns.stream_id == _key(stream), columns.origin == LOG)
        query = select(schema.hourly_event_count).where(
            *mine, columns.hour >= since, columns.hour < until
        )
        with self._database.reading() as connection:
            key = rows.streams(connection).get(stream)
            again = () if key is None else revisits.read(connection, stream, key)
            return Record(
                spans=() if key is None else rows.spans(connection, stream, key),
                gaps=() if key is None else rows.gaps(connection, key),
                revisits=tuple(each for each in again if isinstance(each, ReopenedGap)),
                unread=() if key is None else unread.read(connection, stream, key),
                tallies={
                    Tally(hour=row.hour, type=row.type, outcome=row.outcome): row.events
                    for row in connection.execute(query)
                },
                sent=_sent(connection, stream, since, until),
                first_hour=connection.scalar(select(func.min(columns.hour)).where(*mine)),
            )

    def totals(self, stream: Stream) -> dict[str, int]:
        """Return the events by outcome, over all time; one that came from the log and from a file counts twice."""
        with self._database.reading() as connection:
            key = rows.streams(connection).get(stream)
            found = {} if key is None else totals.events_by_outcome(connection, key)
        return dict.fromkeys(OUTCOMES, 0) | found

    def dead_letters_by_reason(self, stream: Stream) -> dict[str, int]:
        """How many are there now, neither replayed nor discarded, by reason code."""
        with self._database.reading() as connection:
            key = rows.streams(connection).get(stream)
            return {} if key is None else totals.dead_letters_by_reason(connection, key)

    def daemon_status(self, stream: Stream) -> DaemonStatus:
        """What `run` noted last."""
        columns = schema.daemon_status.c
        query = select(schema.daemon_status).where(columns.stream_id == _key(stream))
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return (
            DaemonStatus(**{name: value for name, value in row.items() if name != "stream_id"})
            if row
            else DaemonStatus()
        )

    def fatal_exit(self) -> FatalExit | None:
        """The fatal error that ended the program last; None once a cycle has succeeded since."""
        with self._database.reading() as connection:
            return read_fatal_exit(connection)

    def holder(self, role: Role = "run") -> Holder | None:
        """The process that holds the ledger's lock for this role."""
        with driver.verdicts(self._database.path):
            return holder_of(self._database.path, role)


def _sent(
    connection: Connection, stream: Stream, since: datetime, until: datetime
) -> dict[Sent, int]:
    columns = schema.hourly_track_count.c
    mine = (columns.stream_id == _key(stream), columns.origin == LOG)
    query = select(schema.hourly_track_count).where(
        *mine, columns.hour >= since, columns.hour < until
    )
    return {
        Sent(hour=row.hour, type=row.type, name=row.track_name): row.tracks
        for row in connection.execute(query)
    }


def inspect_ledger(url: str, stream: Stream) -> str:
    """One line for `check`; makes and changes nothing.

    Raises:
        TransientError, FatalError: `run` could not use the ledger as it is.
    """
    path = driver.ledger_path(url)
    with driver.verdicts(path):
        if ledger_files.is_empty(path) and not ledger_files.was_known(path):
            _check_writable(path, _nearest_folder(path))
            return f"none yet; `run` creates {path}"
    try:
        reader = LedgerReader.open(url)
    except OlderLedgerError:
        _check_writable(path, path, path.parent)
        return f"usable, {path}; an earlier version wrote it, and the next start brings it up"
    try:
        known = reader.streams()
        is_strange = bool(known) and stream not in known and not reader.may_become(stream)
        live = next((span for span in reader.spans(stream) if span.is_live), None)
    finally:
        reader.close()
    if is_strange:
        error = unknown_stream_error(stream, known)
        raise FatalError(f"ledger {path}: {error}", code=error.code, hint=error.hint)
    _check_writable(path, path, path.parent)
    return f"usable, {path}; " + (_where(live))


def _where(live: Span | None) -> str:
    if live is None:
        return "nothing settled yet"
    moment = moment_of(live.reached)
    return f"at {moment:%Y-%m-%d %H:%M:%S}Z" if moment else f"at {live.reached}"


def _key(stream: Stream) -> ScalarSelect[int]:
    columns = schema.stream.c
    return (
        select(columns.id)
        .where(
            columns.domain == stream.domain,
            columns.source_name == stream.source_name,
            columns.generation == stream.generation,
        )
        .scalar_subquery()
    )


def _nearest_folder(path: Path) -> Path:
    return next(folder for folder in path.parents if folder.exists())


def _check_writable(ledger: Path, *paths: Path) -> None:
    """Try a write in the last of these paths, a folder.

    Raises:
        TransientError: the disk is full.
        FatalError: this user may not write there.
    """
    for path in paths:
        if not os.access(path, os.W_OK):
            raise FatalError(
                f"ledger: {path} is not writable by this user",
                code="ledger-inaccessible",
                hint="run the check as the user that the service runs as, or give that user the folder",
            )
    try:
        with tempfile.TemporaryFile(dir=paths[-1], buffering=0) as file:
            file.write(b"\0" * _TRIED_BYTES)
            os.fsync(file.fileno())
    except OSError as error:
        raise TransientError(
            f"ledger {ledger}: nothing can be written beside it: {error.strerror}"
        ) from None
