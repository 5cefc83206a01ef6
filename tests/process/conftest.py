"""A bench a test: a sandbox process of its own, a settings file and a folder."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.process.bench import Bench, MakeBench, bench


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeBench]:
    """Makes a bench; its arguments are the sandbox's."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(bench(tmp_path, *arguments))


@pytest.fixture
def plain(make: MakeBench) -> Bench:
    """A tenant with an hour of events behind it."""
    return make("--seed", "1", "--events", "350")
