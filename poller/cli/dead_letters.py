"""`dead-letters`: what could not be sent, to look at, to send again, to discard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from poller.adapters.sql_ledger import BuriedLetter, Graveyard
from poller.cli.asking import confirm
from poller.cli.given import config_option, read_settings
from poller.cli.groups import Suggesting, examples
from poller.cli.output import say, say_json
from poller.cli.wording import counted
from poller.config import Settings
from poller.core.errors import FatalError
from poller.core.json_text import decode
from poller.core.messages import iso
from poller.service.process import Exit


@click.group(
    "dead-letters",
    cls=Suggesting,
    short_help="List, show, replay or discard what could not be sent.",
    epilog=examples("dead-letters list", "dead-letters replay --all"),
)
def dead_letters() -> None:
    """Events that could not be sent, kept in the ledger with their reasons."""


def _picking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Which letters: ids, a reason, or every one."""
    function = click.option("--all", "everything", is_flag=True, help="Every dead letter.")(function)
    function = click.option("--reason", help="All of this reason code.")(function)
    return click.argument("log_ids", metavar="[ID]...", nargs=-1)(function)


@dead_letters.command("list", short_help="When, why and which; never who.", epilog=examples("dead-letters list --json"))
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON list, for scripts.")
def list_letters(config: Path | None, *, as_json: bool) -> int:
    """Lists them, oldest first: when, why and which; never who."""
    with _opened(read_settings(config, secrets=False)) as graveyard:
        letters = graveyard.letters()
    if as_json:
        say_json([_facts(letter) for letter in letters])
        return Exit.DONE
    for letter in letters:
        reason = f"{letter.reason} ({letter.status})" if letter.status else letter.reason
        say(f"{iso(letter.buried_at)}  {letter.type or '?':<8}{reason:<26}{letter.log_id}")
    say(counted(len(letters), "dead letter"))
    return Exit.DONE


@dead_letters.command(
    short_help="One of them, with the event as Auth0 sent it.",
    epilog=examples("dead-letters show 90020260131080000000000000000000000000000000000000000001"),
)
@config_option
@click.argument("log_id", metavar="ID")
def show(config: Path | None, log_id: str) -> int:
    """Shows one whole, with the event as Auth0 sent it: personal data."""
    with _opened(read_settings(config, secrets=False)) as graveyard:
        letters = _found(graveyard.letters(log_ids=(log_id,)), (log_id,))
    for letter in letters:
        say_json(_facts(letter) | {"event": decode(letter.event)})
    return Exit.DONE


@dead_letters.command(
    short_help="Remove them for good.",
    epilog=examples("dead-letters discard --reason no_user_id", "dead-letters discard --all --yes"),
)
@config_option
@_picking
@click.option("--yes", is_flag=True, help="Do not ask.")
def discard(config: Path | None, log_ids: tuple[str, ...], reason: str | None, *, everything: bool, yes: bool) -> int:
    """Removes dead letters for good."""
    _check_picked(log_ids, reason, everything=everything)
    with _opened(read_settings(config, secrets=False), to_change=True) as graveyard:
        letters = _found(graveyard.letters(log_ids=log_ids, reason=reason), log_ids)
        if letters:
            confirm(f"Discard {counted(len(letters), 'dead letter')} for good?", is_answered=yes)
        say(f"{graveyard.discard(letters)} discarded")
    return Exit.DONE


@dead_letters.command(
    "replay",
    short_help="Send them again, under their own message ids.",
    epilog=examples("dead-letters replay --all", "dead-letters replay --reason expression_failed"),
)
@config_option
@_picking
def replay_letters(config: Path | None, log_ids: tuple[str, ...], reason: str | None, *, everything: bool) -> int:
    """Translates them again and sends them under their own message ids; only what Segment acknowledged goes."""
    _check_picked(log_ids, reason, everything=everything)
    from poller.cli.replaying import replay_all  # noqa: PLC0415 - the other commands do not wait for all of it

    settings = read_settings(config)
    with _opened(settings, to_change=True) as graveyard:
        replayed, left = replay_all(
            settings,
            graveyard,
            lambda stream: _found(graveyard.letters(stream=stream, log_ids=log_ids, reason=reason), log_ids),
        )
    say(f"{replayed} replayed, {left} still dead")
    return Exit.ATTENTION if left else Exit.DONE


@contextmanager
def _opened(settings: Settings, *, to_change: bool = False) -> Iterator[Graveyard]:
    graveyard = Graveyard.open(settings.state.url, to_change=to_change)
    try:
        yield graveyard
    finally:
        graveyard.close()


def _check_picked(log_ids: tuple[str, ...], reason: str | None, *, everything: bool) -> None:
    if sum((bool(log_ids), reason is not None, everything)) != 1:
        raise click.UsageError("name ids, or --reason, or --all")


def _found(letters: tuple[BuriedLetter, ...], log_ids: tuple[str, ...]) -> tuple[BuriedLetter, ...]:
    missing = sorted(set(log_ids) - {letter.log_id for letter in letters})
    if missing:
        raise FatalError(f"no dead letter has the id {missing[0]}", hint="`dead-letters list` shows the ids")
    return letters


def _facts(letter: BuriedLetter) -> dict[str, Any]:
    return {
        "log_id": letter.log_id,
        "type": letter.type,
        "reason": letter.reason,
        "status": letter.status,
        "buried_at": iso(letter.buried_at),
        "domain": letter.stream.domain,
        "source_name": letter.stream.source_name,
        "generation": letter.stream.generation,
    }
