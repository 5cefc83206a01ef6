"""The command `ledger key`: say whether the write key was rotated or was wrong before."""

import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from poller.adapters.sql_ledger.key_changes import (
    Undelivered,
    find_undelivered,
    redeliver,
    rotate_key,
)
from poller.adapters.sql_ledger.places import acquire_lock
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.cli.groups import NAME, SuggestingGroup, examples
from poller.cli.ledger_options import source_option
from poller.cli.options import (
    Bound,
    BoundType,
    choose,
    config_option,
    position_of,
    read_settings,
    yes_option,
)
from poller.cli.views.confirmation import confirm
from poller.cli.views.output import say
from poller.cli.views.wording import counted, laid_out, moment_text, stream_title
from poller.config import Settings
from poller.core.count_names import DEAD_LETTERED, FORWARDED
from poller.core.events import Stream
from poller.core.log_ids import EARLIEST, LogId
from poller.service.lifecycle.exit_codes import ExitCode

_MOST_RANGES = 6
"""The most ranges that the plan names."""
_OLDER = "Their events may be older: an earlier --since includes them"
_READ_AGAIN = "`backfill --from-file --read-again` sends them again"


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeyChange:
    """The stream of the ledger whose key was changed, and its names by the settings now."""

    url: str
    stream: Stream
    renamed: Stream


@click.group(
    "key",
    cls=SuggestingGroup,
    epilog=examples("ledger key rotated", "ledger key was-wrong --since 2026-01-31T08:00:00Z"),
)
def key() -> None:
    """Say what it means that the write key was changed.

    Put the new key into the settings first, and stop the service.
    """


@key.command(epilog=examples("ledger key rotated"))
@config_option
@source_option
@yes_option
def rotated(config: Path | None, source_name: str | None, *, yes: bool) -> int:
    """Go on with a new key of the same source.

    Message ids, the position, and what was last sent stay as they are.
    """
    with _changing(config, source_name) as change:
        _show_names(change)
        if change.renamed == change.stream:
            say("The ledger knows the source by this name already. There is nothing to do.")
            return ExitCode.DONE
        say(
            *laid_out("  stays       ", "message ids, the position, and what was last sent"),
            *laid_out(
                "  note        ",
                "everything that was sent under the earlier key counts as arrived. If nothing of "
                "it arrived, say `ledger key was-wrong`",
            ),
        )
        confirm("Is it the same source with a new key?", is_answered=yes)
        rotate_key(change.url, change.stream, change.renamed)
    say(f"Next: `{NAME} check{_config_text(config)}` proves the new key. Then start the service.")
    return ExitCode.DONE


@key.command(
    "was-wrong",
    epilog=examples(
        "ledger key was-wrong --since 2026-01-31T08:00:00Z", "ledger key was-wrong --since earliest"
    ),
)
@config_option
@click.option(
    "--since",
    type=BoundType(),
    required=True,
    help="The time of the first event that did not arrive: earliest, a date, a time, or a time "
    "before now such as 2h.",
)
@click.option(
    "--until",
    type=BoundType(),
    help="The time of the first event that arrived again. The default is now.",
)
@source_option
@yes_option
def was_wrong(
    config: Path | None, since: Bound, until: Bound | None, source_name: str | None, *, yes: bool
) -> int:
    """Send everything since a time again, because none of it arrived.

    It is sent under new message ids, by a backfill. Events that were settled before that time stay
    settled, and the service goes on from its position.
    """
    now = datetime.now(UTC)
    begin = position_of(since, now)
    end = position_of(until, now) if until is not None else None
    if end is not None and end <= begin:
        raise click.UsageError("--until must lie after --since")
    with _changing(config, source_name) as change:
        lost = find_undelivered(change.url, change.stream, begin, end)
        _show_names(change)
        if not lost.ranges:
            raise click.UsageError("the ledger has settled nothing in that time")
        generation = f"key-{now:%Y%m%dT%H%M%SZ}"
        _show_plan(lost, begin, generation)
        confirm("Send this part again under new message ids?", is_answered=yes)
        redeliver(change.url, change.stream, change.renamed, begin, end, generation=generation)
    _show_next(config, begin)
    return ExitCode.DONE


@contextmanager
def _changing(config: Path | None, source_name: str | None) -> Iterator[_KeyChange]:
    """Find the stream, while neither the daemon nor a backfill may begin."""
    settings = read_settings(config)
    url, renamed = settings.state.url, _stream_of(settings)
    with acquire_lock(url, "run"), acquire_lock(url, "backfill"):
        with closing(LedgerReader.open(url)) as reader:
            stream = reader.recorded(renamed) if source_name is None else None
            if stream is None:
                stream = choose(
                    reader.streams(),
                    domain=renamed.domain,
                    source_name=source_name,
                    own=(renamed.source_name, renamed.generation),
                )
        yield _KeyChange(url=url, stream=stream, renamed=renamed)


def _stream_of(settings: Settings) -> Stream:
    return Stream(
        domain=settings.auth0.domain,
        source_name=settings.segment.source_name or "",
        generation=settings.segment.generation,
    )


def _show_names(change: _KeyChange) -> None:
    say(stream_title(change.stream.domain, change.stream.source_name))
    if change.renamed.source_name != change.stream.source_name:
        say(f"  new name    {change.renamed.source_name}")


def _show_plan(lost: Undelivered, since: LogId, generation: str) -> None:
    position = moment_text(lost.position) if lost.position else "not begun"
    below = "" if since == EARLIEST else f"what was settled before {moment_text(since)}, and "
    told = f"{lost.told:,} users and memberships"
    lines = [
        ("stays", f"{below}the position of the service: {position}"),
        *_range_lines(lost),
        ("", f"by the counts of the ledger, {_counts_text(lost)}"),
        ("", f"identify and group calls too: what Segment was told about {told} is forgotten"),
        ("how", f"by a backfill, under new message ids (generation {generation})"),
        ("not by this", f"dead letters that were replayed since then. {_OLDER}"),
    ]
    if lost.files:
        files = counted(lost.files, "file")
        lines.append(("", f"{files} that a backfill read since then. {_READ_AGAIN}"))
    for name, text in lines:
        say(*laid_out(f"  {name:<12}", text))


def _range_lines(lost: Undelivered) -> list[tuple[str, str]]:
    named = [
        ("" if number else "sent again", f"{moment_text(each.after)} to {moment_text(each.until)}")
        for number, each in enumerate(lost.ranges[:_MOST_RANGES])
    ]
    more = len(lost.ranges) - len(named)
    if more:
        return [*named, ("", f"and {counted(more, 'more range')}")]
    return named


def _counts_text(lost: Undelivered) -> str:
    events = counted(lost.events.get(FORWARDED, 0), "event")
    tracks = ", ".join(f"{number:,} {name}" for name, number in sorted(lost.tracks.items()))
    dead = lost.events.get(DEAD_LETTERED, 0)
    letters = f", and {counted(dead, 'dead letter')} tried again" if dead else ""
    return f"at most {events} ({tracks or 'no track'}){letters}"


def _show_next(config: Path | None, since: LogId) -> None:
    option = _config_text(config)
    begin = "earliest" if since == EARLIEST else moment_text(since)
    say(
        "Recorded. Next:",
        f"  1. `{NAME} check{option}` proves the new key.",
        "  2. Start the service. It goes on from its position.",
        f"  3. `{NAME} backfill --since {begin}{option}` sends this part again. Do it soon: Auth0 "
        "keeps its log for a few days only.",
    )


def _config_text(config: Path | None) -> str:
    if config:
        return f" --config {shlex.quote(str(config))}"
    return ""
