"""The ledger in a SQL database; SQLite so far."""

from poller.adapters.sql_ledger.dead_letters import DeadLetterStore, StoredDeadLetter, event_of
from poller.adapters.sql_ledger.last_words import LastWords, keep_last_words
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.people import Held, People
from poller.adapters.sql_ledger.positions import set_position
from poller.adapters.sql_ledger.reader import Journal, LedgerReader, Record, inspect_ledger
from poller.adapters.sql_ledger.sqlite.driver import given_path, ledger_path
from poller.adapters.sql_ledger.sqlite.lock import Holder, LedgerHeldError, LedgerLock
from poller.adapters.sql_ledger.streams import remove_stream

__all__ = [
    "DeadLetterStore",
    "Held",
    "Holder",
    "Journal",
    "LastWords",
    "LedgerHeldError",
    "LedgerLock",
    "LedgerReader",
    "People",
    "Record",
    "SqlLedger",
    "StoredDeadLetter",
    "event_of",
    "given_path",
    "inspect_ledger",
    "keep_last_words",
    "ledger_path",
    "remove_stream",
    "set_position",
]
