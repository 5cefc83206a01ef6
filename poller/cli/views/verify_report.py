"""The report of `verify` as JSON for scripts, and as a table for people."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from poller.cli.views.segment import report as segment
from poller.cli.views.terminal import Terminal
from poller.cli.views.wording import stream_title
from poller.core.text.dates import iso
from poller.service.verify.daily import (
    BAND_EVENTS,
    BAND_PERCENT,
    FINAL_AFTER,
    Compared,
    Day,
    Verdict,
    beginning_of,
)
from poller.service.verify.hourly import HOUR, HOURS_A_DAY, Mismatch, Recount
from poller.service.verify.report import SourceReport, VerifyReport

_STYLES = {
    Verdict.AGREES: "green",
    Verdict.DIFFERS: "bold red",
    Verdict.NOT_FINAL: "",
    Verdict.PARTLY_SETTLED: "yellow",
    Verdict.NOT_SETTLED: "dim",
}
_LISTED_MISMATCHES = 40
"""The differing hours that the text lists. JSON has all of them."""

_OF_SEGMENT = ("Segment\nacknowledged", "Segment\nreceived", "Segment\nlost")
_WIDTH_OF_BOTH = 110
"""The columns of a terminal from which on one table holds the numbers of Auth0 and of Segment."""
_DEAD_LETTERS = 4
"""The place of the dead letters among the numbers of a day."""

HourRange = tuple[datetime, datetime]
"""The beginning of the first hour and the end of the last one."""


def as_json(report: VerifyReport) -> dict[str, Any]:
    """Return everything in the report as `verify --json` prints it."""
    return {
        "ledger": report.ledger,
        "domain": report.stream.domain,
        "source_name": report.stream.source_name,
        "at": iso(report.now),
        "settled_from": iso(report.settled_from) if report.settled_from else None,
        "band": {"percent": BAND_PERCENT, "events": BAND_EVENTS},
        "differs": report.differs,
        "days": [_day_as_json(day, report) for day in report.days],
        "exact": _recount_as_json(report.recount) if report.recount else None,
        "source": segment.as_json(report.source) if report.source else None,
    }


def _day_as_json(day: Day, report: VerifyReport) -> dict[str, Any]:
    return {
        "day": day.day.isoformat(),
        "verdict": str(day.verdict),
        "explanation": _explanation(day, report),
        "logins": _count_as_json(day.logins),
        "signups": _count_as_json(day.signups),
        "dead_letters": day.dead_letters,
        "sent": dict(sorted(day.sent.items())),
        "source": segment.day_as_json(report.source, day.day),
        "final_at": iso(beginning_of(day.day) + FINAL_AFTER),
    }


def _count_as_json(count: Compared) -> dict[str, int]:
    return {
        "settled": count.settled,
        "settled_at_most": count.most,
        "auth0": count.auth0,
        "excess": count.excess,
    }


def _recount_as_json(recount: Recount) -> dict[str, Any]:
    return {
        "hours_judged": len(recount.judged),
        "hours_agreeing": len(recount.agreeing),
        "not_kept": _ranges_as_json(recount.not_kept),
        "not_settled": _ranges_as_json(recount.not_settled),
        "differences": [
            {
                "hour": iso(each.hour),
                "type": each.type,
                "settled": each.settled,
                "logged": each.logged,
            }
            for each in recount.mismatches
        ],
    }


def _ranges_as_json(hours: Sequence[datetime]) -> list[dict[str, Any]]:
    return [
        {"since": iso(since), "until": iso(until), "hours": (until - since) // HOUR}
        for since, until in _ranges(hours)
    ]


def _ranges(hours: Iterable[datetime]) -> list[HourRange]:
    """Join hours that follow each other. The hours are in ascending order."""
    ranges: list[HourRange] = []
    for hour in hours:
        if ranges and ranges[-1][1] == hour:
            ranges[-1] = (ranges[-1][0], hour + HOUR)
        else:
            ranges.append((hour, hour + HOUR))
    return ranges


def _explanation(day: Day, report: VerifyReport) -> str:
    """Return the verdict on a day in words."""
    match day.verdict:
        case Verdict.AGREES:
            is_proved = report.hours_that_agree(day) == HOURS_A_DAY
            text = "agrees in every hour" if is_proved else "agrees"
            return f"{text}, though {_difference(day)}" if day.differing else text
        case Verdict.DIFFERS:
            hours = report.hours_that_differ(day)
            if not hours:
                return f"differs: {_difference(day)}"
            return f"differs from the log in {hours} {_noun(hours, 'hour')}"
        case Verdict.NOT_FINAL:
            return "not final yet"
        case Verdict.PARTLY_SETTLED | Verdict.NOT_SETTLED:
            return day.verdict.replace("_", " ")


def _difference(day: Day) -> str:
    return ", ".join(
        f"Auth0 has {abs(count.excess)} {name} {'more' if count.excess > 0 else 'fewer'}"
        for name, count in day.differing.items()
    )


def _noun(number: int, noun: str) -> str:
    return noun if number == 1 else f"{noun}s"


def show(report: VerifyReport) -> None:
    """Print the report for people."""
    console = Terminal(highlight=False)
    console.print(stream_title(report.stream.domain, report.stream.source_name), soft_wrap=True)
    if not report.days:
        console.print("nothing of this range is settled yet: there is nothing to compare")
        return
    is_wide = report.source is None or console.width >= _WIDTH_OF_BOTH
    console.print(_table(report, with_segment=is_wide and report.source is not None))
    if report.source and not is_wide:
        console.print(_segment_table(report, report.source))
    console.print(f"Sent in these days: {_sent(report.days)}.")
    for line in _notes(report):
        console.print(line)
    if report.recount:
        _show_recount(console, report.recount)
    if report.source:
        segment.show(console, report.source)


def _table(report: VerifyReport, *, with_segment: bool) -> Table:
    table = _plain_table()
    table.add_column("day\nUTC", no_wrap=True)
    headings = ["logins\nsettled", "logins\nAuth0", "signups\nsettled", "signups\nAuth0"]
    headings += ["dead\nletters", *(_OF_SEGMENT if with_segment else ())]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", vertical="bottom")
    rows = []
    for day in report.days:
        of_segment = report.source.sums(day.day) if report.source and with_segment else ()
        rows.append((*_numbers(day), *of_segment))
        cells = [Text(f"{number:,}") for number in rows[-1]]
        cells[_DEAD_LETTERS].stylize("yellow" if day.dead_letters else "")
        verdict = Text(_explanation(day, report), style=_STYLES[day.verdict])
        table.add_row(str(day.day), *cells, verdict)
    _add_totals(table, rows)
    return table


def _segment_table(report: VerifyReport, source: SourceReport) -> Table:
    """Return the columns of Segment as a table of their own, for a narrow terminal."""
    table = _plain_table()
    table.add_column("day\nUTC", no_wrap=True)
    for heading in _OF_SEGMENT:
        table.add_column(heading, justify="right", no_wrap=True)
    rows = [source.sums(day.day) for day in report.days]
    for day, numbers in zip(report.days, rows, strict=True):
        table.add_row(str(day.day), *(f"{number:,}" for number in numbers))
    _add_totals(table, rows)
    return table


def _add_totals(table: Table, rows: Sequence[tuple[int, ...]]) -> None:
    if len(rows) > 1:
        totals = map(sum, zip(*rows, strict=True))
        table.add_section()
        table.add_row("total", *(f"{total:,}" for total in totals), style="bold")


def _plain_table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def _numbers(day: Day) -> tuple[int, ...]:
    """Return the numbers of a row, in the order of the columns."""
    logins, signups = day.logins, day.signups
    return logins.settled, logins.auth0, signups.settled, signups.auth0, day.dead_letters


def _sent(days: Iterable[Day]) -> str:
    sent: Counter[str] = Counter()
    for day in days:
        sent.update(day.sent)
    return ", ".join(f"{count:,} {name}" for name, count in sorted(sent.items())) or "nothing"


def _notes(report: VerifyReport) -> list[str]:
    verdicts = {day.verdict for day in report.days}
    band = (
        f"A day agrees within {BAND_PERCENT} %, or {BAND_EVENTS} events. Auth0 does not say by"
        " which formula it counts logins. As signups it also counts users that were made by API,"
        " imported, or came by a social connection. Its log may have only an `s` of them."
    )
    lines = [band]
    if Verdict.NOT_FINAL in verdicts:
        lines.append("Not final yet: Auth0 goes on counting a day until the end of the next one.")
    if Verdict.PARTLY_SETTLED in verdicts:
        lines.append(
            "Partly settled: the ledger does not hold the whole day, so the day is not judged."
        )
    if Verdict.DIFFERS in verdicts and not report.recount:
        lines.append("`verify --exact` reads the log again, and says which hours and types differ.")
    return lines


def _show_recount(console: Terminal, recount: Recount) -> None:
    console.print(
        f"{len(recount.judged)} whole hours read again: {len(recount.agreeing)} agree to the event"
    )
    for hours, reason in (
        (recount.not_settled, "not settled whole"),
        (recount.not_kept, "no longer kept whole by Auth0"),
    ):
        for since, until in _ranges(hours):
            number = (until - since) // HOUR
            text = f"{number} {_noun(number, 'hour')} {reason}, not judged"
            console.print(f"{text}: {iso(since)} to {iso(until)}", style="yellow")
    if recount.mismatches:
        console.print(_mismatch_table(recount.mismatches[:_LISTED_MISMATCHES]))
        console.print(_meaning(len(recount.mismatches) - _LISTED_MISMATCHES))


def _mismatch_table(mismatches: Iterable[Mismatch]) -> Table:
    table = _plain_table()
    for heading in ("hour", "type"):
        table.add_column(heading, no_wrap=True)
    for heading in ("settled", "in the log", "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in mismatches:
        numbers = (f"{each.settled:,}", f"{each.logged:,}", f"{each.settled - each.logged:+,}")
        cells = [Text(text, style="red") for text in (each.type or "unreadable", *numbers)]
        table.add_row(iso(each.hour), *cells)
    return table


def _meaning(hidden: int) -> str:
    rest = f"{hidden} more are in --json. " if hidden > 0 else ""
    return (
        f"{rest}Fewer settled than logged: the events came in late, or were lost. (Late events of"
        " types that are not sent are not counted.) More settled than logged: a position was moved"
        " back by hand, and the events were counted again."
    )
