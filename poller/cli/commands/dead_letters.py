"""`dead-letters`: what could not be sent, to look at, to send again, to discard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from poller.adapters.sql_ledger.dead_letters import DeadLetterStore, StoredDeadLetter
from poller.cli.groups import SuggestingGroup, examples
from poller.cli.options import config_option, read_settings
from poller.cli.views.confirmation import confirm
from poller.cli.views.output import say, say_json, say_json_list, say_page
from poller.cli.views.wording import counted
from poller.config import Settings
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.messages import iso
from poller.core.text.json_text import decode
from poller.service.lifecycle.exit_codes import ExitCode


@click.group(
    "dead-letters",
    cls=SuggestingGroup,
    short_help="List, show, replay or discard what could not be sent.",
    epilog=examples("dead-letters list", "dead-letters replay --all"),
)
def dead_letters() -> None:
    """Events that could not be sent, kept in the ledger with their reasons."""


def _picking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Which letters: ids, a reason, or every one."""
    function = click.option("--all", "everything", is_flag=True, help="Every dead letter.")(
        function
    )
    function = click.option("--reason", help="All of this reason code.")(function)
    return click.argument("log_ids", metavar="[ID]...", nargs=-1)(function)


@dead_letters.command(
    "list",
    short_help="When, why and which; never who.",
    epilog=examples("dead-letters list --json"),
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON list, for scripts.")
def list_letters(config: Path | None, *, as_json: bool) -> int:
    """Lists them, oldest first: when, why and which; never who."""
    with _opened(read_settings(config, secrets=False)) as graveyard:
        if as_json:
            say_json_list(map(_facts, page) for page in graveyard.pages())
            return ExitCode.DONE
        shown = 0
        for page in graveyard.pages():
            say_page(map(_line, page))
            shown += len(page)
    say(counted(shown, "dead letter"))
    return ExitCode.DONE


def _line(letter: StoredDeadLetter) -> str:
    reason = f"{letter.reason} ({letter.status})" if letter.status else letter.reason
    return f"{iso(letter.dead_lettered_at)}  {letter.type or '?':<8}{reason:<26}{letter.log_id}"


@dead_letters.command(
    short_help="One of them, with the event as Auth0 sent it.",
    epilog=examples("dead-letters show 90020260131080000000000000000000000000000000000000000001"),
)
@config_option
@click.argument("log_id", metavar="ID")
def show(config: Path | None, log_id: str) -> int:
    """Shows one whole, with the event as Auth0 sent it: personal data."""
    with _opened(read_settings(config, secrets=False)) as graveyard:
        _check_known(graveyard, (log_id,))
        letters = [letter for page in graveyard.pages(log_ids=(log_id,)) for letter in page]
        for letter, event in graveyard.events(letters).items():
            say_json(_facts(letter) | {"event": decode(event)})
    return ExitCode.DONE


@dead_letters.command(
    short_help="Remove them for good.",
    epilog=examples("dead-letters discard --reason no_user_id", "dead-letters discard --all --yes"),
)
@config_option
@_picking
@click.option("--yes", is_flag=True, help="Do not ask.")
def discard(
    config: Path | None,
    log_ids: tuple[str, ...],
    reason: str | None,
    *,
    everything: bool,
    yes: bool,
) -> int:
    """Removes dead letters for good."""
    _check_picked(log_ids, reason, everything=everything)
    with _opened(read_settings(config, secrets=False), to_change=True) as graveyard:
        _check_known(graveyard, log_ids)
        wanted = (
            sum(map(len, graveyard.pages(log_ids=log_ids)))
            if log_ids
            else graveyard.count(reason=reason)
        )
        if wanted:
            confirm(f"Discard {counted(wanted, 'dead letter')} for good?", is_answered=yes)
        say(
            f"{sum(map(graveyard.discard, graveyard.pages(log_ids=log_ids, reason=reason)))} discarded"
        )
    return ExitCode.DONE


@dead_letters.command(
    "replay",
    short_help="Send them again, under their own message ids.",
    epilog=examples("dead-letters replay --all", "dead-letters replay --reason expression_failed"),
)
@config_option
@_picking
def replay_letters(
    config: Path | None, log_ids: tuple[str, ...], reason: str | None, *, everything: bool
) -> int:
    """Translates them again and sends them under their own message ids; only what Segment acknowledged goes."""
    _check_picked(log_ids, reason, everything=everything)
    from poller.cli.wiring.replay import replay_all  # noqa: PLC0415 - the other commands do not wait for all of it

    settings = read_settings(config)
    with _opened(settings, to_change=True) as graveyard:

        def pick(stream: Stream) -> Iterator[tuple[StoredDeadLetter, ...]]:
            _check_known(graveyard, log_ids, stream)
            return graveyard.pages(stream=stream, log_ids=log_ids, reason=reason)

        replayed, left = replay_all(settings, graveyard, pick)
    say(f"{replayed} replayed, {left} still dead")
    return ExitCode.ATTENTION if left else ExitCode.DONE


@contextmanager
def _opened(settings: Settings, *, to_change: bool = False) -> Iterator[DeadLetterStore]:
    graveyard = DeadLetterStore.open(settings.state.url, to_change=to_change)
    try:
        yield graveyard
    finally:
        graveyard.close()


def _check_picked(log_ids: tuple[str, ...], reason: str | None, *, everything: bool) -> None:
    if sum((bool(log_ids), reason is not None, everything)) != 1:
        raise click.UsageError("name ids, or --reason, or --all")


def _check_known(
    graveyard: DeadLetterStore, log_ids: tuple[str, ...], stream: Stream | None = None
) -> None:
    """Raises:
    FatalError: one of the ids is no dead letter's.
    """
    if not log_ids:
        return
    found = {
        letter.log_id for page in graveyard.pages(stream=stream, log_ids=log_ids) for letter in page
    }
    if missing := sorted(set(log_ids) - found):
        raise FatalError(
            f"no dead letter has the id {missing[0]}",
            code="dead-letter-unknown",
            hint="`dead-letters list` shows the ids",
        )


def _facts(letter: StoredDeadLetter) -> dict[str, Any]:
    return {
        "log_id": letter.log_id,
        "type": letter.type,
        "reason": letter.reason,
        "status": letter.status,
        "dead_lettered_at": iso(letter.dead_lettered_at),
        "domain": letter.stream.domain,
        "source_name": letter.stream.source_name,
        "generation": letter.stream.generation,
    }
