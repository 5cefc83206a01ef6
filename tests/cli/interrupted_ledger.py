"""A ledger whose process ends at a chosen step of its transactions, and all that is in it."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from sqlalchemy import event, select

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.tables import schema


class InterruptedLedgerError(Exception):
    """The transaction ended here."""


def fail() -> NoReturn:
    raise InterruptedLedgerError


def kill() -> None:
    """End this process as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def interrupted(
    database: Database, number: int, end: Callable[[], None] = fail
) -> Iterator[Callable[[], int]]:
    """Call `end` before the statement or commit of this number, which begins at 0.

    The context is a function that returns how many of them were begun.
    """
    count = 0

    def look(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > number:
            end()

    engine = database._engine
    for name in ("before_cursor_execute", "commit"):
        event.listen(engine, name, look)
    try:
        yield lambda: count
    finally:
        for name in ("before_cursor_execute", "commit"):
            event.remove(engine, name, look)


def content(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of the ledger."""
    with database.reading() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for table in schema.metadata.sorted_tables
        }
