"""The libraries of the tests' environment, lent to the environment that the guide makes."""

import shutil
import sys
from importlib.metadata import distributions

from packaging.utils import canonicalize_name

from tests.packages.distributions import pinned
from tests.systemd.machine import Machine
from tests.systemd.site import INSTALLED


def lend_libraries(machine: Machine) -> None:
    """Copy the libraries that are pinned for root, where the tests have the same versions.

    pip then has nothing to download and to compile, which takes it half a minute. If the Python of
    the machine is another one, it does. The tier `packages` installs all that is pinned.
    """
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folder = machine.root / INSTALLED.lstrip("/") / "lib" / python / "site-packages"
    if not folder.is_dir():
        return
    versions = pinned("requirements.txt")
    for library in distributions():
        if versions.get(canonicalize_name(library.name)) == library.version:
            for file in library.files or ():
                if ".." not in file.parts:  # scripts, which name the interpreter of the tests
                    target = folder / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(str(library.locate_file(file)), target)
