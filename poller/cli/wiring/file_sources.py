"""The files that a backfill reads: named, listed in a file, in folders, or standard input."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click

STANDARD_INPUT = Path("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """A file on disk, and the name to show for it."""

    path: Path
    name: str


@contextmanager
def file_sources(paths: Sequence[Path], listed: Path | None) -> Iterator[list[FileSource]]:
    """Yield every file once, in the order of the arguments.

    The files of a folder come in the order of their names. Standard input is copied to a temporary
    file, since a file is read more than once.

    Raises:
        UsageError: a path is neither a file nor a folder, or there is no file at all.
    """
    named = [*paths, *(_listed(listed) if listed is not None else [])]
    with tempfile.TemporaryDirectory(prefix="auth0-segment-poller-") as folder:
        sources: dict[Path, FileSource] = {}
        for path in named:
            for source in _sources_of(path, Path(folder)):
                sources.setdefault(source.path.resolve(), source)
        if not sources:
            raise click.UsageError("there is no file to read")
        yield list(sources.values())


def _sources_of(path: Path, folder: Path) -> Iterator[FileSource]:
    if path == STANDARD_INPUT:
        yield _copied(sys.stdin.buffer, folder / "standard-input")
    elif path.is_dir():
        inside = (each for each in sorted(path.rglob("*")) if each.is_file())
        shown = (each for each in inside if not _is_hidden(each.relative_to(path)))
        yield from (FileSource(path=each, name=str(each)) for each in shown)
    elif path.is_file():
        yield FileSource(path=path, name=str(path))
    else:  # A pipe cannot be read twice, either.
        raise click.UsageError(f"{path} is neither a file nor a folder")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _copied(stream: BinaryIO, path: Path) -> FileSource:
    """Copy the stream. Nobody else can read the copy, since only this user may enter the folder."""
    with path.open("wb") as copy:
        shutil.copyfileobj(stream, copy)
    return FileSource(path=path, name="standard input")


def _listed(listed: Path) -> list[Path]:
    """Return the paths in a file, one per line."""
    try:
        text = sys.stdin.read() if listed == STANDARD_INPUT else listed.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"--files-from {listed} cannot be read: {error}") from None
    return [Path(line) for line in text.splitlines() if line.strip()]
