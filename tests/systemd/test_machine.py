"""The private machine touches nothing of the host's, and leaves nothing behind."""

from pathlib import Path

import pytest

from tests.systemd.machine import Machine, booted, missing

OWN = (  # tried, not used
    *("/etc", "/opt", "/run", "/tmp", "/var/tmp"),  # noqa: S108
    *("/var/lib", "/var/log", "/dev/shm", "/usr/local/bin"),  # noqa: S108
)
SHARED = ("/", "/usr", "/proc/sys/kernel", "/sys/kernel")
NAME = "of-the-private-machine"


def fail_within(machine: Machine) -> None:
    for folder in OWN:
        machine.run("touch", f"{folder}/{NAME}")
    for folder in SHARED:
        assert machine.run("touch", f"{folder}/{NAME}", is_checked=False).returncode
    machine.run("sh", "-c", "setsid sleep 600 >/dev/null 2>&1 &")
    raise ZeroDivisionError


def test_a_test_that_fails_leaves_no_process_no_mount_no_cgroup_and_no_file_behind() -> None:
    if reason := missing():
        pytest.skip(reason)
    mounts = Path("/proc/self/mounts").read_text()
    with booted() as machine:
        groups = [machine.group, *(path for path in machine.group.iterdir() if path.is_dir())]
        with pytest.raises(ZeroDivisionError):
            fail_within(machine)
    assert len(groups) > 2
    assert not [group for group in groups if group.exists()]
    assert not Path(f"/proc/{machine.pid}").exists()
    assert Path("/proc/self/mounts").read_text() == mounts
    assert not [folder for folder in OWN + SHARED if Path(folder, NAME).exists()]
