"""Options and arguments whose values are in the ledger. A shell completes them from there."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import click
from click.shell_completion import CompletionItem

from poller.adapters.sql_ledger.dead_letters import DeadLetterStore
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.cli.options import read_settings
from poller.core.outcomes import DEAD_LETTER_REASONS
from poller.core.text.plain_text import visible

_MOST = 1000
"""The most values that a shell is offered."""
_WORD = re.compile(r"[\w.:@%+=,/-]+", re.ASCII)
"""The text that no shell splits or expands. Other values are not offered."""

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]


def _completing(values: Callable[[str], Iterator[tuple[str, str]]]) -> Complete:
    """Return a completion from the values, and what a shell shows beside each.

    `values` takes the ledger's URL. A completion that fails offers nothing, because a message would
    appear in the middle of what a person types. It reads the ledger as the command would, and
    changes nothing.
    """

    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        del parameter
        try:
            url = read_settings(context.params.get("config"), secrets=False).state.url
            fitting = (
                CompletionItem(value, help=visible(help_))
                for value, help_ in values(url)
                if value.startswith(incomplete) and _WORD.fullmatch(value)
            )
            return [*islice(fitting, _MOST)]
        except Exception:  # noqa: BLE001 - the command itself explains it when it is called
            return []

    return complete


def _dead_letters(url: str) -> Iterator[tuple[str, str]]:
    with closing(DeadLetterStore.open(url)) as store:
        for page in store.pages():
            for letter in page:
                yield letter.log_id, letter.reason


def _reasons(url: str) -> Iterator[tuple[str, str]]:
    with closing(DeadLetterStore.open(url)) as store:
        numbers = store.reasons()
    for reason in sorted(DEAD_LETTER_REASONS | numbers.keys()):
        yield reason, f"{numbers.get(reason, 0):,}"


def _source_names(url: str) -> Iterator[tuple[str, str]]:
    with closing(LedgerReader.open(url)) as reader:
        streams = reader.streams()
    for stream in streams:
        yield stream.source_name, stream.domain


complete_dead_letters = _completing(_dead_letters)

reason_option = click.option(
    "--reason", help="All dead letters with this reason.", shell_complete=_completing(_reasons)
)
dead_letter_argument = click.argument("log_id", metavar="ID", shell_complete=complete_dead_letters)
dead_letters_argument = click.argument(
    "log_ids", metavar="[ID]...", nargs=-1, shell_complete=complete_dead_letters
)


def source_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --source-name to a command that works on one stream of the ledger."""
    return click.option(
        "--source-name",
        help="The name of the Segment source, if the ledger holds several.",
        shell_complete=_completing(_source_names),
    )(function)
