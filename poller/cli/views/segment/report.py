"""The comparison with what Segment received, as JSON for scripts and as text for people."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from poller.cli.views.segment.reasons import MISSING, reason_of
from poller.cli.views.terminal import Terminal
from poller.cli.views.wording import counted
from poller.core.text.dates import iso
from poller.service.verify.received import SourceRow, SourceVerdict
from poller.service.verify.report import SourceReport

_LISTED = 40
"""The differences that the text lists. JSON has all of them."""


def day_as_json(source: SourceReport | None, day: date) -> dict[str, int] | None:
    """Return the sums of a day, or None if Segment was not asked."""
    if source is None:
        return None
    acknowledged, received, lost = source.sums(day)
    return {"acknowledged": acknowledged, "received": received, "lost": lost}


def as_json(source: SourceReport) -> dict[str, Any]:
    """Return the comparison with the source as `verify --json` prints it."""
    compared = source.comparison
    return {
        "differs": source.differs,
        "known_since": iso(compared.known_since) if compared.known_since else None,
        "final_until": iso(compared.final_until),
        "has_reasons": source.has_reasons,
        "suppressed_users": source.suppressed_users,
        "names_of_others": list(compared.names_of_others),
        "hours": [_row_as_json(row) for row in compared.rows],
    }


def _row_as_json(row: SourceRow) -> dict[str, Any]:
    return {
        "hour": iso(row.hour),
        "kind": row.kind,
        "event": row.event,
        "verdict": str(row.verdict),
        "explanation": explanation(row),
        "acknowledged": row.acknowledged,
        "apart": dict(row.apart),
        "received": row.received,
        "failed": dict(row.failed),
        "filtered": dict(row.filtered),
        "lost": dict(row.lost),
        "missing": row.missing,
        "elsewhere": row.elsewhere,
    }


def explanation(row: SourceRow) -> str:
    """Return the verdict on a row in words."""
    match row.verdict:
        case SourceVerdict.AGREES:
            return "agrees"
        case SourceVerdict.MORE:
            return "more received: sent again, or another program uses this source"
        case SourceVerdict.OTHER_HOUR:
            return f"agrees: {row.elsewhere:,} received in another hour"
        case SourceVerdict.DIFFERS:
            return ", ".join(_losses(row))
        case SourceVerdict.NOT_FINAL:
            return "not final yet"
        case SourceVerdict.NOT_KNOWN:
            return "not known: the ledger did not count yet"


def _losses(row: SourceRow) -> Iterator[str]:
    for code, number in sorted(row.lost.items()):
        yield f"{number:,} {code}"
    if row.missing:
        yield f"{row.missing:,} without a trace"


def show(console: Terminal, source: SourceReport) -> None:
    """Print the comparison with the source."""
    differences = source.comparison.differences
    console.print(_summary(source))
    if differences:
        console.print(_table(differences[:_LISTED]))
        hidden = len(differences) - _LISTED
        if hidden > 0:
            console.print(f"{hidden} more are in --json.")
        for line in _remedies(differences):
            console.print(line)
    for line in _notes(source):
        console.print(line)


def _summary(source: SourceReport) -> Text:
    rows = source.comparison.rows
    lost = sum(row.shortfall for row in rows)
    acknowledged = sum(row.acknowledged for row in rows)
    if lost:
        text = f"Segment lost {lost:,} of {counted(acknowledged, 'acknowledged message')}."
        return Text(text, style="bold red")
    judged = [row for row in rows if row.verdict not in _NOT_JUDGED]
    if not judged:
        return Text("No hour can be compared with Segment yet.")
    number = sum(row.acknowledged for row in judged)
    return Text(f"Segment received all of {counted(number, 'acknowledged message')}.")


_NOT_JUDGED = {SourceVerdict.NOT_FINAL, SourceVerdict.NOT_KNOWN}


def _table(rows: Sequence[SourceRow]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("hour\nUTC", no_wrap=True)
    table.add_column("event", vertical="bottom")
    for heading in ("\nacknowledged", "\nreceived"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("lost", vertical="bottom")
    for row in rows:
        lost = Text(explanation(row), style="red")
        numbers = (f"{row.acknowledged:,}", f"{row.received:,}")
        table.add_row(f"{row.hour:%Y-%m-%d %H:%M}", row.event or row.kind, *numbers, lost)
    return table


def _remedies(rows: Iterable[SourceRow]) -> Iterator[str]:
    lost: Counter[str] = Counter()
    missing = 0
    for row in rows:
        lost.update(row.lost)
        missing += row.missing
    for code, number in sorted(lost.items()):
        reason = reason_of(code)
        yield f"{number:,} {code}: {reason.meaning}. To do: {reason.remedy}."
    if missing:
        yield f"{missing:,} without a trace: {MISSING.meaning}. To do: {MISSING.remedy}."


def _drops_of_others(rows: Iterable[SourceRow]) -> str:
    """Name the drops of the judged hours that are no difference."""
    dropped: Counter[str] = Counter()
    for row in rows:
        if row.verdict not in _NOT_JUDGED:
            dropped += Counter(row.failed) + Counter(row.filtered) - Counter(row.lost)
    return ", ".join(f"{number:,} {code}" for code, number in sorted(dropped.items()))


def _notes(source: SourceReport) -> Iterator[str]:
    compared = source.comparison
    verdicts = {row.verdict for row in compared.rows}
    if not source.has_reasons:
        yield (
            "Segment told no reasons: the token or the workspace has no Delivery Overview. Only "
            "what was received is compared."
        )
    if source.suppressed_users:
        yield (
            f"{counted(source.suppressed_users, 'user')} of the source's workspace that this "
            "ledger knows are suppressed in Segment: calls about them vanish, and no count tells."
        )
    if SourceVerdict.MORE in verdicts:
        yield (
            "In some hours Segment received more than was acknowledged: messages were sent again, "
            "or another program uses this source. That is no loss."
        )
    if others := _drops_of_others(compared.rows):
        yield (
            f"Segment also dropped messages of these names ({others}), in hours in which it "
            "received as many as were acknowledged. They were sent again, or another program sent "
            "them. If neither is so, they are a loss that a surplus hides. --json has the hours."
        )
    if SourceVerdict.NOT_FINAL in verdicts:
        yield f"From {iso(compared.final_until)} on the counts of Segment are not final yet."
    if SourceVerdict.NOT_KNOWN in verdicts or compared.known_since is None:
        known = iso(compared.known_since) if compared.known_since else "no hour"
        yield f"Both sides are known from {known} on. Earlier hours are not compared."
