"""Every shortage is transient at every step, and the ledger works again when it is over."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.sqlite.verdicts import verdicts
from poller.core.errors import FatalError, TransientError
from tests.fakes import STREAM
from tests.paths import ROOT

PRELUDE = """
import os, resource, sys
from pathlib import Path
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.places import acquire_lock
from poller.core.errors import FatalError, TransientError
from poller.core.log_ids import EARLIEST
from tests.builders import live_of, page, settlement
from tests.fakes import STREAM

def use(url):
    with acquire_lock(url, "run"):
        ledger = SqlLedger.open(url, STREAM, create=True)
        try:
            span = live_of(ledger) or ledger.begin(after=EARLIEST)
            number = int(span.reached[-10:])
            ledger.settle(settlement(span, page(number + 1)))
            reader = LedgerReader.open(url)
            try:
                reader.holder()
                return reader.totals(STREAM)["forwarded"]
            finally:
                reader.close()
        finally:
            ledger.close()

def tried(url):
    try:
        return use(url)
    except TransientError:
        return "transient"
"""


def told(script: str, *arguments: object, wrapper: tuple[str, ...] = ()) -> list[str]:
    """Run the script in a process of its own, and return its output."""
    command = [
        *wrapper,
        sys.executable,
        "-c",
        PRELUDE + textwrap.dedent(script),
        *map(str, arguments),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


@pytest.mark.process
def test_no_descriptors_are_transient_however_many_are_left(tmp_path: Path) -> None:
    said = told(
        """
        use(f"sqlite:///{sys.argv[1]}/warm/ledger.db")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        open_now = len(os.listdir("/proc/self/fd")) - 1
        for left in range(16):
            for name in ("old", f"new-{left}"):
                url = f"sqlite:///{sys.argv[1]}/{name}/ledger.db"
                resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + left, hard))
                print(tried(url))
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        print(use(f"sqlite:///{sys.argv[1]}/old/ledger.db") > 1)
        """,
        tmp_path,
    )
    assert said.count("transient") > 6
    assert said[-2:] == ["1", "True"]


@pytest.mark.process
def test_no_address_space_is_transient_however_much_is_left(tmp_path: Path) -> None:
    said = told(
        """
        url = f"sqlite:///{sys.argv[1]}/ledger.db"
        use(url)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        for left in range(0, 2**20, 16 * 2**10):
            if child := os.fork():
                _, status = os.waitpid(child, 0)
                print(os.waitstatus_to_exitcode(status))
                continue
            resource.setrlimit(resource.RLIMIT_AS, (size + left, size + left))
            try:
                os._exit(75 if tried(url) == "transient" else 0)
            except FatalError:
                os._exit(78)
        """,
        tmp_path,
    )
    assert set(said) <= {"0", "75"}
    assert said.count("75") > 1
    assert said[-1] == "0"


def _own_mounts() -> tuple[str, ...]:
    wrapper = ("unshare", "--mount")
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a file system of its own takes root and unshare (Debian: util-linux)")
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here")
    return wrapper


SMALL_DISKS = [
    *(f"nr_inodes={number}" for number in range(2, 9)),
    *(f"size={number * 4}k" for number in range(1, 64, 6)),
]


@pytest.mark.process
def test_no_inodes_and_no_space_are_transient_and_there_is_room_again(tmp_path: Path) -> None:
    said = told(
        """
        import subprocess
        folder, *disks = sys.argv[1:]
        for options in disks:
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
            tries = [tried(f"sqlite:///{folder}/state/ledger.db") for _ in range(3)]
            subprocess.run(["mount", "-o", "remount,nr_inodes=100,size=10m", folder], check=True)
            print(options, *tries, use(f"sqlite:///{folder}/state/ledger.db"), sep=";")
            subprocess.run(["umount", folder], check=True)
        """,
        tmp_path,
        *SMALL_DISKS,
        wrapper=_own_mounts(),
    )
    tried = {options: rest for options, *rest in (line.split(";") for line in said)}
    assert list(tried) == SMALL_DISKS
    assert all(last.isdigit() for *_, last in tried.values()), tried
    for smallest in ("nr_inodes=2", "size=4k"):
        assert tried[smallest][0] == "transient"


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.ESTALE]
)
def test_a_shortage_that_may_pass_is_transient(tmp_path: Path, number: int) -> None:
    with pytest.raises(TransientError, match="ledger"), verdicts(tmp_path / "ledger.db"):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR]
)
def test_a_fault_that_only_a_person_can_mend_is_fatal(tmp_path: Path, number: int) -> None:
    with pytest.raises(FatalError) as error, verdicts(tmp_path / "ledger.db"):
        raise OSError(number, os.strerror(number))
    assert error.value.hint


def test_a_folder_in_place_of_a_file_of_sqlites_own_is_fatal(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    SqlLedger.open(url, STREAM, create=True).close()
    (tmp_path / "ledger.db-wal").mkdir()
    with pytest.raises(FatalError, match="cannot be opened"):
        SqlLedger.open(url, STREAM, create=True)
