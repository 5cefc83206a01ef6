"""`status`: what the ledger says, also while the daemon runs; needs no secret and asks no service."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from poller import __version__
from poller.adapters.sql_ledger import FatalExit, LedgerReader
from poller.cli.groups import examples
from poller.cli.options import config_option, read_settings
from poller.cli.views import timeline
from poller.cli.views.output import can_show, say, say_json
from poller.cli.views.terminal import Terminal
from poller.cli.views.timeline import oldest_known
from poller.cli.views.wording import laid_out, lasting
from poller.config import Settings
from poller.core.events import Stream
from poller.core.log_ids import moment_of
from poller.core.messages import iso
from poller.core.spans import Gap, Span, holes_between
from poller.core.text.dates import parse_date
from poller.service.lifecycle.exit_codes import ExitCode

_INDENT = "  "
_NARROWEST = 24


@click.command(
    short_help="Show how far it got, and what needs attention.",
    epilog=examples("status", "status --strict --json"),
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with 69 if no daemon runs, with 3 if there are dead letters.",
)
def status(config: Path | None, *, as_json: bool, strict: bool) -> int:
    """Shows what the ledger says: position, lag, events by outcome, dead letters, gaps, and why it is blocked.

    Exit code 3 says that someone must act: the daemon is blocked, a fatal error ended it, or there is a gap.
    """
    settings = read_settings(config, secrets=False)
    facts = collect(settings, datetime.now(UTC))
    if as_json:
        say_json(facts)
    else:
        show(facts, datetime.now(UTC))
    return exit_code(facts, strict=strict)


def exit_code(facts: Mapping[str, Any], *, strict: bool) -> ExitCode:
    """Return 3 where someone must act, whatever runs; with `strict` 69 where no daemon does."""
    has_trouble = any(stream["gaps"] or stream["blocked"] for stream in facts["streams"])
    has_letters = any(stream["dead_letters"] for stream in facts["streams"])
    is_down = facts["daemon"] is None
    if has_trouble or (is_down and facts["last_fatal_error"]) or (strict and has_letters):
        return ExitCode.ATTENTION
    return ExitCode.UNAVAILABLE if strict and is_down else ExitCode.DONE


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
            "version": __version__,
            "daemon": {"pid": holder.pid, "since": _moment(holder.since)} if holder else None,
            "last_fatal_error": _words(reader.fatal_exit()),
            "streams": [_stream(reader, stream, now) for stream in reader.streams()],
        }
    finally:
        reader.close()


def _words(words: FatalExit | None) -> dict[str, Any] | None:
    if words is None:
        return None
    return {
        "at": _moment(words.at),
        "code": words.code,
        "error": words.error,
        "hint": words.hint,
    }


def _stream(reader: LedgerReader, stream: Stream, now: datetime) -> dict[str, Any]:
    record, journal = reader.record(stream, now, now), reader.daemon_status(stream)
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
            "code": journal.blocked_code,
            "reason": journal.blocked_reason,
            "hint": journal.blocked_hint,
            "since": _moment(journal.blocked_since),
        }
        if journal.blocked_reason
        else None,
        "events": reader.totals(stream),
        "dead_letters": sum(reasons.values()),
        "dead_letters_by_reason": reasons,
        "gaps": [asdict(gap) for gap in record.gaps],
        "holes": [asdict(hole) for hole in holes_between(spans)],
        "unread": [{"at": each.reached, "until": each.until} for each in record.unread],
        "revisits": [{"reached": span.reached, "until": span.until} for span in record.revisits],
        "known_since": _moment(oldest_known(spans, record.gaps, record.first_hour)),
        "spans": [
            {"after": span.after, "reached": span.reached, "until": span.until} for span in spans
        ],
    }


def _lag(live: Span, now: datetime) -> float | None:
    """Seconds since the span was known to hold all there was: a quiet tenant is not late."""
    seen = [moment for moment in (live.drained_at, moment_of(live.reached)) if moment is not None]
    return round(max((now - max(seen)).total_seconds(), 0.0), 1) if seen else None


def _moment(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def show(facts: dict[str, Any], now: datetime) -> None:
    """The same for people."""
    say(*laid_out("ledger        ", facts["ledger"]))
    say(f"version       {facts['version']}")
    daemon, fatal = facts["daemon"], facts["last_fatal_error"]
    running = f"runs, process {daemon['pid']}, since {daemon['since']}" if daemon else "not running"
    say(f"daemon        {running}")
    if fatal and not daemon:
        say(*laid_out("  ended       ", f"{fatal['at']}: {fatal['error']}"), fg="red")
        say(*laid_out("              ", fatal["hint"]))
    for stream in facts["streams"]:
        _show_stream(stream)
        _show_timeline(stream, now)


def _show_stream(stream: dict[str, Any]) -> None:
    arrow = "→" if can_show("→") else "->"
    say("", f"{stream['domain']} {arrow} {stream['source_name']}")
    lines = {
        "position": stream["position_at"] or stream["position"] or "not begun",
        "drained": stream["drained_at"] or "never",
        "lag": "unknown" if stream["lag_s"] is None else lasting(stream["lag_s"]),
        "last cycle": stream["last_cycle_at"] or "never",
        "events": ", ".join(
            f"{count:,} {name.replace('_', '-')}" for name, count in stream["events"].items()
        ),
    }
    for name, text in lines.items():
        _line(name, text)
    _show_dead_letters(stream)
    _show_gaps(stream)
    if stream["last_error"]:
        _line("last error", stream["last_error"], fg="yellow")
    if stream["blocked"]:
        _line(
            "blocked",
            f"since {stream['blocked']['since']}: {stream['blocked']['reason']}",
            fg="red",
        )
        _line("", stream["blocked"]["hint"])


def _show_dead_letters(stream: dict[str, Any]) -> None:
    number = stream["dead_letters"]
    which = "it" if number == 1 else "them"
    _line("dead letters", f"{number:,}   (`dead-letters list` shows {which})" if number else "none")
    for reason, count in stream["dead_letters_by_reason"].items():
        say(f"    {reason}: {count}", fg="yellow")


def _show_gaps(stream: dict[str, Any]) -> None:
    _line("gaps", str(len(stream["gaps"]) or "none"))
    for gap in stream["gaps"]:
        lost = f"lost below retention: {_when(gap['after'])} to {_when(gap['before'])}"
        say(*laid_out("    ", lost), fg="red")
    for hole in stream["holes"]:
        skipped = (
            f"in no span: {_when(hole['after'])} to {_when(hole['until'])} (`backfill` sends it)"
        )
        say(*laid_out("    ", skipped), fg="yellow")


def _line(name: str, text: str, fg: str | None = None) -> None:
    say(*laid_out(f"  {name:<13}", text), fg=fg)


def _show_timeline(stream: dict[str, Any], now: datetime) -> None:
    """The spans and gaps on a line as wide as the terminal, from the oldest that the ledger knows of."""
    if stream["known_since"] is None:
        return
    spans, gaps = _spans(stream), [Gap(**gap) for gap in stream["gaps"]]
    console = Terminal(highlight=False)
    width, blocks = max(console.width - 2 * len(_INDENT), _NARROWEST), can_show(timeline.BLOCKS)
    since = datetime.fromisoformat(stream["known_since"])
    now = max(
        [now, since, *(span.drained_at for span in spans if span.drained_at)]
    )  # the server's clock may be ahead
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


def _when(log_id: str) -> str:
    moment = moment_of(log_id)
    return iso(moment) if moment else log_id
