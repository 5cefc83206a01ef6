"""Files that secrets are read from, and that are none: pipes."""

import os
import threading
from pathlib import Path

import pytest

from poller.config.errors import BadValueError
from poller.config.sources import secret_files as files
from poller.config.sources.secret_files import read_text


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    os.mkfifo(path)
    return path


def test_a_pipe_without_a_writer_is_an_error_and_no_wait_for_ever(
    pipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PIPE_S", 0.2)
    with pytest.raises(BadValueError, match=r"a pipe, and its writer did not end within 0\.2 s"):
        read_text(pipe)


def test_a_pipe_whose_writer_stays_silent_is_the_same_error(
    pipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PIPE_S", 0.2)
    descriptor = os.open(pipe, os.O_RDWR)
    try:
        os.write(descriptor, b"half")
        with pytest.raises(BadValueError, match="a pipe"):
            read_text(pipe)
    finally:
        os.close(descriptor)


def test_a_pipe_gives_what_its_writer_writes_late_and_in_parts(pipe: Path) -> None:
    def write() -> None:
        with pipe.open("wb", buffering=0) as writer:  # waits for the reader
            writer.write(b"se")
            writer.write(b"cret\n")

    thread = threading.Thread(target=write)
    thread.start()
    assert read_text(pipe) == "secret\n"
    thread.join()


def test_a_shells_pipe_that_is_open_already_is_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"secret")
    os.close(writer)
    try:
        assert read_text(Path(f"/dev/fd/{reader}")) == "secret"
    finally:
        os.close(reader)


def test_a_file_without_an_end_is_too_large() -> None:
    with pytest.raises(BadValueError, match="too large"):
        read_text(Path("/dev/zero"))
