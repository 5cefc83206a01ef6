"""The question before a step that cannot be undone."""

import sys

import click

from poller.cli.views.output import is_terminal


def confirm(question: str, *, is_answered: bool) -> None:
    """Ask on the terminal, and end the command if the answer is no.

    `is_answered` is the option --yes.

    Raises:
        click.UsageError: stdin is not a terminal, so that nobody can answer.
        click.Abort: the answer is no.
    """
    if is_answered:
        return
    if not is_terminal(sys.stdin):
        raise click.UsageError(f'no terminal to ask "{question}": add --yes')
    click.confirm(question, abort=True)
