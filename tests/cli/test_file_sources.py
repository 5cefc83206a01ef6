"""The files of a backfill, each once and in order, and standard input as one of them."""

import io
import sys
from pathlib import Path

import click
import pytest

from poller.cli.wiring.file_sources import STANDARD_INPUT, file_sources


def test_standard_input_is_a_file_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"log_id": "1"}\n')))
    with file_sources([STANDARD_INPUT], None) as sources:
        (source,) = sources
        assert (source.name, source.path.read_bytes()) == ("standard input", b'{"log_id": "1"}\n')
        assert source.path.parent.stat().st_mode & 0o077 == 0
    assert not source.path.exists()


def test_the_list_may_come_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").touch()
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{tmp_path / 'a'}\n\n"))
    with file_sources([], STANDARD_INPUT) as sources:
        assert [source.path for source in sources] == [tmp_path / "a"]


def test_each_file_is_taken_once_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for name in ("b", "a", ".c"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with file_sources([tmp_path / "b", tmp_path], None) as sources:
        assert [source.path.name for source in sources] == ["b", "a"]


def test_a_missing_file_or_list_is_a_usage_error(tmp_path: Path) -> None:
    for paths, listed in (([tmp_path / "x"], None), ([tmp_path], None), ([], tmp_path / "list")):
        with pytest.raises(click.UsageError), file_sources(paths, listed):
            pass
