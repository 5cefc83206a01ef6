"""Commands that need the queue of the workers, where it is not installed."""

import sys

import pytest

from poller.cli.pipelines import needing_queue
from poller.core.errors import FatalError


def test_a_missing_queue_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "poller.adapters.shift_queue", None)
    for module in ("worker", "shared_slices"):
        monkeypatch.delitem(sys.modules, f"poller.cli.pipelines.{module}", raising=False)
        with pytest.raises(FatalError) as raised, needing_queue():
            __import__(f"poller.cli.pipelines.{module}")
        assert raised.value.code == "ledger-driver-missing"
        assert "auth0-segment-poller[ha]" in (raised.value.hint or "")
