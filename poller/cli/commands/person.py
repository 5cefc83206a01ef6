"""`ledger person`: what the ledger holds of a person, and how to forget it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from poller.adapters.sql_ledger.people import PersonRecord, PersonStore
from poller.cli.groups import SuggestingGroup, examples
from poller.cli.options import config_option, read_settings
from poller.cli.views.confirmation import confirm
from poller.cli.views.output import say, say_json
from poller.cli.views.wording import counted
from poller.config import Settings
from poller.core.messages import iso
from poller.service.lifecycle.exit_codes import ExitCode

_NEVER_FOUND = (
    "Hashes that say whom an organization was told of cannot be found by a person, "
    "and nobody can be read from them."
)


@click.group(
    "person",
    cls=SuggestingGroup,
    short_help="Show or forget what is held of a person.",
    epilog=examples("ledger person show 'auth0|5f7c8ec7c33c6c004bbafe82'"),
)
def person() -> None:
    """Personal data in the ledger: dead letters, identifies that are due, and hashes of what was said of whom."""


@person.command(
    short_help="What the ledger holds of a person.",
    epilog=examples("ledger person show 'auth0|5f7c8ec7c33c6c004bbafe82' --json"),
)
@config_option
@click.argument("user_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON list, for scripts.")
def show(config: Path | None, user_id: str, *, as_json: bool) -> int:
    """Shows what the ledger holds of USER_ID: Auth0's id, or the one that is sent to Segment."""
    with _opened(read_settings(config, secrets=False)) as people:
        found = people.find(user_id)
    if as_json:
        say_json([_facts(each) for each in found])
    else:
        _show(found)
    return ExitCode.DONE


@person.command(
    short_help="Remove what the ledger holds of a person.",
    epilog=examples("ledger person forget 'auth0|5f7c8ec7c33c6c004bbafe82'"),
)
@config_option
@click.argument("user_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(config: Path | None, user_id: str, *, yes: bool) -> int:
    """Removes all that the ledger holds of USER_ID, also beside the daemon. What Segment has is Segment's to delete.

    The person's dead letters are never sent then. Each is counted as discarded in the hour of its event, and no id of
    it is kept. Backups of the ledger still hold what they held.
    """
    with _opened(read_settings(config, secrets=False), to_change=True) as people:
        found = people.find(user_id)
        _show(found)
        if not found:
            return ExitCode.DONE
        confirm("Forget it for good?", is_answered=yes)
        letters = sum(len(each.letters) for each in people.forget(user_id))
    say(f"forgotten; {counted(letters, 'dead letter')} discarded on request")
    return ExitCode.DONE


@contextmanager
def _opened(settings: Settings, *, to_change: bool = False) -> Iterator[PersonStore]:
    people = PersonStore.open(settings.state.url, to_change=to_change)
    try:
        yield people
    finally:
        people.close()


def _show(found: Sequence[PersonRecord]) -> None:
    for each in found:
        say(f"{each.stream.domain} to {each.stream.source_name}")
        say(f"  dead letters   {len(each.letters) or 'none'}")
        say(
            *(
                f"    {iso(letter.dead_lettered_at)}  {letter.reason}  {letter.log_id}"
                for letter in each.letters
            )
        )
        say(f"  identify due   {'yes' if each.pending_identifies else 'no'}")
        say(
            f"  last identify  {'a hash of what it said' if each.is_remembered else 'not remembered'}"
        )
    if not found:
        say("the ledger holds nothing of this person")
    say(_NEVER_FOUND)


def _facts(held: PersonRecord) -> dict[str, Any]:
    return {
        "domain": held.stream.domain,
        "source_name": held.stream.source_name,
        "generation": held.stream.generation,
        "dead_letters": [letter.log_id for letter in held.letters],
        "awaiting_identify": held.pending_identifies,
        "is_remembered": held.is_remembered,
    }
