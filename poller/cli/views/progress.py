"""The progress of a backfill on a terminal: a bar for each slice, and a total."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from poller.cli.views.terminal import Terminal
from poller.core.log_ids import moment_of
from poller.core.spans import LogCursor
from poller.service.observability.logging_setup import configure_logging
from poller.service.slices.queue import SliceProgress
from poller.service.slices.workers import SliceWorkers
from poller.service.upstream.rate_limit import RateLimiter

_BAR = 28
_SPEED_WINDOW_S = 15.0
"""The speed is measured over this time."""
_REDRAWS_A_SECOND = 4


class BackfillView:
    """Draws the progress of the work."""

    def __init__(
        self,
        work: SliceWorkers,
        rate_limiter: RateLimiter,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._rate_limiter = rate_limiter
        self._monotonic = monotonic
        self._whole = timedelta()
        self._samples: deque[tuple[float, int, int]] = deque()

    def draw(self) -> RenderableType:
        """Return the bars and the speed at this moment."""
        now = self._work.progress
        table = Table.grid(padding=(0, 2))
        for justify in ("left", "left", "right", "left"):
            table.add_column(justify=justify, no_wrap=True)
        for each in now.slices:
            table.add_row(
                _label(each.cursor),
                _bar(each.part_done),
                f"{each.part_done:.0%}",
                f"{each.events:,} events",
            )
        self._whole = max(self._whole, now.time_left)
        part = 1 - now.time_left / self._whole if self._whole else 0.0
        count = self._work.count
        table.add_row("total", _bar(part), f"{part:.0%}", f"{count.read:,} events", style="bold")
        return Group(table, self._speeds(now))

    def _speeds(self, now: SliceProgress) -> str:
        count = self._work.count
        events_a_second, pages_a_second = self._speed(count.read, count.pages)
        parts = [f"{count.pages:,} pages", f"{events_a_second:,.0f} events/s"]
        if now.is_identifying:
            parts = [f"{now.identified.sent:,} users identified"]
        reading = self._rate_limiter.status("logs")
        if reading is not None:
            parts.append(f"rate limit: {reading.remaining:.0f} of {reading.limit} free")
        if pages_a_second and now.pages_left >= 1:
            parts.append(f"about {timedelta(seconds=round(now.pages_left / pages_a_second))} left")
        return ", ".join(parts)

    def _speed(self, events: int, pages: int) -> tuple[float, float]:
        now = self._monotonic()
        self._samples.append((now, events, pages))
        while now - self._samples[0][0] > _SPEED_WINDOW_S:
            self._samples.popleft()
        then, events_then, pages_then = self._samples[0]
        passed = now - then
        if passed:
            return ((events - events_then) / passed, (pages - pages_then) / passed)
        return (0.0, 0.0)


@contextmanager
def show_progress(
    work: SliceWorkers, rate_limiter: RateLimiter, log: tuple[str, str], *, is_wanted: bool
) -> Iterator[Callable[[], None] | None]:
    """Show the progress while the work goes on, with log lines above it.

    Yield the function to call every second, or None for the default. `log` is the level and the
    format of the log lines.
    """
    if not is_wanted:
        yield None
        return
    view = BackfillView(work, rate_limiter)
    with Live(
        console=Terminal(),
        get_renderable=view.draw,
        refresh_per_second=_REDRAWS_A_SECOND,
        redirect_stderr=True,
    ):
        configure_logging(*log)  # From now on, log lines go above the bars.
        yield lambda: None
    configure_logging(*log)


def _bar(part: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=min(max(part, 0.0), 1.0), width=_BAR)


def _label(span: LogCursor) -> str:
    begin, end = moment_of(span.after), moment_of(span.until or span.after)
    if begin is None or end is None:
        return span.after[:24]
    return (
        f"{begin:%m-%d %H:%M} to {end:{'%H:%M' if begin.date() == end.date() else '%m-%d %H:%M'}}"
    )
