"""Fixtures for the tests of log files."""

from pathlib import Path

import pytest

from poller.adapters.log_files import records as records_module


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reader look at few bytes together, so that a record is longer, as in a large file."""
    monkeypatch.setattr(records_module, "LONGEST", 2000)
    monkeypatch.setattr(records_module, "EXCERPT", 500)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log"
