"""A bench whose ledger is in PostgreSQL."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.postgres.cluster import Cluster
from tests.process.bench import MakeBench, SandboxThread, bench
from tests.process.template import Template


@pytest.fixture(scope="session")
def template() -> Iterator[Template]:
    template = Template()
    yield template
    template.close()


@pytest.fixture
def make(
    cluster: Cluster, database: str, tmp_path: Path, template: Template
) -> Iterator[MakeBench]:
    """Return a function that makes a bench. The sandbox gets its arguments."""
    with ExitStack() as stack:

        def make(**options: object) -> object:
            made = stack.enter_context(bench(tmp_path, SandboxThread(**options), template))
            made.overrides |= cluster.settings(database, tmp_path / "local")
            made.write_settings()
            return made

        yield make  # type: ignore[misc]
