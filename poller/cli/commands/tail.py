"""The command `tail`: events as the running daemon settles them."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.reader import running_daemon
from poller.cli.groups import examples
from poller.cli.options import WholeNumber, config_option, json_option, read_settings
from poller.cli.views.events.tail import show_event
from poller.cli.views.output import say, say_json
from poller.cli.wiring.events import Line, lines_of, open_stream
from poller.config import Settings
from poller.core.count_names import DEAD_LETTERED, FILTERED, FORWARDED
from poller.core.translation.log_types import KNOWN_TYPES
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.watching.feed import MOST_EVENTS

_OUTCOMES = {"forwarded": FORWARDED, "filtered": FILTERED, "dead-letter": DEAD_LETTERED}
_ENDS = {
    "stopped": ("the daemon has ended", ExitCode.UNAVAILABLE),
    "slow": (
        "the daemon has dropped this command, which was too slow for the events: start it again",
        ExitCode.UNREACHABLE,
    ),
    "full": ("8 readers look at the daemon already: end one of them", ExitCode.UNREACHABLE),
}


class _OutcomeType(click.ParamType[str]):
    """An outcome, as people type it."""

    name = "OUTCOME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the outcome as the stream spells it."""
        if value not in _OUTCOMES:
            close = get_close_matches(value.replace("_", "-"), _OUTCOMES, n=1)
            hint = f"did you mean {close[0]}?" if close else f"give one of {', '.join(_OUTCOMES)}"
            self.fail(f"no outcome is called {value}: {hint}", param, ctx)
        return _OUTCOMES[value]


@click.command(
    epilog=examples("tail", "tail --outcome dead-letter --last 20", "tail --type s --json")
)
@config_option
@click.option("--type", "types", multiple=True, help="Only events of this type. May be repeated.")
@click.option(
    "--outcome",
    "outcomes",
    multiple=True,
    type=_OutcomeType(),
    help="Only events with this outcome: forwarded, filtered or dead-letter. May be repeated.",
)
@click.option("--user", help="Only events whose user is shown and contains this text.")
@click.option(
    "--last",
    default=0,
    type=WholeNumber(0, MOST_EVENTS),
    show_default=True,
    help="First show this many of the events that the daemon remembers.",
)
@json_option
def tail(
    config: Path | None,
    *,
    types: tuple[str, ...],
    outcomes: tuple[str, ...],
    user: str | None,
    last: int,
    as_json: bool,
) -> int:
    """Show each event as the running daemon settles it, with what it became, until Ctrl-C.

    It shows what the live page shows, and needs no page: see page.show. It needs no secret. Only
    the user who runs the daemon, and root, may read the events.
    """
    settings = read_settings(config, secrets=False)
    _warn_of_types(types, settings)
    connection = open_stream(settings)
    if connection is None:
        return _explain_no_daemon(settings)

    def is_wanted(event: Line) -> bool:
        is_of_type = not types or event["type"] in types
        is_of_user = user is None or user.casefold() in (event["user"] or "").casefold()
        return is_of_type and is_of_user and (not outcomes or event["outcome"] in outcomes)

    with connection, suppress(KeyboardInterrupt):
        return _follow(_chosen(lines_of(connection), is_wanted, last), as_json=as_json)
    return ExitCode.DONE


def _chosen(lines: Iterator[Line], is_wanted: Any, last: int) -> Iterator[Line]:
    """Yield the wanted events, of those in memory only the newest, and all other lines."""
    remembered: deque[Line] = deque(maxlen=last)
    is_live = False
    for line in lines:
        if line["kind"] == "live":
            yield from remembered
            is_live = True
        elif line["kind"] != "event":
            yield line
        elif is_wanted(line):
            if is_live:
                yield line
            else:
                remembered.append(line)


def _follow(lines: Iterator[Line], *, as_json: bool) -> ExitCode:
    """Print events until the stream ends, and say why it ended."""
    for line in lines:
        match line["kind"]:
            case "event" if as_json:
                say_json({key: value for key, value in line.items() if key != "kind"}, indent=0)
            case "event":
                show_event(line)
            case "skipped":
                say(f"{line['events']:,} events were too many to show", is_error=True)
            case "end":
                text, code = _ENDS.get(line["reason"], (line["reason"], ExitCode.UNREACHABLE))
                say(text, is_error=True)
                return code
    return ExitCode.DONE


def _warn_of_types(types: tuple[str, ...], settings: Settings) -> None:
    known = KNOWN_TYPES | settings.logins.types | settings.events.types.keys()
    for kind in types:
        if kind not in known:
            close = get_close_matches(kind, sorted(known), n=1)
            hint = f": did you mean {close[0]}?" if close else ""
            say(f"Auth0 has published no event type {kind}{hint}", is_error=True)


def _explain_no_daemon(settings: Settings) -> ExitCode:
    place = place_of(settings.state.url).shown
    pid = running_daemon(settings.state.url)
    if pid is None:
        hint = "start it: systemctl start auth0-segment-poller, or auth0-segment-poller run"
        say(f"error: no daemon runs on the ledger {place}", f"  {hint}", is_error=True)
    else:
        hint = "`run --once` has none. Otherwise its log line tail.unavailable says why"
        say(f"error: process {pid} has no socket for tail", f"  {hint}", is_error=True)
    return ExitCode.UNAVAILABLE
