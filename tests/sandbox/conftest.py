"""A sandbox with a client for each of its services."""

from collections.abc import Iterator

import httpx
import pytest

from poller.sandbox import Sandbox
from tests.sandbox.world import World


@pytest.fixture
def world() -> Iterator[World]:
    with (
        Sandbox(seed=1, plan="unlimited") as sandbox,
        httpx.Client(base_url=sandbox.auth0_url, timeout=60) as auth0,
        httpx.Client(base_url=sandbox.segment_url, timeout=60) as segment,
    ):
        found = World(sandbox, auth0, segment)
        found.authorize()
        yield found
