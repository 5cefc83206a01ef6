"""The commands; the only place that wires the parts together."""

import errno
import os
import sys
from importlib import import_module
from io import StringIO

import click

from poller import __version__
from poller.cli.groups import NAME, Suggesting, examples
from poller.cli.views.output import prepare_streams, say
from poller.core.errors import FatalError, TransientError
from poller.service.lifecycle.exit_codes import ExitCode

COMMANDS = {
    "run": "Forward logins and signups, as a daemon or once.",
    "backfill": "Send a range of the past that was not sent yet.",
    "check": "Prove settings, credentials, ledger and services.",
    "preview": "Show what would be sent, and send nothing.",
    "status": "Show how far it got, and what needs attention.",
    "verify": "Compare what was settled with Auth0's own counts.",
    "dead-letters": "Look at what could not be sent, send it again, or give it up.",
    "ledger": "Look at the durable record, or move the position.",
    "demo": "See it work against a simulated tenant.",
}
"""Each command's line of help; its module is of the same name, and is imported when it is called."""


class Commands(Suggesting):
    """Imports a command when it is called: all of them together take longer than most take to do their work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"poller.cli.commands.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
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
    """Gets logins and signups out of Auth0 and into Segment: nothing lost, nothing twice.

    Settings are read from --config, $POLLER_CONFIG, ./config.toml or /etc/auth0-segment-poller/config.toml,
    the first that exists; every one can be given as POLLER_<SECTION>__<KEY> too.

    Exit codes: 0 done; 1 a bug; 2 usage; 3 done, but needs attention; 69 no daemon runs (status --strict); 75 a service
    could not be reached, or the ledger is held by another process; 78 settings, credentials or an unusable ledger; 130
    interrupted.
    """


def run_command() -> int:
    """Runs the command line; returns the exit code, having said on stderr what is wrong and what to do."""
    prepare_streams()
    try:
        code = int(program.main(prog_name=NAME, standalone_mode=False) or 0)
        sys.stdout.flush()  # here, where an error of it is told
    except SystemExit:  # click's own end of a completion, and its answer to a reader that is gone
        return ExitCode.DONE
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as usage:
        return _misused(usage)
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - said below, by what it is
        return _explain(error)
    return code


def _explain(error: Exception) -> ExitCode:
    code, lines = _explained(error)
    return _fail(code, *lines)


def _explained(error: Exception) -> tuple[ExitCode, list[str]]:
    """The exit code, and what is wrong and what to do, a line each."""
    # Here: whoever failed by one of them has imported it.
    from poller.adapters.sql_ledger import LedgerHeldError  # noqa: PLC0415 - same
    from poller.config import SettingsError  # noqa: PLC0415 - same

    match error:
        case SettingsError():
            problems = [f"  {problem}" for problem in error.problems]
            said: tuple[ExitCode, list[str]] = (
                ExitCode.CONFIG,
                [f"error[{error.code}]: the settings cannot be used", *problems],
            )
        case FatalError():
            said = (ExitCode.CONFIG, [f"error[{error.code}]: {error}", f"  {error.hint}"])
        case LedgerHeldError():
            said = (
                ExitCode.UNREACHABLE,
                [f"error: {error}", "  stop that process first, or let it do the work"],
            )
        case TransientError():
            said = (
                ExitCode.UNREACHABLE,
                [f"error: {error}", "  nothing is lost; `check` says what is not well"],
            )
        case BrokenPipeError():
            os.dup2(
                os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
            )  # nothing can be flushed into it any more
            said = (ExitCode.DONE, [])
        case OSError(errno=errno.ENOSPC | errno.EIO):
            said = (
                ExitCode.UNREACHABLE,
                [f"error: the output cannot be written: {error.strerror}"],
            )
        case _:
            said = _bug(error)
    return said


def _misused(usage: click.ClickException) -> ExitCode:
    if _journal_prefix():
        return _fail(ExitCode.USAGE, f"error: {usage.format_message()}")
    told = StringIO()
    usage.show(told)
    return _fail(ExitCode.USAGE, *told.getvalue().rstrip("\n").split("\n"))


def _fail(code: ExitCode, *lines: str) -> ExitCode:
    prefix = _journal_prefix()
    say(*(f"{prefix}{line}" for line in lines), is_error=True)
    return code


def _journal_prefix() -> str:
    """Return what makes a line an error in systemd's journal; nothing anywhere else."""
    if "JOURNAL_STREAM" not in os.environ:
        return ""
    from poller.service.observability.logging_setup import is_the_journal, priority  # noqa: PLC0415 - only here

    return priority("error") if is_the_journal(sys.stderr, os.environ) else ""


def _bug(error: Exception) -> tuple[ExitCode, list[str]]:
    from poller.service.observability.logging_setup import describe_bug  # noqa: PLC0415 - only here

    facts = describe_bug(error)
    told = (
        f"bug: {facts['error']}; nothing is lost, the ledger stands where it stood. "
        "Please report it with these lines:"
    )
    return ExitCode.BUG, [told, *(f"  {frame}" for frame in facts["at"])]
