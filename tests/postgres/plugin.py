"""The fixtures of the tier `postgres`: a server for each test process, a database for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres.cluster import Cluster, programs


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
