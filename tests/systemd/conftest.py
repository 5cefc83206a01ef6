"""A machine for all tests of units, with the program installed as in the guides."""

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.paths import ROOT
from tests.process.bench import SandboxThread
from tests.systemd.libraries import lend_libraries
from tests.systemd.machine import Machine, booted, missing
from tests.systemd.site import BLOCKS, CLONE, COPY_UNITS, FAULT, IN_A_CLONE, INSTALLED, Site, typed


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    reason = missing()
    if reason:
        pytest.skip(reason)
    with booted() as up:
        yield up


@pytest.fixture(scope="session")
def clone(machine: Machine) -> Machine:
    """Return the machine with a clone of the repository in it."""
    folder = machine.root / CLONE.lstrip("/")
    folder.mkdir()
    for name in IN_A_CLONE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    return machine


@pytest.fixture
def installed(clone: Machine) -> Machine:
    """Return the machine with the program in it, and its units, as the guide installs them.

    A test of the guide uninstalls the program. The next test in any order installs it again.
    """
    if not (clone.root / INSTALLED.lstrip("/")).exists():
        for line in (*BLOCKS[0], COPY_UNITS):
            typed(clone, line)
            if " -m venv " in line:
                lend_libraries(clone)
    return clone


@pytest.fixture
def make_site(installed: Machine) -> Iterator[Callable[..., Site]]:
    """Return a function that makes a site and writes its settings. The sandbox gets the options."""
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
    """Return a line for a unit that lets the service hang on demand."""
    place = f"{INSTALLED}/fault"
    installed.write(f"{place}/sitecustomize.py", FAULT.read_text())
    return f"Environment=PYTHONPATH={place}"


_NUMBERS = itertools.count(1)
