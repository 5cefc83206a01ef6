"""The question before a command sends or deletes something.

There is one rule for all commands: on a terminal they ask, and without a terminal they need --yes.
Only `run` never asks, because sending is all that it does.
"""

import sys

import click

from poller.cli.views.output import is_terminal


def confirm(question: str, *, is_answered: bool) -> None:
    """Ask on the terminal, and end the command if the answer is no.

    `is_answered` is the option --yes. The question goes to stderr, and stdout holds the report.

    Raises:
        click.UsageError: stdin is not a terminal, so no person can answer.
        click.Abort: the answer is no.
    """
    if not is_agreed(question, is_answered=is_answered):
        raise click.Abort


def is_agreed(question: str, *, is_answered: bool) -> bool:
    """Ask on the terminal, and return the answer. An empty answer is a no.

    Raises:
        click.UsageError: stdin is not a terminal, so no person can answer.
        click.Abort: the person went away.
    """
    if is_answered:
        return True
    if not is_terminal(sys.stdin):
        raise click.UsageError(f'no terminal to ask "{question}": add --yes')
    return click.confirm(question, err=True)


def refuse_without_terminal(question: str, *, is_answered: bool) -> None:
    """End a command that will ask, before it begins with work that takes long.

    Raises:
        click.UsageError: stdin is not a terminal, so that nobody can answer.
    """
    if not is_answered and not is_terminal(sys.stdin):
        confirm(question, is_answered=False)
