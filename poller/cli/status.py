"""`status`: what the ledger says, also while the daemon runs; needs no secret and asks no service."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from poller.adapters.sql_ledger import LedgerReader
from poller.cli import timeline
from poller.cli.given import config_option, read_settings
from poller.cli.output import can_show, say, say_json
from poller.cli.terminal import Terminal
from poller.cli.timeline import oldest_known
from poller.config import Settings
from poller.core.dates import parse_date
from poller.core.events import Gap, Span, Stream, moment_of
from poller.core.messages import iso
from poller.service.process import Exit

_INDENT = "  "
_NARROWEST = 20


@click.command(short_help="Show how far it got, and what needs attention.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def status(config: Path | None, *, as_json: bool) -> int:
    """Shows what the ledger says: position, lag, events by outcome, dead letters, gaps, and why it is blocked."""
    settings = read_settings(config, secrets=False)
    facts = collect(settings, datetime.now(UTC))
    if as_json:
        say_json(facts)
    else:
        show(facts, datetime.now(UTC))
    needs_attention = any(stream["gaps"] or stream["blocked"] for stream in facts["streams"])
    return Exit.ATTENTION if needs_attention else Exit.DONE


def collect(settings: Settings, now: datetime) -> dict[str, Any]:
    """Everything that `status` shows, as JSON has it; times in UTC, durations in seconds.

    Raises:
        FatalError, TransientError: the ledger cannot be read.
    """
    reader = LedgerReader.open(settings.state.url)
    try:
        holder = reader.holder()
        return {
            "ledger": settings.state.url,
            "daemon": {"pid": holder.pid, "since": _moment(holder.since)} if holder else None,
            "streams": [_stream(reader, stream, now) for stream in reader.streams()],
        }
    finally:
        reader.close()


def _stream(reader: LedgerReader, stream: Stream, now: datetime) -> dict[str, Any]:
    record, journal = reader.record(stream, now, now), reader.journal(stream)
    spans = record.spans
    live = next((span for span in spans if span.is_live), None)
    reasons = reader.dead_letters_by_reason(stream)
    return {
        "domain": stream.domain,
        "source_name": stream.source_name,
        "generation": stream.generation,
        "position": live.reached if live else None,
        "position_at": _moment(moment_of(live.reached)) if live else None,
        "drained_at": _moment(live.drained_at) if live else None,
        "lag_s": _lag(live, now) if live else None,
        "last_cycle_at": _moment(journal.cycle_at),
        "last_error": journal.cycle_error,
        "blocked": {
            "reason": journal.blocked_reason,
            "hint": journal.blocked_hint,
            "since": _moment(journal.blocked_since),
        }
        if journal.blocked_reason
        else None,
        "events": reader.totals(stream),
        "dead_letters": sum(reasons.values()),
        "dead_letters_by_reason": reasons,
        "gaps": [{"after": gap.after, "before": gap.before} for gap in record.gaps],
        "revisits": [{"reached": span.reached, "until": span.until} for span in record.revisits],
        "known_since": _moment(oldest_known(spans, record.gaps, record.first_hour)),
        "spans": [{"after": span.after, "reached": span.reached, "until": span.until} for span in spans],
    }


def _lag(live: Span, now: datetime) -> float | None:
    """Seconds since the span was known to hold all there was: a quiet tenant is not late."""
    seen = [moment for moment in (live.drained_at, moment_of(live.reached)) if moment is not None]
    return round(max((now - max(seen)).total_seconds(), 0.0), 1) if seen else None


def _moment(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def show(facts: dict[str, Any], now: datetime) -> None:
    """The same for people."""
    say(f"ledger        {facts['ledger']}")
    daemon = facts["daemon"]
    running = f"runs, process {daemon['pid']}, since {daemon['since']}" if daemon else "not running"
    say(f"daemon        {running}")
    for stream in facts["streams"]:
        _show_stream(stream)
        _show_timeline(stream, now)


def _show_stream(stream: dict[str, Any]) -> None:
    arrow = "→" if can_show("→") else "->"
    say("", f"{stream['domain']} {arrow} {stream['source_name']}")
    lines = {
        "position": _either(stream["position_at"], stream["position"] or "not begun"),
        "drained": _either(stream["drained_at"], "never"),
        "lag": "unknown" if stream["lag_s"] is None else f"{stream['lag_s']:.0f} s",
        "last cycle": _either(stream["last_cycle_at"], "never"),
        "events": ", ".join(f"{count} {name.replace('_', '-')}" for name, count in stream["events"].items()),
        "dead letters": f"{stream['dead_letters']}   (`dead-letters list` shows them)"
        if stream["dead_letters"]
        else "none",
        "gaps": str(len(stream["gaps"]) or "none"),
    }
    for name, text in lines.items():
        say(f"  {name:<13}{text.rstrip()}")
    for reason, count in stream["dead_letters_by_reason"].items():
        say(f"    {reason}: {count}", fg="yellow")
    for gap in stream["gaps"]:
        say(f"    lost below retention: {_when(gap['after'])} to {_when(gap['before'])}", fg="red")
    if stream["last_error"]:
        say(f"  last error   {stream['last_error']}", fg="yellow")
    if stream["blocked"]:
        say(f"  blocked      since {stream['blocked']['since']}: {stream['blocked']['reason']}", fg="red")
        say(f"               {stream['blocked']['hint']}")


def _show_timeline(stream: dict[str, Any], now: datetime) -> None:
    """The spans and gaps on a line as wide as the terminal, from the oldest that the ledger knows of."""
    if stream["known_since"] is None:
        return
    spans, gaps = _spans(stream), [Gap(**gap) for gap in stream["gaps"]]
    console = Terminal(highlight=False)
    width, blocks = max(console.width - 2 * len(_INDENT), _NARROWEST), can_show(timeline.BLOCKS)
    since = datetime.fromisoformat(stream["known_since"])
    now = max([now, since, *(span.drained_at for span in spans if span.drained_at)])  # the server's clock may be ahead
    cells = timeline.draw(spans, gaps, since, now, width)
    lines = (
        timeline.picture(cells, blocks=blocks),
        Text(timeline.axis(since, now, width, blocks=blocks), style="dim"),
        timeline.legend(cells, blocks=blocks),
    )
    console.print()
    for line in lines:
        console.print(Text(_INDENT) + line, no_wrap=True, crop=False, overflow="ignore")


def _spans(stream: dict[str, Any]) -> list[Span]:
    of = Stream(domain=stream["domain"], source_name=stream["source_name"])
    drained_at = parse_date(stream["drained_at"])
    # What was a gap and is read again is drawn over the span that holds it.
    again = [{"after": each["reached"], **each} for each in stream["revisits"]]
    return [
        Span(id=number, stream=of, **span, drained_at=None if span["until"] else drained_at)
        for number, span in enumerate([*stream["spans"], *again])
    ]


def _either(text: str | None, otherwise: str) -> str:
    return text or otherwise


def _when(log_id: str) -> str:
    moment = moment_of(log_id)
    return iso(moment) if moment else log_id
