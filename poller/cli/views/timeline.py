"""The ledger as a picture: settled, missing, lost and unfinished ranges on one line of time.

The line is divided into cells of equal time. A cell shows the worst thing that lies in it, so
no gap is too short to be seen.
"""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise

from poller.cli.views.output import Part
from poller.core.log_ids import LogId, floor_id, moment_of
from poller.core.spans import Gap, LogCursor, LogRange, is_of_catch_up, union


class Cell(enum.IntEnum):
    """The content of a cell. If a cell has several contents, the highest number is shown."""

    EMPTY = 0
    AHEAD = 1
    SETTLED = 2
    LIVE = 3
    BACKLOG = 4
    UNFINISHED = 5
    MISSING = 6
    LOST = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class CellStyle:
    """The drawing of a cell as a block or as a plain character, and its entry in the legend."""

    block: str
    plain: str
    meaning: str
    fg: str | None = None
    bold: bool = False

    def part(self, count: int, *, blocks: bool) -> Part:
        """Return this many cells in a row."""
        text = (self.block if blocks else self.plain) * count
        return Part(text=text, fg=self.fg, bold=self.bold)


STYLES = {
    Cell.EMPTY: CellStyle(block=" ", plain=" ", meaning=""),
    Cell.SETTLED: CellStyle(block="▓", plain="=", fg="cyan", meaning="settled"),
    Cell.LIVE: CellStyle(block="█", plain="#", fg="green", meaning="settled up to the position"),
    Cell.AHEAD: CellStyle(block="▁", plain="_", meaning="ahead"),
    Cell.BACKLOG: CellStyle(block="▒", plain="~", fg="magenta", meaning="backlog"),
    Cell.UNFINISHED: CellStyle(block="░", plain="-", fg="yellow", meaning="unfinished"),
    Cell.MISSING: CellStyle(block="·", plain=".", fg="yellow", meaning="not sent"),
    Cell.LOST: CellStyle(block="×", plain="X", fg="red", bold=True, meaning="lost"),  # noqa: RUF001
}

BLOCKS = "".join(style.block for style in STYLES.values()) + "└┘"
"""All characters of a picture of blocks."""

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_STEPS = (
    *(_MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    *(_DAY, 2 * _DAY, 7 * _DAY, 30 * _DAY, 90 * _DAY, 365 * _DAY),
)
_MARK_DISTANCE = 14
"""The least number of cells from one mark of the axis to the next."""


def draw(
    spans: Sequence[LogCursor], gaps: Sequence[Gap], since: datetime, now: datetime, width: int
) -> tuple[Cell, ...]:
    """Return `width` cells from `since` to `now`."""
    cells = [Cell.EMPTY] * width
    length = max(now - since, timedelta(microseconds=1))
    for cell, after, until in _pieces(spans, gaps, now):
        begin, end = (min(max(moment_of(bound) or since, since), now) for bound in (after, until))
        first = min((begin - since) * width // length, width - 1)
        # The piece ends in its last cell. The end is rounded up, and is at least the first cell.
        last = max(-((since - end) * width // length), first + 1)
        for number in range(first, min(last, width)):
            cells[number] = max(cells[number], cell)
    return tuple(cells)


def oldest_known(
    spans: Sequence[LogCursor], gaps: Sequence[Gap], first_hour: datetime | None
) -> datetime | None:
    """Return the oldest moment that the ledger knows. The picture begins there."""
    bounds = [
        moment_of(log_id)
        for log_id in (*(span.after for span in spans), *(gap.after for gap in gaps))
    ]
    known = [moment for moment in (*bounds, first_hour) if moment is not None]
    return min(known, default=None)


def picture(cells: Sequence[Cell], *, blocks: bool) -> list[Part]:
    """Return the cells as parts of a line."""
    return [STYLES[cell].part(len([*run]), blocks=blocks) for cell, run in groupby(cells)]


def legend(cells: Sequence[Cell], *, blocks: bool) -> list[Part]:
    """Return the meaning of each kind of cell that is in the picture."""
    parts: list[Part] = []
    for cell, style in STYLES.items():
        if cell in set(cells) and style.meaning:
            separator = Part(text="   " if parts else "")
            parts += [separator, style.part(1, blocks=blocks), Part(text=f" {style.meaning}")]
    return parts


def axis(since: datetime, now: datetime, width: int, *, blocks: bool) -> str:
    """Return marks at round times with their labels, in UTC.

    The axis is as wide as the picture, which has at least 24 cells.
    """
    left, right = "└┘" if blocks else "||"
    end = f"now{right}"
    line = [" "] * width
    _put(line, 0, f"{left}{since:%Y-%m-%d %H:%M}")
    for at in _marks(since, now, width):
        label = f"{left}{at:%m-%d}" if at == _midnight(at) else f"{left}{at:%H:%M}"
        _put(line, int((at - since) / (now - since) * width), label, before=width - len(end))
    _put(line, width - len(end), end)
    return "".join(line).rstrip()


def _pieces(
    spans: Sequence[LogCursor], gaps: Sequence[Gap], now: datetime
) -> Iterator[tuple[Cell, LogId, LogId]]:
    top = max([floor_id(now), *(span.reached for span in spans)])
    yield from (piece for span in spans for piece in _pieces_of(span, top) if piece[1] < piece[2])
    for gap in gaps:
        yield Cell.LOST, gap.after, gap.before
    owned = union(LogRange(after=span.after, until=span.until or top) for span in spans)
    for below, above in pairwise([*owned, LogRange(after=top, until=top)]):
        if below.until < above.after:
            yield Cell.MISSING, below.until, above.after


def _pieces_of(span: LogCursor, top: LogId) -> Iterator[tuple[Cell, LogId, LogId]]:
    if span.until is not None:
        is_catch_up = is_of_catch_up(span)
        yield Cell.LIVE if is_catch_up else Cell.SETTLED, span.after, span.reached
        yield Cell.BACKLOG if is_catch_up else Cell.UNFINISHED, span.reached, span.until
        return
    seen = max(span.reached, floor_id(span.drained_at)) if span.drained_at else span.reached
    yield Cell.LIVE, span.after, seen
    yield Cell.AHEAD, seen, top


def _marks(since: datetime, now: datetime, width: int) -> Iterator[datetime]:
    shortest = (now - since) * (_MARK_DISTANCE / max(width, 1))
    step = next((each for each in _STEPS if each >= shortest), None)
    if step is None or now <= since:
        return
    at = _midnight(since)
    while at < now:
        if at > since:
            yield at
        at += step


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _put(line: list[str], at: int, label: str, *, before: int | None = None) -> None:
    """Write the label into the line if it has room and nothing else stands there."""
    end = at + len(label)
    limit = len(line) if before is None else before - 1
    if end <= limit and not "".join(line[max(at - 1, 0) : end]).strip():
        line[at:end] = label
