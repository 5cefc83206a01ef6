"""The command `ledger person`: show or forget the data that the ledger holds of a person."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from poller.adapters.sql_ledger.people import PersonRecord, PersonStore
from poller.cli.groups import SuggestingGroup, examples
from poller.cli.options import config_option, json_option, read_settings, yes_option
from poller.cli.views.confirmation import confirm
from poller.cli.views.output import say, say_json
from poller.cli.views.wording import counted, stream_title
from poller.config import Settings
from poller.core.log_ids import LogId
from poller.core.text.dates import iso
from poller.service.lifecycle.exit_codes import ExitCode

_NEVER_FOUND = (
    "The ledger also holds hashes of the members of organizations. They cannot be searched for a "
    "person, and no person can be read from them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonReport:
    """The data of a person in one stream. `dead_letters` are log ids."""

    domain: str
    source_name: str
    generation: str
    dead_letters: tuple[LogId, ...]
    pending_identifies: int
    is_remembered: bool


@click.group(
    "person",
    cls=SuggestingGroup,
    epilog=examples("ledger person show 'auth0|5f7c8ec7c33c6c004bbafe82'"),
)
def person() -> None:
    """Show or forget the data of a person.

    The ledger holds dead letters, the users who wait for an identify, and hashes of the last
    identify of each user.
    """


@person.command(
    epilog=examples("ledger person show 'auth0|5f7c8ec7c33c6c004bbafe82' --json"),
)
@config_option
@click.argument("user_id")
@json_option
def show(config: Path | None, user_id: str, *, as_json: bool) -> int:
    """Show what the ledger holds of USER_ID, which is the user id in Auth0 or in Segment."""
    with _opened(read_settings(config, secrets=False)) as people:
        records = people.find(user_id)
    if as_json:
        say_json([_report(each) for each in records])
    else:
        _show(records)
    return ExitCode.DONE


@person.command(
    epilog=examples("ledger person forget 'auth0|5f7c8ec7c33c6c004bbafe82'"),
)
@config_option
@click.argument("user_id")
@yes_option
def forget(config: Path | None, user_id: str, *, yes: bool) -> int:
    """Remove everything that the ledger holds of USER_ID. The daemon may run meanwhile.

    The dead letters of the person are never sent then, and count as discarded. Backups of the
    ledger keep the data. To delete the data in Segment, use Segment's own means.
    """
    with _opened(read_settings(config, secrets=False), to_change=True) as people:
        records = people.find(user_id)
        _show(records)
        if not records:
            return ExitCode.DONE
        confirm("Forget this person for good?", is_answered=yes)
        letters = sum(len(each.letters) for each in people.forget(user_id))
    say(f"forgotten. {counted(letters, 'dead letter')} discarded on request")
    return ExitCode.DONE


@contextmanager
def _opened(settings: Settings, *, to_change: bool = False) -> Iterator[PersonStore]:
    with closing(PersonStore.open(settings.state.url, to_change=to_change)) as people:
        yield people


def _show(records: Sequence[PersonRecord]) -> None:
    for each in records:
        say(stream_title(each.stream.domain, each.stream.source_name))
        say(f"  dead letters   {len(each.letters) or 'none'}")
        say(
            *(
                f"    {iso(letter.dead_lettered_at)}  {letter.reason}  {letter.log_id}"
                for letter in each.letters
            )
        )
        say(f"  identify due   {'yes' if each.pending_identifies else 'no'}")
        say(f"  last identify  {'a hash of it is kept' if each.is_remembered else 'not kept'}")
    if not records:
        say("the ledger holds nothing of this person")
    say(_NEVER_FOUND)


def _report(record: PersonRecord) -> PersonReport:
    return PersonReport(
        domain=record.stream.domain,
        source_name=record.stream.source_name,
        generation=record.stream.generation,
        dead_letters=tuple(letter.log_id for letter in record.letters),
        pending_identifies=record.pending_identifies,
        is_remembered=record.is_remembered,
    )
