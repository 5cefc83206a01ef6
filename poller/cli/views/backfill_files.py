"""The reports of `backfill --from-file`: the plan of each file, and the counts after it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from poller.core.text.dates import iso
from poller.service.backfill.file_counts import FileCount

_ALWAYS_SHOWN = ("read", "forwarded", "filtered", "dead_lettered")
_SHOWN_IF_ANY = ("skipped", "repeated", "outside", "bad_records", "texts", "redated")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableFile:
    """A file that cannot be read, and the reason."""

    file: str
    problem: str

    def line(self) -> str:
        """Return the line of the text."""
        return f"{self.file}: {self.problem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePlan:
    """A file, and how far it is settled. `first` and `last` are times of events, if known."""

    file: str
    size: int
    kind: str
    gzip: bool
    offset: int
    line: int
    first: datetime | None
    last: datetime | None
    problem: None = None

    def text(self) -> str:
        """Return the line of the text."""
        kind = f"{self.kind}, gzip" if self.gzip else self.kind
        settled = f"settled up to line {self.line}" if self.offset else "nothing settled yet"
        size = f"{self.size / 1e6:,.1f} MB"
        return f"{self.file}: {size} ({kind}), {settled}{self._times()}"

    def _times(self) -> str:
        if self.first is None and self.last is None:
            return ", and no event at its ends has a time"
        first, last = (iso(at) if at else "an unknown time" for at in (self.first, self.last))
        return f", events from {first} to {last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesPlan:
    """The plan of a backfill from files."""

    files: tuple[FilePlan | UnreadableFile, ...]

    def lines(self) -> list[str]:
        """Return the lines of the text."""
        return [
            file.line() if isinstance(file, UnreadableFile) else file.text() for file in self.files
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesTotal:
    """The sums over all files."""

    read: int
    forwarded: int
    filtered: int
    dead_lettered: int
    skipped: int
    repeated: int
    outside: int
    bad_records: int
    texts: int
    redated: int
    files: int
    files_left: int
    pending_identifies: int


def total_of(counts: Sequence[FileCount], awaiting: int) -> FilesTotal:
    """Add up the counts. `awaiting` is the number of users who still wait for their identify."""
    sums = {
        name: sum(getattr(count, name) for count in counts)
        for name in (*_ALWAYS_SHOWN, *_SHOWN_IF_ANY)
    }
    left = sum(not count.is_done for count in counts)
    return FilesTotal(**sums, files=len(counts), files_left=left, pending_identifies=awaiting)


def count_line(count: FileCount) -> str:
    """Return the counts of one file as text, and why the file is not settled whole."""
    return f"{count.file}: {_counts(count)}{_unknown_types(count)}{_progress(count)}"


def total_lines(total: FilesTotal) -> list[str]:
    """Return the sums as text. A single file needs none."""
    lines = [f"{total.files} files: {_counts(total)}"] if total.files > 1 else []
    if total.pending_identifies:
        lines.append(
            f"{total.pending_identifies} users still wait for their identify: run the same command "
            "again to continue"
        )
    return lines


def _counts(counts: FileCount | FilesTotal) -> str:
    shown = [*_ALWAYS_SHOWN, *(name for name in _SHOWN_IF_ANY if getattr(counts, name))]
    separators = dict.fromkeys(_ALWAYS_SHOWN, "-")
    return ", ".join(
        f"{getattr(counts, name)} {name.replace('_', separators.get(name, ' '))}" for name in shown
    )


def _unknown_types(count: FileCount) -> str:
    named = ", ".join(f"{name} {number} times" for name, number in count.unknown_types.items())
    if named:
        return f"; types that Auth0 has not published: {named}"
    return ""


def _progress(count: FileCount) -> str:
    if count.problem:
        return f"; {count.problem}"
    if count.is_done:
        return ""
    return f"; settled up to line {count.line}: run the same command again to continue"
