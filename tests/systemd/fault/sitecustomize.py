"""Let the service hang in a commit when a file `hang` is in its state directory.

The loop of the service is also made impatient.

Python imports a module of this name at its start, where PYTHONPATH leads to it.
"""

import os
import threading
from pathlib import Path
from typing import Any

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.service.lifecycle import liveness as heartbeat

heartbeat.SILENCE_S = 2.0
_settle = SqlLedger.settle


def settle_unless_told_to_hang(ledger: SqlLedger, settlement: Any) -> Any:
    trigger = Path(os.environ["STATE_DIRECTORY"], "hang")
    if trigger.exists():
        trigger.unlink()  # the next process is a well one
        threading.Event().wait()
    return _settle(ledger, settlement)


SqlLedger.settle = settle_unless_told_to_hang
