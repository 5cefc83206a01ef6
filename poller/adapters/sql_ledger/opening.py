"""How a ledger comes to be used: found or made, of the right version, and of this stream."""

import os
from pathlib import Path

import sqlalchemy as sa

from poller.adapters.sql_ledger.database import (
    Database,
    beside,
    check_version,
    migrate,
    path_of,
    setting_up,
    verdict,
    version_of,
)
from poller.adapters.sql_ledger.schema import streams
from poller.core.errors import FatalError
from poller.core.events import Stream


def open_database(url: str, *, create: bool) -> Database:
    """A migrated ledger; made, readable by its owner alone, if there is none and that is wanted.

    Raises:
        FatalError: there is none, it was there once and is gone, or it cannot be used; says the way out.
        TransientError: it cannot be used now.
    """
    path = path_of(url)
    if not path.parent.is_dir() or (not create and not path.exists()):
        raise missing(path)
    try:
        with setting_up(path) as known:
            if not path.exists():
                _make(path, known, create=create)
            database = Database(path)
            migrate(database)
            known.write_text(_KNOWN.format(name=path.name))
    except OSError as error:
        raise FatalError(
            f"the ledger {path} cannot be used ({error.strerror})",
            hint="check that the user that runs this may read and write it and its folder",
        ) from None
    return database


def missing(path: Path) -> FatalError:
    return FatalError(
        f"there is no ledger at {path}",
        hint="`auth0-segment-poller run` makes it; if there should be one, check state.url",
    )


def stream_id(database: Database, stream: Stream, *, adopt: bool = False) -> int:
    """The stream's row, made in an empty ledger.

    Raises:
        FatalError: the ledger holds only other streams.
    """
    with database.transaction() as connection:
        found = _find(connection, stream)
        if found is not None:
            return found
        others = connection.execute(sa.select(streams.c.domain, streams.c.source_name)).all()
        if others and not adopt:
            raise foreign(database.path, stream, [f"{domain}/{source_name}" for domain, source_name in others])
        made = connection.execute(
            streams.insert().values(domain=stream.domain, source_name=stream.source_name, generation=stream.generation)
        )
        return int(made.inserted_primary_key[0])  # type: ignore[index]  # a single-row insert has one


def foreign(path: Path, stream: Stream, others: list[str]) -> FatalError:
    return FatalError(
        f"the ledger {path} is of {', '.join(others)}, not of {stream.domain}/{stream.source_name}",
        hint="if the write key was rotated, set segment.source_name to the old name; "
        "for another tenant or source point state.url at a file of its own",
    )


def inspect_ledger(url: str, stream: Stream) -> str:
    """Whether `run` could use the ledger, in words; makes nothing.

    Raises:
        FatalError, TransientError: it could not.
    """
    path = path_of(url)
    if not path.exists():
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise FatalError(f"{folder} cannot be written", hint="point state.url elsewhere, or give access")
        if beside(path, ".known").exists():
            raise _gone(path)
        return f"{path} is made at the first run"
    database = Database(path, read_only=True)
    try:
        with database.transaction() as connection:
            check_version(path, version_of(connection))
            if _find(connection, stream) is None:
                rows = connection.execute(sa.select(streams.c.domain, streams.c.source_name)).all()
                raise foreign(path, stream, [f"{domain}/{name}" for domain, name in rows])
    finally:
        database.close()
    if not os.access(path, os.W_OK):
        raise FatalError(f"{path} cannot be written", hint="make it writable for the user that runs this")
    return f"{path} is usable"


def _find(connection: sa.Connection, stream: Stream) -> int | None:
    return connection.scalar(
        sa.select(streams.c.id).where(
            streams.c.domain == stream.domain,
            streams.c.source_name == stream.source_name,
            streams.c.generation == stream.generation,
        )
    )


def _make(path: Path, known: Path, *, create: bool) -> None:
    if known.stat().st_size:
        raise _gone(path)
    if not create:
        raise missing(path)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))  # before SQLite makes it readable to all
    except OSError as error:
        raise verdict(path, error) from None


def _gone(path: Path) -> FatalError:
    return FatalError(
        f"the ledger {path} was here and is gone",
        hint=f"restore it from a backup; or, to start anew at poll.start, delete {beside(path, '.known')}",
    )


_KNOWN = """This file says that {name} was made here. If {name} is gone, restore it from a backup;
delete this file only to start anew, at poll.start.
"""
