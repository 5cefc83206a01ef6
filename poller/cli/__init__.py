"""The command line: the list of commands, and what happens to an error.

Only this package wires the parts of the program together. A command is imported when it is called:
all of them together take longer to import than most commands take to do their work.
"""

import errno
import gc
import os
import sys
from importlib import import_module
from io import StringIO

import click

from poller import __version__
from poller.cli.groups import NAME, SuggestingGroup, examples
from poller.cli.views.output import ClosedOutputError, mute, prepare_streams, say
from poller.core.errors import FatalError, TakenOverError, TransientError
from poller.service.lifecycle.exit_codes import ExitCode, exit_code_of

COMMANDS = {
    "init": "Write the settings file and its secrets, and check them.",
    "run": "Forward logins and signups, as a daemon or once.",
    "worker": "Forward a share of many pipelines, beside workers on other machines.",
    "backfill": "Send events of the past that were not sent yet.",
    "check": "Check the settings, the credentials, the ledger and both services.",
    "preview": "Show the calls that the newest events become. Sends nothing.",
    "tail": "Show each event as the running daemon settles it.",
    "trace": "Show where one event stands, and its calls. Sends nothing.",
    "status": "Show the state of the ledger, and what needs attention.",
    "page": "Print the link of the live page.",
    "verify": "Compare what was sent with Auth0's own counts.",
    "dead-letters": "Show, replay or discard the events that could not be sent.",
    "ledger": "Show the ledger, move the position, explain a changed key, or remove data.",
    "alerts": "Test the alerts that reach people.",
    "demo": "Show the program at work between two simulated services.",
}
"""The help of each command in one line. The module of a command has the command's name."""


class Commands(SuggestingGroup):
    """The group of all commands. It imports a command when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the help."""
        del ctx
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, and return it."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"poller.cli.commands.{name}"), name)
        gc.freeze()
        gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing one."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("demo", "check --config config.toml", "run"),
)
@click.version_option(__version__, prog_name=NAME)
def program() -> None:
    """Forward logins and signups from Auth0 to Segment, without losing one.

    The settings are in a file: --config, $POLLER_CONFIG, ./config.toml or
    /etc/auth0-segment-poller/config.toml, the first that exists. Every setting may also be an
    environment variable, POLLER_<SECTION>__<KEY>.

    Exit codes: 0 done. 1 a bug. 2 wrong usage. 3 done, but something needs attention. 69 no daemon
    runs (status --strict). 75 a service cannot be reached, the disk is full, or another process
    holds the ledger. 78 the settings, the credentials or the ledger cannot be used. 130
    interrupted.
    """


def run_command() -> int:
    """Run the command line, and return the exit code. Errors are explained on stderr."""
    prepare_streams()
    # Otherwise pydantic reads the metadata of every installed package to look for plugins, which
    # would also see the secrets in the settings.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        code = int(program.main(prog_name=NAME, standalone_mode=False) or 0)
        _flush()
    except SystemExit:  # click ends so after a completion, and when the reader of a pipe is gone.
        return ExitCode.DONE
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        return _explain_usage(error)
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the type decides about the explanation
        return ExitCode.INTERRUPTED if _is_of_interrupt(error) else _explain(error)
    return code


def _is_of_interrupt(error: Exception) -> bool:
    """Return whether an interrupt became this error.

    An interrupt within a wait of `threading` may find a lock that is not held. Python then raises
    "release unlocked lock" in place of the interrupt.
    """
    return isinstance(error, RuntimeError) and isinstance(error.__context__, KeyboardInterrupt)


def _flush() -> None:
    """Write what is left of the output.

    Raises:
        OSError: it cannot be written. The error is explained like any other.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # The reader is gone. Python would flush once more at the end.
        mute(sys.stdout)


def _explain(error: Exception) -> ExitCode:
    """Write the cause and the next step to stderr, and return the exit code."""
    # A process that failed with one of these errors has already imported it.
    from poller.adapters.sql_ledger.errors import LedgerHeldError  # noqa: PLC0415
    from poller.config.errors import SettingsError  # noqa: PLC0415

    match error:
        case SettingsError():
            problems = [f"  {problem}" for problem in error.problems]
            headline = f"error[{error.code}]: the settings cannot be used"
            return _fail(ExitCode.CONFIG, headline, *problems)
        case FatalError() | TakenOverError():
            return _fail(exit_code_of(error), f"error[{error.code}]: {error}", f"  {error.hint}")
        case LedgerHeldError():
            hint = error.hint or "stop that process first, or let it do the work"
            return _fail(ExitCode.UNREACHABLE, f"error: {error}", f"  {hint}")
        case TransientError():
            hint = error.hint or "nothing is lost: `check` shows which service does not answer"
            return _fail(ExitCode.UNREACHABLE, f"error: {error}", f"  {hint}")
        case OSError():
            return _explain_output(error)
        case _:
            return _explain_bug(error)


def _explain_output(error: OSError) -> ExitCode:
    if isinstance(error, ClosedOutputError) or error.errno in {errno.ENOSPC, errno.EIO}:
        if not isinstance(error, ClosedOutputError):
            mute(sys.stdout)
        text = f"error: the output cannot be written: {error.strerror}"
        return _fail(ExitCode.UNREACHABLE, text)
    return _explain_bug(error)


def _explain_bug(error: Exception) -> ExitCode:
    from poller.service.observability.logging_setup import describe_bug  # noqa: PLC0415 - rare

    facts = describe_bug(error)
    headline = (
        f"bug: {facts['error']}. Nothing is lost: the ledger is as it was. "
        "Please report the bug with these lines:"
    )
    return _fail(ExitCode.BUG, headline, *(f"  {frame}" for frame in facts["at"]))


def _explain_usage(error: click.ClickException) -> ExitCode:
    if _journal_prefix():
        return _fail(ExitCode.USAGE, f"error: {error.format_message()}")
    text = StringIO()
    error.show(text)
    return _fail(ExitCode.USAGE, *text.getvalue().rstrip("\n").split("\n"))


def _fail(code: ExitCode, *lines: str) -> ExitCode:
    prefix = _journal_prefix()
    say(*(f"{prefix}{line}" for line in lines), is_error=True)
    return code


def _journal_prefix() -> str:
    """Return the prefix of an error in systemd's journal. Elsewhere it is empty."""
    if "JOURNAL_STREAM" not in os.environ:
        return ""
    from poller.service.observability.logging_setup import (  # noqa: PLC0415 - rare
        is_the_journal,
        priority,
    )

    if is_the_journal(sys.stderr, os.environ):
        return priority("error")
    return ""
