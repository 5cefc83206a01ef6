"""An answer of the server that is lost: a commit may have happened or not, and both are right."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.core.errors import ConflictError, TransientError
from poller.core.log_ids import EARLIEST
from tests.builders import page, settlement
from tests.fakes import STREAM, numbered
from tests.postgres.cluster import Cluster


class Proxy:
    """A machine between the program and the server, which can lose a commit or its answer."""

    def __init__(self, port: int) -> None:
        self.loses = ""
        self._is_answer_lost = False
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                for source, target in ((client, server), (server, client)):
                    thread = threading.Thread(
                        target=self._carry, args=(source, target, client), daemon=True
                    )
                    thread.start()

    def _carry(self, source: socket.socket, target: socket.socket, client: socket.socket) -> None:
        with source, suppress(OSError):
            while data := source.recv(65_536):
                if source is client and b"COMMIT\0" in data:
                    if self.loses == "the commit":
                        break
                    self._is_answer_lost = self.loses == "its answer"
                if source is not client and self._is_answer_lost:
                    self._is_answer_lost = False
                    break
                target.sendall(data)
            for each in (source, target):
                each.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    with closing(Proxy(cluster.port)) as proxy:
        yield proxy


@pytest.mark.parametrize(("loses", "position"), [("the commit", 1), ("its answer", 2)])
def test_a_page_counts_once_whether_or_not_its_commit_arrived(
    cluster: Cluster, database: str, proxy: Proxy, tmp_path: Path, loses: str, position: int
) -> None:
    direct = cluster.url(database, tmp_path, query="?sslmode=disable")
    url = direct.replace(f":{cluster.port}/", f":{proxy.port}/")
    with closing(SqlLedger.open(url, STREAM, create=True)) as ledger:
        span = ledger.settle(settlement(ledger.begin(after=EARLIEST), page(1)))
        proxy.loses = loses
        with pytest.raises(TransientError, match="cannot be reached: "):
            ledger.settle(settlement(span, page(2)))  # type: ignore[arg-type]
        proxy.loses = ""
        current = ledger.live_span()
        assert current is not None
        assert current.reached == numbered(position)
        with suppress(ConflictError):
            ledger.settle(settlement(span, page(2)))  # type: ignore[arg-type]
    with closing(LedgerReader.open(direct)) as reader:
        assert reader.totals(STREAM)["forwarded"] == 2
