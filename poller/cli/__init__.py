"""The commands; the only place that wires the parts together."""

import errno
import os
import sys
from importlib.metadata import version

import click

from poller.adapters.sql_ledger import LedgerHeldError
from poller.cli.backfill import backfill
from poller.cli.check import check
from poller.cli.dead_letters import dead_letters
from poller.cli.demo import demo
from poller.cli.ledger import ledger
from poller.cli.preview import preview
from poller.cli.run import run
from poller.cli.status import status
from poller.cli.verify import verify
from poller.config import SettingsError
from poller.core.errors import FatalError, TransientError
from poller.service.process import Exit
from poller.service.telemetry import describe_bug

NAME = "auth0-segment-poller"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version(NAME), prog_name=NAME)
def commands() -> None:
    """Gets logins and signups out of Auth0 and into Segment: nothing lost, nothing twice.

    Settings are read from --config, $POLLER_CONFIG, ./config.toml or /etc/auth0-segment-poller/config.toml,
    the first that exists; every one can be given as POLLER_<SECTION>__<KEY> too.

    Exit codes: 0 done; 1 a bug; 2 usage; 3 done, but needs attention; 75 a service could not be reached, or the ledger
    is held by another process; 78 settings, credentials or an unusable ledger; 130 interrupted.
    """


for command in (run, backfill, check, preview, status, verify, dead_letters, ledger, demo):
    commands.add_command(command)


def run_command() -> int:
    """Runs the command line; returns the exit code, having said on stderr what is wrong and what to do."""
    try:
        code = int(commands.main(prog_name=NAME, standalone_mode=False) or 0)
        sys.stdout.flush()  # here, where an error of it is told
    except SystemExit:  # click's own end of a completion, and its answer to a reader that is gone
        return Exit.DONE
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as usage:
        usage.show()
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - said below, by what it is
        return _explain(error)
    return code


def _explain(error: Exception) -> Exit:
    code, lines = _explained(error)
    return _fail(code, *lines)


def _explained(error: Exception) -> tuple[Exit, list[str]]:
    """The exit code, and what is wrong and what to do, a line each."""
    match error:
        case SettingsError():
            said: tuple[Exit, list[str]] = (Exit.CONFIG, [*error.problems])
        case FatalError():
            said = (Exit.CONFIG, [f"error: {error}", f"  {error.hint}"])
        case LedgerHeldError():
            said = (Exit.UNREACHABLE, [f"error: {error}", "  stop that process first, or let it do the work"])
        case TransientError():
            said = (Exit.UNREACHABLE, [f"error: {error}", "  nothing is lost; `check` says what is not well"])
        case BrokenPipeError():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing can be flushed into it any more
            said = (Exit.DONE, [])
        case OSError(errno=errno.ENOSPC | errno.EIO):
            said = (Exit.UNREACHABLE, [f"error: the output cannot be written: {error.strerror}"])
        case _:
            said = _bug(error)
    return said


def _fail(code: Exit, *lines: str) -> Exit:
    for line in lines:
        click.echo(line, err=True)
    return code


def _bug(error: Exception) -> tuple[Exit, list[str]]:
    facts = describe_bug(error)
    told = (
        f"bug: {facts['error']}; nothing is lost, the ledger stands where it stood. Please report it with these lines:"
    )
    return Exit.BUG, [told, *(f"  {frame}" for frame in facts["at"])]
