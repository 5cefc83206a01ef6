"""One machine for all tests of units, with the program installed in it as the guides say."""

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.paths import ROOT
from tests.process.bench import SandboxThread
from tests.systemd.machine import Machine, booted, missing
from tests.systemd.site import _IN_A_CLONE, BLOCKS, CLONE, FAULT, Site, typed


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    reason = missing()
    if reason:
        pytest.skip(reason)
    with booted() as up:
        yield up


@pytest.fixture(scope="session")
def installed(machine: Machine) -> Machine:
    """With the first block of the guide done, in a clone."""
    clone = machine.root / CLONE.lstrip("/")
    clone.mkdir()
    for name in _IN_A_CLONE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, clone)
    for line in BLOCKS[0]:
        typed(machine, line)
    return machine


@pytest.fixture
def make_site(installed: Machine) -> Iterator[Callable[..., Site]]:
    """Makes a site with its settings written; the arguments are the sandbox's."""
    with contextlib.ExitStack() as stack:

        def make(name: str | None = None, **options: Any) -> Site:
            sandbox = SandboxThread(**options)
            stack.callback(sandbox.close)
            made = Site(installed, sandbox, name or f"site-{next(_NUMBERS)}")
            stack.callback(made.close)
            made.write()
            return made

        yield make


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """A tenant with an hour of events behind it."""
    return make_site(seed=1, events=350)


@pytest.fixture
def fault(installed: Machine) -> str:
    """A line for a unit that lets it hang on demand."""
    place = "/opt/auth0-segment-poller/fault"
    installed.write(f"{place}/sitecustomize.py", FAULT.read_text())
    return f"Environment=PYTHONPATH={place}"


_NUMBERS = itertools.count(1)
