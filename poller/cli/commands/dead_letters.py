"""The command `dead-letters`: show, replay or discard the events that could not be sent."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from poller.adapters.sql_ledger.dead_letters import DeadLetterStore, StoredDeadLetter
from poller.cli.groups import SuggestingGroup, examples
from poller.cli.ledger_options import (
    dead_letter_argument,
    dead_letters_argument,
    reason_option,
)
from poller.cli.options import config_option, json_option, read_settings, yes_option
from poller.cli.views.confirmation import confirm
from poller.cli.views.output import say, say_json, say_json_list, say_page
from poller.cli.views.wording import counted
from poller.config import Settings
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.log_ids import LogId
from poller.core.outcomes import DEAD_LETTER_REASONS
from poller.core.text.dates import iso
from poller.core.text.json_text import decode
from poller.service.lifecycle.exit_codes import ExitCode


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterReport:
    """A dead letter without its event, so it holds no personal data."""

    log_id: LogId
    type: str
    reason: str
    status: int | None
    dead_lettered_at: datetime
    domain: str
    source_name: str
    generation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterWithEvent(DeadLetterReport):
    """A dead letter with its event as Auth0 sent it."""

    event: object = field(repr=False)


@click.group(
    "dead-letters",
    cls=SuggestingGroup,
    epilog=examples("dead-letters list", "dead-letters replay --all"),
)
def dead_letters() -> None:
    """Show, replay or discard the events that could not be sent.

    The ledger keeps each of them with the reason.
    """


def _picking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments that pick dead letters: ids, a reason, or all."""
    function = click.option("--all", "everything", is_flag=True, help="Every dead letter.")(
        function
    )
    function = reason_option(function)
    return dead_letters_argument(function)


@dead_letters.command(
    "list",
    epilog=examples("dead-letters list --json", "dead-letters list --reason no_user_id"),
)
@config_option
@reason_option
@json_option
def list_letters(config: Path | None, reason: str | None, *, as_json: bool) -> int:
    """List the dead letters, the oldest first: the time, the reason and the log id."""
    with _opened(read_settings(config, secrets=False)) as store:
        _check_reason(store, reason)
        if as_json:
            say_json_list(map(_report, page) for page in store.pages(reason=reason))
            return ExitCode.DONE
        shown = 0
        for page in store.pages(reason=reason):
            say_page(map(_line, page))
            shown += len(page)
    say(counted(shown, "dead letter"))
    return ExitCode.DONE


def _line(letter: StoredDeadLetter) -> str:
    reason = f"{letter.reason} ({letter.status})" if letter.status else letter.reason
    return f"{iso(letter.dead_lettered_at)}  {letter.type or '?':<8}{reason:<26}{letter.log_id}"


@dead_letters.command(
    epilog=examples("dead-letters show 90020260131080000000000000000000000000000000000000000001"),
)
@config_option
@dead_letter_argument
def show(config: Path | None, log_id: str) -> int:
    """Show one dead letter with its event, which holds personal data."""
    with _opened(read_settings(config, secrets=False)) as store:
        _check_known(store, (log_id,))
        letters = [letter for page in store.pages(log_ids=(log_id,)) for letter in page]
        for letter, event in store.events(letters).items():
            say_json(DeadLetterWithEvent(**asdict(_report(letter)), event=decode(event)))
    return ExitCode.DONE


@dead_letters.command(
    epilog=examples("dead-letters discard --reason no_user_id", "dead-letters discard --all --yes"),
)
@config_option
@_picking
@yes_option
def discard(
    config: Path | None,
    log_ids: tuple[str, ...],
    reason: str | None,
    *,
    everything: bool,
    yes: bool,
) -> int:
    """Remove dead letters for good. Their events are never sent then."""
    _check_picked(log_ids, reason, everything=everything)
    with _opened(read_settings(config, secrets=False), to_change=True) as store:
        wanted = _count_picked(store, log_ids, reason)
        if not wanted:
            return _say_nothing_picked(reason)
        confirm(f"Discard {counted(wanted, 'dead letter')} for good?", is_answered=yes)
        say(f"{sum(map(store.discard, store.pages(log_ids=log_ids, reason=reason)))} discarded")
    return ExitCode.DONE


@dead_letters.command(
    "replay",
    epilog=examples(
        "dead-letters replay --reason expression_failed", "dead-letters replay --all --yes"
    ),
)
@config_option
@_picking
@yes_option
def replay_letters(
    config: Path | None,
    log_ids: tuple[str, ...],
    reason: str | None,
    *,
    everything: bool,
    yes: bool,
) -> int:
    """Translate dead letters again, and send them under the same message ids.

    A dead letter is removed once Segment has acknowledged it.
    """
    _check_picked(log_ids, reason, everything=everything)
    from poller.cli.wiring.replay import replay_all  # noqa: PLC0415 - slow
    from poller.cli.wiring.services import stream_of  # noqa: PLC0415 - slow

    settings = read_settings(config)
    with _opened(settings, to_change=True) as store:
        stream = store.recorded(stream_of(settings))
        wanted = _count_picked(store, log_ids, reason, stream)
        if not wanted:
            return _say_nothing_picked(reason)
        confirm(f"Send {counted(wanted, 'dead letter')} again?", is_answered=yes)
        pages = store.pages(stream=stream, log_ids=log_ids, reason=reason)
        replayed, left = replay_all(settings, store, stream, pages)
    say(f"{replayed} replayed, {left} still dead")
    return ExitCode.ATTENTION if left else ExitCode.DONE


@contextmanager
def _opened(settings: Settings, *, to_change: bool = False) -> Iterator[DeadLetterStore]:
    with closing(DeadLetterStore.open(settings.state.url, to_change=to_change)) as store:
        yield store


def _check_picked(log_ids: tuple[str, ...], reason: str | None, *, everything: bool) -> None:
    if sum((bool(log_ids), reason is not None, everything)) != 1:
        raise click.UsageError("give ids, --reason, or --all, but only one of them")


def _count_picked(
    store: DeadLetterStore,
    log_ids: tuple[str, ...],
    reason: str | None,
    stream: Stream | None = None,
) -> int:
    """Return how many dead letters are picked.

    Raises:
        FatalError: no dead letter has one of the ids, or there is no such reason.
    """
    _check_known(store, log_ids, stream)
    _check_reason(store, reason, stream)
    if log_ids:
        return sum(map(len, store.pages(stream=stream, log_ids=log_ids)))
    return store.count(stream=stream, reason=reason)


def _say_nothing_picked(reason: str | None) -> int:
    found = f"no dead letter has the reason {reason}" if reason else "there are no dead letters"
    say(f"{found}: there is nothing to do")
    return ExitCode.DONE


def _check_reason(store: DeadLetterStore, reason: str | None, stream: Stream | None = None) -> None:
    """Check that the reason exists, so that a typing error is no success.

    A reason that the program knows is right even if no dead letter has it now. A job in cron must
    not fail when there is nothing to do. An older version may have left letters with other reasons.

    Raises:
        FatalError: the program does not know the reason, and no dead letter has it.
    """
    if reason is None or reason in DEAD_LETTER_REASONS:
        return
    numbers = store.reasons(stream=stream)
    if reason in numbers:
        return
    known = sorted(DEAD_LETTER_REASONS | numbers.keys())
    listed = ", ".join(f"{each} ({numbers[each]:,})" if each in numbers else each for each in known)
    raise FatalError(
        f"{reason} is not a reason of a dead letter",
        code="dead-letter-unknown",
        hint=f"the reasons are {listed}",
    )


def _check_known(
    store: DeadLetterStore, log_ids: tuple[str, ...], stream: Stream | None = None
) -> None:
    """Check that each of these ids is the id of a dead letter.

    Raises:
        FatalError: one of them is not.
    """
    if not log_ids:
        return
    known = {
        letter.log_id for page in store.pages(stream=stream, log_ids=log_ids) for letter in page
    }
    if missing := sorted(set(log_ids) - known):
        raise FatalError(
            "no dead letter has this id",
            code="dead-letter-unknown",
            # An error shows a log id as its time, and a hint shows it as it was typed.
            hint=f"`dead-letters list` shows the ids. {missing[0]} is not among them",
        )


def _report(letter: StoredDeadLetter) -> DeadLetterReport:
    return DeadLetterReport(
        log_id=letter.log_id,
        type=letter.type,
        reason=letter.reason,
        status=letter.status,
        dead_lettered_at=letter.dead_lettered_at,
        domain=letter.stream.domain,
        source_name=letter.stream.source_name,
        generation=letter.stream.generation,
    )
