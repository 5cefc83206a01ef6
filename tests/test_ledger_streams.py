"""Streams of one ledger: one is removed without a trace, and a path is taken as it is written."""

from pathlib import Path

import pytest

from poller.adapters.sql_ledger import LedgerReader, SqlLedger, ledger_path, remove_stream
from poller.core.errors import FatalError
from poller.core.events import EARLIEST, Stream
from tests.fakes import STREAM

OTHER = Stream(domain="other.eu.auth0.com", source_name=STREAM.source_name)


def test_a_stream_is_removed_and_the_others_stay(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    for stream in (STREAM, OTHER):
        ledger = SqlLedger.open(url, stream, create=True, adopt=True)
        ledger.begin(after=EARLIEST)
        ledger.close()
    with pytest.raises(FatalError, match="has spans"):
        remove_stream(url, OTHER, with_spans=False)
    remove_stream(url, OTHER, with_spans=True)
    with pytest.raises(FatalError, match="is in the ledger"):
        remove_stream(url, OTHER, with_spans=True)
    reader = LedgerReader.open(url)
    assert [*reader.streams()] == [STREAM]
    assert len(reader.spans(STREAM)) == 1
    reader.close()


def test_a_plain_path_may_hold_what_a_url_cannot(tmp_path: Path) -> None:
    path = tmp_path / "q?x" / "state.db"
    assert ledger_path(str(path)) == path.parent.resolve() / "state.db"
    ledger = SqlLedger.open(str(path), STREAM, create=True)
    ledger.close()
    assert path.is_file()
