"""The ledger as a picture: what is settled, missing, lost and under way, on one line of time."""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from rich.text import Text

from poller.core.log_ids import LogId, floor_id, moment_of
from poller.core.spans import Gap, LogRange, Span, union


class Cell(enum.IntEnum):
    """What a piece of the time shows: of all that lies in it the greatest, so that no trouble is too short to see."""

    EMPTY = 0
    AHEAD = 1
    SETTLED = 2
    LIVE = 3
    UNFINISHED = 4
    MISSING = 5
    LOST = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a cell is drawn, where blocks can be shown and where not, and what it means."""

    block: str
    plain: str
    style: str
    meaning: str


LOOKS = {
    Cell.EMPTY: Look(block=" ", plain=" ", style="", meaning=""),
    Cell.SETTLED: Look(block="▓", plain="=", style="cyan", meaning="settled"),
    Cell.LIVE: Look(block="█", plain="#", style="green", meaning="by the daemon"),
    Cell.AHEAD: Look(block="▁", plain="_", style="", meaning="ahead"),
    Cell.UNFINISHED: Look(block="░", plain="-", style="yellow", meaning="unfinished"),
    Cell.MISSING: Look(block="·", plain=".", style="yellow", meaning="in no span"),
    Cell.LOST: Look(block="×", plain="X", style="bold red", meaning="lost"),  # noqa: RUF001 - a cross it is
}

BLOCKS = "".join(look.block for look in LOOKS.values()) + "└┘"
"""All that a picture of blocks is made of."""

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_STEPS = (
    *(_MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    *(_DAY, 2 * _DAY, 7 * _DAY, 30 * _DAY, 90 * _DAY, 365 * _DAY),
)
_APART = 14
"""Cells from one mark of the axis to the next, at least."""


def draw(
    spans: Sequence[Span], gaps: Sequence[Gap], since: datetime, now: datetime, width: int
) -> tuple[Cell, ...]:
    """So many cells from `since` to `now`; everything that is there shows in one at least."""
    cells = [Cell.EMPTY] * width
    length = max(now - since, timedelta(microseconds=1))
    for cell, after, until in _pieces(spans, gaps, now):
        begin, end = (min(max(moment_of(bound) or since, since), now) for bound in (after, until))
        first = min((begin - since) * width // length, width - 1)
        # Up to the cell that it ends in, but not one that it only touches.
        last = max(-((since - end) * width // length), first + 1)
        for number in range(first, min(last, width)):
            cells[number] = max(cells[number], cell)
    return tuple(cells)


def oldest_known(
    spans: Sequence[Span], gaps: Sequence[Gap], first_hour: datetime | None
) -> datetime | None:
    """Where the picture begins: with the oldest that the ledger tells of."""
    bounds = [
        moment_of(log_id)
        for log_id in (*(span.after for span in spans), *(gap.after for gap in gaps))
    ]
    known = [moment for moment in (*bounds, first_hour) if moment is not None]
    return min(known, default=None)


def picture(cells: Sequence[Cell], *, blocks: bool) -> Text:
    """The cells as they are shown, coloured where the terminal is."""
    text = Text(no_wrap=True, overflow="crop")
    for cell in cells:
        look = LOOKS[cell]
        text.append(look.block if blocks else look.plain, style=look.style)
    return text


def legend(cells: Sequence[Cell], *, blocks: bool) -> Text:
    """What the cells mean, as far as there are such."""
    shown = [look for cell, look in LOOKS.items() if cell in set(cells) and look.meaning]
    parts = [
        Text.assemble((look.block if blocks else look.plain, look.style), f" {look.meaning}")
        for look in shown
    ]
    return Text("   ").join(parts)


def axis(since: datetime, now: datetime, width: int, *, blocks: bool) -> str:
    """Marks at even times with their labels, in UTC; as wide as the picture, which has 24 cells at least."""
    marks = "└┘" if blocks else "||"
    end = f"now{marks[1]}"
    line = [" "] * width
    _put(line, 0, f"{marks[0]}{since:%Y-%m-%d %H:%M}")
    for at in _marks(since, now, width):
        label = f"{marks[0]}{at:%m-%d}" if at == _midnight(at) else f"{marks[0]}{at:%H:%M}"
        _put(line, int((at - since) / (now - since) * width), label, before=width - len(end))
    _put(line, width - len(end), end)
    return "".join(line).rstrip()


def _pieces(
    spans: Sequence[Span], gaps: Sequence[Gap], now: datetime
) -> Iterator[tuple[Cell, LogId, LogId]]:
    top = max([floor_id(now), *(span.reached for span in spans)])
    yield from (piece for span in spans for piece in _pieces_of(span, top) if piece[1] < piece[2])
    for gap in gaps:
        yield Cell.LOST, gap.after, gap.before
    owned = union(LogRange(after=span.after, until=span.until or top) for span in spans)
    for below, above in pairwise([*owned, LogRange(after=top, until=top)]):
        if below.until < above.after:
            yield Cell.MISSING, below.until, above.after


def _pieces_of(span: Span, top: LogId) -> Iterator[tuple[Cell, LogId, LogId]]:
    if span.until is None:
        seen = max(span.reached, floor_id(span.drained_at)) if span.drained_at else span.reached
        yield Cell.LIVE, span.after, seen
        yield Cell.AHEAD, seen, top
    else:
        yield Cell.SETTLED, span.after, span.reached
        yield Cell.UNFINISHED, span.reached, span.until


def _marks(since: datetime, now: datetime, width: int) -> Iterator[datetime]:
    shortest = (now - since) * (_APART / max(width, 1))
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
    """Writes the label where nothing else stands, and it has room."""
    end = at + len(label)
    if (
        end <= (len(line) if before is None else before - 1)
        and not "".join(line[max(at - 1, 0) : end]).strip()
    ):
        line[at:end] = label
