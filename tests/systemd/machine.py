"""A systemd in namespaces of its own.

It boots in a second, writes only to memory, and leaves nothing behind.
"""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.process.bench import PATIENCE_S, eventually

BOOT = Path(__file__).with_name("boot.sh")
UNIT_PATH = "/etc/systemd/system:/run/systemd/system:/run/machine/units:/usr/lib/systemd/system"
PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TOOLS = ("unshare", "nsenter", "setpriv", "mount", "systemctl", "systemd-analyze", "journalctl")
_INHERITED = re.compile(r"HOME|PIP_.*|HTTPS_PROXY|https_proxy|SSL_CERT_FILE|REQUESTS_CA_BUNDLE")
"""The variables that pip may need to reach its index."""
_NUMBERS = itertools.count(1)
_NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--cgroup")


def missing() -> str | None:
    """Return the reason why no machine can be booted here, or None if one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a systemd of its own takes root"
    absent = [tool for tool in _TOOLS if shutil.which(tool, path=PATH) is None]
    absent += [
        path for path in ("/lib/systemd/systemd", "/usr/bin/python3") if not Path(path).exists()
    ]
    if absent:
        packages = "systemd, util-linux, python3, python3-venv"
        return f"not installed: {', '.join(absent)} (Debian: {packages})"
    if _cgroups() is None:
        return "no cgroup2 that can be written to"
    command = [
        "/usr/bin/python3",
        "-c",
        "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))",
    ]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return "no Python 3.11 of the system's with venv (Debian: python3-venv)"
    command = ["/usr/bin/unshare", *_NAMESPACES, "--fork", "true"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"no namespaces: {tried.stderr.strip()}" if tried.returncode else None


class Machine:
    """A booted machine. Its files lie below `root`, and its network is the network of the host."""

    def __init__(self, pid: int, group: Path) -> None:
        self.pid = pid
        self.group = group
        self.root = Path(f"/proc/{pid}/root")

    def run(
        self,
        *command: str,
        is_checked: bool = True,
        stdin: str = "",
        cwd: str = "/",
        environ: dict[str, str] | None = None,
        timeout_s: float = 2 * PATIENCE_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside as root with the PATH of a Debian, and fail with its output."""
        inherited = {
            name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)
        }
        given = {
            "PATH": PATH,
            "LC_ALL": "C.UTF-8",
            "SYSTEMD_UNIT_PATH": UNIT_PATH,
            "PIP_NO_CACHE_DIR": "1",
        }
        ended = subprocess.run(
            [*self.entry(cwd), *command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=inherited | given | (environ or {}),
        )
        if is_checked and ended.returncode:
            raise AssertionError(
                f"{command} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}"
            )
        return ended

    def entry(self, cwd: str = "/") -> list[str]:
        """Return the command that runs another one inside the machine."""
        target = ["--target", str(self.pid), f"--wd={self.root}/{cwd}"]
        return ["nsenter", *target, *_NAMESPACES, "--"]

    def systemctl(self, *arguments: str, is_checked: bool = True) -> str:
        return self.run("systemctl", "--no-pager", *arguments, is_checked=is_checked).stdout

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit, as systemd spells it."""
        return self.systemctl("show", "--value", f"--property={name}", unit).strip()

    def journal(self, unit: str) -> str:
        """Return the messages of the unit, and of systemd about the unit."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}").stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file inside, and make its folders."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)


@contextmanager
def booted(*, has_own_usr: bool = False) -> Iterator[Machine]:
    """Boot the machine, and remove it in the end with all its processes.

    With an own /usr, packages can be installed in it.
    """
    cgroups = _cgroups()
    assert cgroups is not None
    group = cgroups / f"poller-machine-{os.getpid()}-{next(_NUMBERS)}"
    group.mkdir()
    try:
        # The root of its cgroup namespace is the group in which it is started. If the tests are
        # killed, the machine dies with them.
        started = 'echo $$ >"$0" && exec setpriv --pdeathsig KILL unshare "$@"'
        options = ["--fork", "--kill-child", "--mount-proc", *_NAMESPACES]
        command = ["sh", "-c", started, str(group / "cgroup.procs"), *options, "sh", str(BOOT)]
        environ = {"PATH": PATH, "OWN_USR": "1" if has_own_usr else ""}
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environ
        ) as outer:
            try:
                yield _up(outer, group)
            finally:
                _end(outer, group)
    finally:
        _remove(group)


def _up(outer: subprocess.Popen[bytes], group: Path) -> Machine:
    def found() -> Machine | None:
        if outer.poll() is not None:
            assert outer.stderr is not None
            raise AssertionError(f"the machine did not boot:\n{outer.stderr.read().decode()}")
        # Until it has become systemd, its mounts are not yet made.
        is_systemd = (pid := _child(outer)) and Path(
            f"/proc/{pid}/comm"
        ).read_text().strip() == "systemd"
        return Machine(pid, group) if is_systemd else None

    machine: Machine = eventually("systemd", found)
    eventually(
        "the machine", lambda: "running" in machine.systemctl("is-system-running", is_checked=False)
    )
    return machine


def _child(outer: subprocess.Popen[bytes]) -> int:
    """Return the first process of the machine, or 0 while there is none."""
    return int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().strip() or 0)


def _end(outer: subprocess.Popen[bytes], group: Path) -> None:
    """Kill the first process of the machine, which its parent then reaps, and then all others."""
    with contextlib.suppress(OSError):
        if pid := _child(outer):
            os.kill(pid, signal.SIGKILL)
            outer.wait(PATIENCE_S)
    with contextlib.suppress(OSError):
        (group / "cgroup.kill").write_text("1")


def _remove(group: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while group.exists():
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):  # busy until the last of its processes is reaped
                Path(folder).rmdir()
        if time.monotonic() > deadline:
            raise AssertionError(f"{group} could not be removed")
        time.sleep(0.02)


def _cgroups() -> Path | None:
    """Return the folder of our own cgroup, or None without a cgroup2 that can be written to."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    mounted = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    own = next(
        (
            line[3:]
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if line[:3] == "0::"
        ),
        "/",
    )
    if mounted is None:
        return None
    folder = mounted / own.lstrip("/")
    place = folder if folder.is_dir() else mounted
    return place if os.access(place, os.W_OK) else None
