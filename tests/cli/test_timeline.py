"""The picture of the ledger: exactly as wide as asked for, and nothing too short to be seen."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.cli.views.output import Part
from poller.cli.views.timeline import STYLES, Cell, axis, draw, legend, oldest_known, picture
from poller.core.log_ids import EARLIEST, LogId, floor_id
from poller.core.spans import Gap, Span
from tests.fakes import NOW, STREAM

HOUR = timedelta(hours=1)
SINCE = NOW - 10 * HOUR


def at(hours: float) -> LogId:
    return floor_id(SINCE + hours * HOUR)


def span(after: float, reached: float, until: float | None) -> Span:
    end = None if until is None else at(until)
    return Span(id=1, stream=STREAM, after=at(after), reached=at(reached), until=end)


def catch_up(after: float, reached: float, until: float) -> Span:
    return replace(span(after, reached, until), is_catch_up=True)


def gap(after: float, before: float) -> Gap:
    return Gap(after=at(after), before=at(before))


def plain(parts: list[Part]) -> str:
    return "".join(part.text for part in parts)


def drawn(spans: list[Span], gaps: list[Gap] | None = None, *, width: int = 20) -> str:
    return plain(picture(draw(spans, gaps or [], SINCE, NOW, width), blocks=False))


LIVE = span(0, 10, None)


@pytest.mark.parametrize(
    ("spans", "gaps", "shown"),
    [
        ([LIVE], [], "####################"),
        ([span(5, 9, None)], [], "          ########__"),
        ([span(0, 3, 3), span(5, 10, None)], [], "======....##########"),
        ([span(0, 1, 5), span(5, 10, None)], [], "==--------##########"),
        ([span(0, 2, 2), span(2, 4, 4), span(4, 10, None)], [], "========############"),
        ([span(0, 2, 2), span(3, 4, 4)], [], "====..==............"),
        ([span(0, 0, 4), span(4, 4, None)], [], "--------____________"),
        ([catch_up(0, 1, 4), catch_up(4, 6, 6), span(6, 10, None)], [], "##~~~~~~############"),
        ([span(0, 1, 3), catch_up(3, 4, 6), span(6, 10, None)], [], "==----##~~~~########"),
        ([LIVE], [gap(3, 5)], "######XXXX##########"),
        ([LIVE], [gap(3.1, 3.100001)], "######X#############"),
        ([span(0, 3, 3), span(3.01, 10, None)], [], "======.#############"),
        ([span(0, 3, 3), span(5, 10, None)], [gap(3, 5)], "======XXXX##########"),
        ([span(0, 3, 3), span(5, 10, None)], [gap(4, 5)], "======..XX##########"),
        ([LIVE], [gap(-5, -4)], "X###################"),
        ([], [], " " * 20),
    ],
)
def test_every_span_and_gap_is_drawn_in_its_place(
    spans: list[Span], gaps: list[Gap], shown: str
) -> None:
    assert drawn(spans, gaps) == shown


def test_a_live_span_reaches_to_where_the_end_of_the_log_was_seen() -> None:
    quiet = Span(id=1, stream=STREAM, after=at(0), reached=at(2), drained_at=NOW - HOUR)
    assert drawn([quiet]) == "##################__"
    assert (
        drawn([Span(id=1, stream=STREAM, after=EARLIEST, reached=at(5))]) == "##########__________"
    )


def test_the_oldest_that_is_known_is_that_of_a_span_a_gap_or_what_was_counted() -> None:
    assert oldest_known([span(3, 4, 5)], [gap(2, 3)], SINCE + HOUR) == SINCE + HOUR
    assert oldest_known([span(3, 4, 5)], [gap(2, 3)], None) == SINCE + 2 * HOUR
    assert (
        oldest_known([Span(id=1, stream=STREAM, after=EARLIEST, reached=EARLIEST)], [], None)
        is None
    )


Pieces = st.lists(st.tuples(st.floats(0, 10), st.floats(0.0001, 4), st.floats(0, 1)), max_size=6)
Gaps = st.lists(st.tuples(st.floats(0, 9.9), st.floats(0.0000001, 3)), max_size=4)


def place(hours: float, width: int) -> int:
    return min(int(max(hours, 0) / 10 * width), width - 1)


@given(Pieces, Gaps, st.integers(1, 300), st.one_of(st.none(), st.floats(0, 10)))
def test_the_width_is_exact_and_every_gap_shows(
    pieces: list[tuple[float, float, float]],
    lost: list[tuple[float, float]],
    width: int,
    live: float | None,
) -> None:
    spans = [span(begin, begin + size * done, begin + size) for begin, size, done in pieces]
    spans += [] if live is None else [span(live, 10, None)]
    gaps = [gap(begin, begin + size) for begin, size in lost]
    cells = draw(spans, gaps, SINCE, NOW, width)
    assert len(cells) == width
    for begin, size in lost:
        first, last = place(begin - 1 / 3600, width), place(begin + size, width)
        assert Cell.LOST in cells[first : last + 1]
    assert (Cell.LOST in cells) == bool(lost)
    assert len(plain(picture(cells, blocks=True))) == width
    assert len(axis(SINCE, NOW, width + 24, blocks=True)) == width + 24


@given(st.integers(0, 36_000), st.integers(1, 36_000), st.integers(0, 36_000), st.integers(1, 300))
def test_a_stretch_between_two_spans_that_none_holds_is_shown_as_missing(
    first_s: int, missing_s: int, second_s: int, width: int
) -> None:
    begin = first_s / 3600
    end = begin + missing_s / 3600
    below = [span(-1, begin, begin)]
    above = [span(end, end + second_s / 3600, None)]
    cells = draw(below + above, [], SINCE, NOW, width)
    is_within = first_s + 1 < 36_000
    if is_within:
        assert Cell.MISSING in cells[max(place(begin, width) - 1, 0) : place(end, width) + 1]
    nothing = draw([span(-1, begin, begin), span(begin, begin + 1, None)], [], SINCE, NOW, width)
    assert Cell.MISSING not in nothing


def test_the_axis_has_its_beginning_its_end_and_even_times_between() -> None:
    shown = axis(SINCE, NOW, 80, blocks=True)
    assert (
        shown == "└2026-11-20 02:00               └06:00                  └09:00              now┘"
    )
    assert axis(SINCE, NOW, 60, blocks=False).endswith("now|")
    week = axis(NOW - timedelta(days=7), NOW, 100, blocks=False)
    assert week.startswith("|2026-11-13 12:00")
    assert "|11-17" in week
    assert len(week) == 100


def test_every_cell_has_a_style_of_its_own_and_the_legend_names_only_what_is_there() -> None:
    assert set(STYLES) == set(Cell)
    assert (
        len({style.block for style in STYLES.values()})
        == len({style.plain for style in STYLES.values()})
        == len(Cell)
    )
    assert "".join(style.plain for style in STYLES.values()).isascii()
    assert (
        plain(legend(draw([LIVE], [gap(3, 5)], SINCE, NOW, 20), blocks=False))
        == "# settled up to the position   X lost"
    )
