"""The ledger in a SQL database, which is SQLite so far."""

from poller.adapters.sql_ledger.dead_letters import DeadLetterStore, StoredDeadLetter, event_of
from poller.adapters.sql_ledger.fatal_exit import FatalExit, record_fatal_exit
from poller.adapters.sql_ledger.inspection import inspect_ledger
from poller.adapters.sql_ledger.key_checks import KeyState, read_key_state, record_key_state
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.people import PersonRecord, PersonStore
from poller.adapters.sql_ledger.positions import set_position
from poller.adapters.sql_ledger.reader import DaemonStatus, LedgerReader, Record
from poller.adapters.sql_ledger.sqlite.driver import configured_path, ledger_path
from poller.adapters.sql_ledger.sqlite.lock import Holder, LedgerHeldError, LedgerLock
from poller.adapters.sql_ledger.stream_removal import remove_stream

__all__ = [
    "DaemonStatus",
    "DeadLetterStore",
    "FatalExit",
    "Holder",
    "KeyState",
    "LedgerHeldError",
    "LedgerLock",
    "LedgerReader",
    "PersonRecord",
    "PersonStore",
    "Record",
    "SqlLedger",
    "StoredDeadLetter",
    "configured_path",
    "event_of",
    "inspect_ledger",
    "ledger_path",
    "read_key_state",
    "record_fatal_exit",
    "record_key_state",
    "remove_stream",
    "set_position",
]
