"""The names of a ledger: links, second names, and the files beside it."""

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.errors import LedgerHeldError
from poller.adapters.sql_ledger.inspection import inspect_ledger
from poller.adapters.sql_ledger.places import acquire_lock
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.core.errors import FatalError, TransientError
from tests.adapters.sql_ledger.ledgers import forwarded, opened, reading, said, url
from tests.fakes import STREAM

BESIDE = (".known", ".run.lock", ".backfill.lock")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state/ledger.db"


@pytest.fixture
def link(path: Path) -> Path:
    """A symbolic link to the ledger, in another folder."""
    forwarded(path, 1)
    made = path.parent.parent / "elsewhere.db"
    made.symlink_to(path)
    return made


def test_two_processes_that_use_a_file_and_a_link_to_it_meet_at_one_lock(
    path: Path, link: Path
) -> None:
    with (
        acquire_lock(url(path), "run"),
        pytest.raises(LedgerHeldError, match=f"process {os.getpid()}"),
    ):
        acquire_lock(url(link), "run")
    with acquire_lock(url(link), "run"), pytest.raises(LedgerHeldError):
        acquire_lock(url(path), "run")


def test_a_link_to_the_folder_is_no_second_ledger(path: Path) -> None:
    forwarded(path, 1)
    other = path.parent.parent / "other"
    other.symlink_to(path.parent)
    with acquire_lock(url(path), "run"), pytest.raises(LedgerHeldError):
        acquire_lock(url(other / path.name), "run")


def test_a_link_leaves_no_files_beside_it_and_reads_what_is_there(link: Path) -> None:
    forwarded(link, 2)
    with reading(link) as reader, acquire_lock(url(link), "backfill"):
        holder = reader.holder("backfill")
        assert holder is not None
        assert reader.totals(STREAM)["forwarded"] == 2
    assert [
        file.name for file in link.parent.iterdir() if file.is_file() and not file.is_symlink()
    ] == []


def test_a_link_to_a_ledger_that_is_gone_begins_none(path: Path, link: Path) -> None:
    path.unlink()
    with pytest.raises(FatalError, match="was there before"), opened(link):
        pass
    assert link.is_symlink()
    assert not path.exists()


def test_a_ledger_with_a_second_hard_link_is_refused_by_whoever_would_use_it(path: Path) -> None:
    forwarded(path, 1)
    other = path.with_name("copy.db")
    other.hardlink_to(path)
    for name in (path, other):
        for use in (
            lambda name: opened(name).__enter__(),
            lambda name: LedgerReader.open(url(name)),
            lambda name: acquire_lock(url(name), "run"),
            lambda name: inspect_ledger(url(name), STREAM),
        ):
            with pytest.raises(FatalError, match="second name") as error:
                use(name)
            assert str(name) in said(error.value)
    other.unlink()
    forwarded(path, 2)


USES = (
    lambda name: opened(name).__enter__(),
    lambda name: opened(name, create=False).__enter__(),
    lambda name: LedgerReader.open(url(name)),
    lambda name: acquire_lock(url(name), "run"),
    lambda name: inspect_ledger(url(name), STREAM),
)
"""Every way to begin to use a ledger."""


def _place(kind: str, path: Path) -> None:
    """Put something that is no ledger at the path."""
    path.parent.mkdir()
    match kind:
        case "a folder":
            path.mkdir()
        case "a pipe":
            os.mkfifo(path)
        case "a socket":
            with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
                made.bind(path.name)  # a path of a socket has at most 108 bytes
        case "a device":
            path.symlink_to("/dev/null")
        case "a short text":
            path.write_text("notes")
        case "a long text":
            path.write_text("notes\n" * 1000)
        case "a database of another program":
            with contextlib.closing(sqlite3.connect(path)) as other:
                other.execute("CREATE TABLE notes (text)")


KINDS = ("a folder", "a pipe", "a socket", "a device", "a short text", "a long text")


@pytest.mark.parametrize("kind", [*KINDS, "a database of another program"])
def test_a_path_at_which_something_else_is_has_one_error_and_is_left_as_it_is(
    path: Path, kind: str
) -> None:
    _place(kind, path)
    before = path.lstat()
    for use in USES:
        if use is USES[3] and kind in {"a long text", "a database of another program"}:
            continue  # the lock does not open the ledger
        with pytest.raises(FatalError) as error:
            use(path)
        assert error.value.code == "not-a-ledger", said(error.value)
        assert kind not in KINDS[:4] or f"is {kind} and no ledger" in str(error.value)
        assert "state.url" in said(error.value) or "[state] url" in said(error.value)
    assert (path.lstat().st_mode, path.lstat().st_size) == (before.st_mode, before.st_size)


def test_a_damaged_ledger_is_told_from_a_file_that_never_was_one(path: Path) -> None:
    forwarded(path, 1)
    path.write_bytes(b"x" * 8192)
    for use in (USES[0], USES[2]):
        with pytest.raises(FatalError, match="is damaged") as error:
            use(path)
        assert error.value.code == "ledger-damaged"


def test_a_file_in_the_place_of_a_folder_is_named(path: Path) -> None:
    path.parent.write_text("notes")
    for use in USES:
        with pytest.raises(FatalError, match=f"{path.parent} is no folder") as error:
            use(path)
        assert error.value.code == "not-a-ledger"


@pytest.mark.parametrize("kind", ["the ledger", "its folder", "a circle"])
def test_a_link_that_leads_nowhere_is_refused_and_nothing_is_made_behind_it(
    path: Path, kind: str
) -> None:
    nowhere = path.parent.parent / "not-mounted"
    if kind == "its folder":
        path.parent.symlink_to(nowhere)
    else:
        path.parent.mkdir()
        path.symlink_to(path if kind == "a circle" else nowhere / "state/ledger.db")
    broken = path.parent if kind == "its folder" else path
    for use in USES:
        with pytest.raises(FatalError, match=f"{broken} is a link to") as error:
            use(path)
        assert error.value.code == "ledger-link-broken"
    assert not nowhere.exists()
    assert [each for each in path.parent.parent.rglob("*") if not each.is_symlink()] == (
        [] if kind == "its folder" else [path.parent]
    )


def test_a_look_at_the_ledger_finds_the_files_beside_it_that_would_stop_a_start(
    path: Path,
) -> None:
    forwarded(path, 1)
    path.with_name("ledger.db.run.lock").unlink(missing_ok=True)
    os.mkfifo(path.with_name("ledger.db.run.lock"))
    with pytest.raises(FatalError, match="the program made no such file"):
        inspect_ledger(url(path), STREAM)
    with reading(path) as reader, pytest.raises(FatalError, match="the program made no such file"):
        reader.holder()


@pytest.mark.parametrize("suffix", BESIDE)
@pytest.mark.parametrize("kind", ["link", "link to nothing", "second name", "pipe"])
def test_a_file_beside_it_that_the_program_did_not_make_is_left_alone(
    path: Path, suffix: str, kind: str
) -> None:
    path.parent.mkdir()
    target, planted = path.parent.parent / "target", path.with_name(path.name + suffix)
    if kind == "pipe":
        os.mkfifo(planted)
    elif kind == "link to nothing":
        planted.symlink_to(target)
    else:
        target.write_text("precious")
        planted.symlink_to(target) if kind == "link" else planted.hardlink_to(target)
    with pytest.raises(FatalError, match="the program made no such file") as error:
        _use(path, suffix)
    assert str(planted) in str(error.value)
    assert not target.exists() or target.read_text() == "precious"
    planted.unlink()
    _use(path, suffix)


def _use(path: Path, suffix: str) -> None:
    if suffix == ".known":
        forwarded(path, 1)
    else:
        acquire_lock(url(path), "run" if "run" in suffix else "backfill").close()


@pytest.mark.process
def test_sqlites_lock_outlives_whatever_else_the_process_does_to_the_ledger(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that closes any descriptor of a file loses all its POSIX locks on the file."""
    monkeypatch.setattr("poller.adapters.sql_ledger.sqlite.driver.BUSY_TIMEOUT_S", 0.05)
    forwarded(path, 1)
    with opened(path) as ledger, ledger._database.writing():
        with pytest.raises(TransientError, match="locked"), opened(path):
            pass
        acquire_lock(url(path), "run").close()
        assert inspect_ledger(url(path), STREAM)
        with reading(path) as reader:
            assert reader.holder() is None
        look = (
            "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1], timeout=0); "
            "connection.execute('BEGIN IMMEDIATE')"
        )
        other = subprocess.run(
            [sys.executable, "-c", look, path], capture_output=True, text=True, check=False
        )
        assert "database is locked" in other.stderr


def test_a_ledger_is_made_without_a_descriptor_of_its_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[object] = []
    really_open = os.open

    def noted(name: os.PathLike[str] | str, *given: int, **named: int) -> int:
        names.append(os.fspath(name))
        return really_open(name, *given, **named)

    monkeypatch.setattr(os, "open", noted)
    for number in (1, 2):
        forwarded(path, number)
        path.chmod(0o644)
    assert {f"{path}.known"} == set(names)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
