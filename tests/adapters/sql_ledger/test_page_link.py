"""The link of the live page is a file that only its owner may read, and no link is followed."""

import os
import stat
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.local_files.page_link import (
    read_page_link,
    remove_page_link,
    write_page_link,
)

LINK = "http://127.0.0.1:9465/?token=secret"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


def test_the_link_is_written_for_its_owner_only_and_removed(url: str, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_page_link(url, LINK)
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_page_link(url) == LINK
    remove_page_link(url)
    assert read_page_link(url) is None
    remove_page_link(url)


def test_a_new_link_replaces_the_file_of_an_earlier_start(url: str, tmp_path: Path) -> None:
    for name in ("ledger.db.page", "ledger.db.page.new"):
        (tmp_path / name).write_text("earlier")
        (tmp_path / name).chmod(0o666)
    write_page_link(url, LINK)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_page_link(url) == LINK


@pytest.mark.parametrize("name", ["ledger.db.page", "ledger.db.page.new"])
def test_no_symbolic_link_is_written_through(url: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").write_text("kept")
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    write_page_link(url, LINK)
    assert (tmp_path / "elsewhere").read_text() == "kept"
    assert read_page_link(url) == LINK


def test_no_symbolic_link_is_read_through(url: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("secret")
    (tmp_path / "ledger.db.page").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        read_page_link(url)


def test_a_pipe_in_the_place_of_the_link_makes_nobody_wait(url: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ledger.db.page")
    assert read_page_link(url) is None
