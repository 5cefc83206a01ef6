"""The ledger as an SQL database: SQLite so far."""

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.lock import LedgerHeldError, holder_of, holding
from poller.adapters.sql_ledger.opening import inspect_ledger
from poller.adapters.sql_ledger.reader import StreamState, read_streams

__all__ = [
    "LedgerHeldError",
    "SqlLedger",
    "StreamState",
    "holder_of",
    "holding",
    "inspect_ledger",
    "read_streams",
]
