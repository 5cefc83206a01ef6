"""The program as the first process of a container: own processes, read-only root, no rights."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.paths import ROOT
from tests.process.bench import PATIENCE_S, eventually

CONTAINERFILE = (ROOT / "packaging/Containerfile").read_text()
USER = "10001"
_PORT = "9464"
_TOOLS = ("unshare", "nsenter", "setpriv", "mount")
_RIGHTS = f"--reuid={USER} --regid={USER} --clear-groups --bounding-set=-all --inh-caps=-all"
_START = f"""
set -eu
mount --make-rprivate /
for folder in /opt /run /var/lib; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
mkdir /opt/auth0-segment-poller /run/secrets /var/lib/auth0-segment-poller
mount --bind "$1" /opt/auth0-segment-poller
cp "$2"/* /run/secrets
chown {USER}:{USER} /var/lib/auth0-segment-poller
for folder in / /opt /run; do mount -o remount,bind,ro "$folder"; done
cd /
exec setpriv {_RIGHTS} --no-new-privs python -m poller run
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container that runs."""

    outer: "subprocess.Popen[bytes]"
    pid: int
    environ: dict[str, str]
    log: Path

    def run(self, *command: str) -> int:
        """Run a command inside as the container's user, and return its exit code."""
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--", "setpriv"]
        ended = subprocess.run(
            [*inside, *_RIGHTS.split(), "--", *command], env=self.environ, check=False
        )
        return ended.returncode

    def stop(self) -> None:
        """Ask the first process to stop, as an engine does."""
        os.kill(self.pid, signal.SIGTERM)

    @property
    def is_healthy(self) -> bool:
        """True if the check of the image finds the program healthy."""
        (command,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", CONTAINERFILE, re.MULTILINE)
        return self.run(*json.loads(command.replace(_PORT, self._port))) == 0

    @property
    def _port(self) -> str:
        """The port of the metrics, which the test leaves to the kernel."""
        found = eventually(
            "the port", lambda: re.findall(r"metrics\.listening.*:(\d+)\b", self.log.read_text())
        )
        return str(found[0])

    @property
    def children(self) -> list[str]:
        """The children of the first process, also those that have ended and are not reaped."""
        return Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()


def missing() -> str | None:
    """Return the reason why no container can be made here, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a container takes root"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def environ_of_the_image() -> dict[str, str]:
    """Return the variables that the image sets."""
    found = re.findall(r"^ENV (\w+)=(\S+)$", CONTAINERFILE, re.MULTILINE)
    return {name: value.replace(_PORT, "0") for name, value in found}


@contextmanager
def running(
    venv: Path, secrets: Path, settings: Mapping[str, str], log: Path
) -> Iterator[Container]:
    """Run the program of the environment, and kill it in the end."""
    environ = environ_of_the_image() | settings
    namespaces = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    command = ["/usr/bin/unshare", *namespaces, "sh", "-c", _START, "sh", str(venv), str(secrets)]
    with log.open("wb") as file, subprocess.Popen(command, env=environ, stderr=file) as outer:
        try:
            pid = eventually("the first process", lambda: _child(outer))
            yield Container(outer=outer, pid=pid, environ=environ, log=log)
        finally:
            with contextlib.suppress(ProcessLookupError):
                outer.kill()
            outer.wait(PATIENCE_S)


def _child(outer: "subprocess.Popen[bytes]") -> int:
    assert outer.poll() is None, "the container has ended"
    return int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().strip() or 0)
