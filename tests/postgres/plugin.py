"""The fixtures of the tier `postgres`: a server for each test process, a database for each test."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from tests.postgres.cluster import Cluster, programs


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let other tests of the ledger run on the server: `--ledger=postgres`."""
    parser.addoption("--ledger", choices=["sqlite", "postgres"], default="sqlite")


def pytest_configure(config: pytest.Config) -> None:
    """Move the ledgers only if it is asked for: a fixture of every test takes its time."""
    if config.getoption("ledger") == "postgres":
        config.pluginmanager.register(LedgersOnTheServer())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only SQLite does."""
    if config.getoption("ledger") == "postgres":
        items[:] = [item for item in items if item.get_closest_marker("sqlite") is None]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The server that the tests of one process share. A test that stops it starts it again."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install -e '.[dev]'")
    folder = programs()
    if folder is None:
        pytest.skip("needs Debian's PostgreSQL: apt-get install postgresql")
    cluster = Cluster(folder)
    try:
        cluster.create()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def database(cluster: Cluster) -> Iterator[str]:
    with cluster.database() as name:
        yield name


@pytest.fixture
def postgres_url(cluster: Cluster, database: str, tmp_path: Path) -> str:
    """The URL of an empty database, as the settings make it."""
    return cluster.url(database, tmp_path / "local")


class LedgersOnTheServer:
    """The plugin of `--ledger=postgres`."""

    @pytest.fixture(autouse=True)
    def _ledger_on_the_server(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        """Keep each ledger of a test in a database of its own."""
        # The process that hands out the tests reads this module too.
        from poller.adapters.sql_ledger import places  # noqa: PLC0415

        with ExitStack() as databases:

            @cache
            def moved(url: str) -> str:
                database = databases.enter_context(cluster.database())
                return cluster.url(database, Path(url.removeprefix("sqlite:///")).parent / "local")

            original = places.place_of

            def place_of(url: str) -> places.LedgerPlace:
                return original(moved(url) if url.startswith("sqlite:") else url)

            for name, module in [*sys.modules.items()]:
                if name.startswith("poller.") and getattr(module, "place_of", None) is original:
                    monkeypatch.setattr(module, "place_of", place_of)
            yield
