"""A bench a test: a sandbox process of its own, a settings file and a folder."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.process.bench import Bench, MakeBench, SandboxThread, bench
from tests.process.template import Template


@pytest.fixture(scope="session")
def template() -> Iterator[Template]:
    template = Template()
    yield template
    template.close()


@pytest.fixture
def make(tmp_path: Path, template: Template) -> Iterator[MakeBench]:
    """Return a function that makes a bench. The sandbox gets its arguments."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            bench(tmp_path, SandboxThread(**options), template)
        )


@pytest.fixture
def plain(make: MakeBench) -> Bench:
    """A tenant with an hour of events behind it."""
    return make(seed=1, events=350)
