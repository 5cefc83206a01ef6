"""The question before a step that cannot be taken back."""

import sys

import click

from poller.cli.views.output import is_terminal


def confirm(question: str, *, is_answered: bool) -> None:
    """Ask on the terminal, and end the command if the answer is no. `is_answered` is the option --yes.

    Raises:
        click.UsageError: nobody sits there to answer.
        click.Abort: the answer is no.
    """
    if is_answered:
        return
    if not is_terminal(sys.stdin):
        raise click.UsageError(f'nobody is here to answer "{question}": add --yes')
    click.confirm(question, abort=True)
