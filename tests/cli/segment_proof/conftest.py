"""A sandbox in this process, and the settings of a user of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from poller.sandbox import Sandbox
from tests.cli.segment_proof.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Sandbox(seed=1, plan="unlimited") as sandbox:
        yield World(sandbox, tmp_path)
