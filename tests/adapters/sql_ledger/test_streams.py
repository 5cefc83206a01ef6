"""Streams of one ledger: one is removed without a trace, and a path is taken as it is written."""

from pathlib import Path

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.sqlite.driver import ledger_path
from poller.adapters.sql_ledger.stream_removal import remove_stream
from poller.cli.options import choose
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.log_ids import EARLIEST
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


@pytest.mark.parametrize(
    ("source_name", "own", "found"),
    [
        (None, "web", 0),
        ("web", "web", 0),
        ("app", "web", 1),
        (None, "app", 1),
        ("gone", "web", None),
    ],
)
def test_a_stream_is_chosen_by_the_domain_of_the_settings(
    source_name: str | None, own: str, found: int | None
) -> None:
    domain = STREAM.domain
    streams = (*(Stream(domain=domain, source_name=name) for name in ("web", "app")), OTHER)
    if found is None:
        with pytest.raises(FatalError, match="no stream, or several, of"):
            choose(streams, domain=domain, source_name=source_name, own=(own, ""))
    else:
        assert (
            choose(streams, domain=domain, source_name=source_name, own=(own, "")) == streams[found]
        )
    assert choose(streams, domain=OTHER.domain, source_name=None, own=(own, "")) == OTHER
