"""The Unix socket beside the ledger: who may use it, and whatever may lie in its place."""

import os
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.local_files import event_socket
from poller.adapters.sql_ledger.local_files.event_socket import (
    MOST_PATH_BYTES,
    SocketPathError,
    connect_beside,
    listen_beside,
    peer_user,
)
from tests.adapters.sql_ledger.ledgers import url


@pytest.fixture
def place(path: Path) -> Path:
    """Return where the socket belongs."""
    path.parent.mkdir()
    return path.with_name("ledger.db.events")


def test_the_socket_is_its_owners_from_the_first_moment(
    path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    listen = socket.socket.listen

    def noting(self: socket.socket, backlog: int) -> None:
        modes.append(stat.S_IMODE(place.lstat().st_mode))
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", noting)
    os.umask(0)
    try:
        listening = listen_beside(url(path))
    finally:
        os.umask(0o022)
    assert (modes, stat.S_IMODE(place.lstat().st_mode)) == ([0o600], 0o600)
    listening.remove()
    assert not place.exists()


def test_each_end_knows_the_user_of_the_other_one(path: Path, place: Path) -> None:
    del place
    listening = listen_beside(url(path))
    connection = connect_beside(url(path))
    assert connection is not None
    with connection, closing(listening.socket.accept()[0]) as accepted:
        assert peer_user(accepted) == peer_user(connection) == os.geteuid()
    listening.remove()


def test_a_socket_of_a_dead_process_is_replaced(path: Path, place: Path) -> None:
    listen_beside(url(path)).socket.close()
    assert place.exists()
    assert connect_beside(url(path)) is None
    again = listen_beside(url(path))
    connection = connect_beside(url(path))
    assert connection is not None
    connection.close()
    again.remove()


def test_a_socket_at_which_somebody_listens_is_left_alone(path: Path, place: Path) -> None:
    first = listen_beside(url(path))
    with pytest.raises(SocketPathError, match="another process listens"):
        listen_beside(url(path))
    assert place.lstat().st_ino == first.inode
    first.remove()


def test_a_socket_is_removed_only_by_its_own_process(path: Path, place: Path) -> None:
    first = listen_beside(url(path))
    place.unlink()
    second = listen_beside(url(path))
    first.remove()
    assert place.exists()
    second.remove()


def test_no_link_and_no_other_file_is_followed_or_removed(path: Path, place: Path) -> None:
    other = path.with_name("other")
    elsewhere = listen_beside(url(other))
    place.symlink_to(elsewhere.path)
    with pytest.raises(SocketPathError, match="is no socket"):
        listen_beside(url(path))
    assert place.is_symlink()
    place.unlink()
    place.symlink_to(path.with_name("nowhere"))
    with pytest.raises(SocketPathError, match="is no socket"):
        listen_beside(url(path))
    assert not path.with_name("nowhere").exists()
    place.unlink()
    place.write_text("precious")
    with pytest.raises(SocketPathError, match="is no socket"):
        listen_beside(url(path))
    assert place.read_text() == "precious"
    elsewhere.remove()


def test_a_link_that_appears_meanwhile_is_not_followed(
    path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = path.with_name("nowhere")
    monkeypatch.setattr(event_socket, "_remove_stale", lambda path: path.symlink_to(target))
    with pytest.raises(OSError, match="in use"):
        listen_beside(url(path))
    assert not target.exists()
    assert place.is_symlink()


def test_a_long_path_goes_by_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    path = folder / "ledger.db"
    assert len(os.fsencode(path)) > MOST_PATH_BYTES
    listening = listen_beside(url(path))
    connection = connect_beside(url(path))
    assert connection is not None
    connection.close()
    listening.remove()
    assert [*folder.iterdir()] == []


def test_a_name_that_is_too_long_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / f"{'n' * 200}.db"
    with pytest.raises(SocketPathError, match="name of the ledger is too long"):
        listen_beside(url(path))


def test_a_missing_daemon_is_no_error(path: Path) -> None:
    assert connect_beside(url(path)) is None
