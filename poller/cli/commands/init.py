"""The command `init`: ask for what the program needs, write the settings, and prove them."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from poller.cli.groups import NAME, examples
from poller.cli.options import yes_option
from poller.cli.setup.files import (
    BY_KEY,
    EXAMPLE,
    NewFile,
    environment_without_settings,
    refuse_unfit,
    settings_files,
    shared_file,
    write_files,
)
from poller.cli.setup.questions import QUESTIONS, answers, environment_values, known_values
from poller.cli.setup.service import missing_units, service_settings, systemctl, unit_of
from poller.cli.views.confirmation import confirm, is_agreed, refuse_without_terminal
from poller.cli.views.output import say
from poller.cli.views.wording import laid_out
from poller.config import read_toml
from poller.config.sources.layers import Key
from poller.config.sources.paths import CONFIG_VARIABLE, LOCAL_FILE
from poller.config.sources.secret_files import read_text
from poller.service.lifecycle.exit_codes import ExitCode

_START = "Start the service now, and at each boot?"


@click.command(
    epilog=examples(
        "init",
        "init acme.toml --domain acme.us.auth0.com --region eu",
        "init --systemd",
    ),
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--domain", help="The tenant's own host name.")
@click.option("--client-id", help="The client id of the Machine to Machine application.")
@click.option(
    "--client-secret-file",
    type=click.Path(path_type=Path),
    help="A file that holds the client secret, such as /dev/stdin.",
)
@click.option(
    "--write-key-file",
    type=click.Path(path_type=Path),
    help="A file that holds the write key of the Segment source.",
)
@click.option("--region", help="The region of the Segment workspace, us or eu, or an origin.")
@click.option(
    "--systemd",
    is_flag=True,
    help="Set up the service too, as root. FILE is then a name, such as acme, and its settings are "
    "/etc/auth0-segment-poller/acme.toml.",
)
@yes_option
def init(file: Path | None, *, systemd: bool, yes: bool, **given: str | Path | None) -> int:
    """Write the settings file FILE and its secrets, and check them. Sends nothing.

    FILE is config.toml without an argument. Values that no option names are taken from the
    environment (POLLER_<SECTION>__<KEY>), or asked for. A secret is never the value of an option,
    because every user of the machine can read that. Each secret goes to a file of its own, beside
    FILE. Everything else in a FILE that is there stays.
    """
    path = service_settings(file) if systemd else _settings_path(file)
    if systemd:
        refuse_without_terminal(_START, is_answered=yes)
    refuse_unfit(path, is_folder_made=systemd)
    units = missing_units() if systemd else []
    present = _present(path)
    changed = [each.path for each in units]
    if present not in {None, shared_file(EXAMPLE).read_text(encoding="utf-8")}:
        changed.append(path)
    try:
        _confirm_changes(changed, is_answered=yes)
        values = answers(given, environment_values(), known_values(path, present))
    except click.Abort:
        say("", "Nothing was written.", is_error=True)
        if present is not None:
            _show_what_stays(path, is_service=systemd)
        raise
    if systemd:
        _refuse_other_secrets(values)
    files = settings_files(path, values, present, mode=_mode(path, is_service=systemd))
    _write([*files, *units])
    if systemd:
        return _set_up_service(path, is_answered=yes)
    code = _check(path)
    _show_next(path, code)
    return code


def _mode(path: Path, *, is_service: bool) -> int:
    """Return the mode of the settings file. The user of a service reads it, and no secret."""
    if is_service:
        return 0o644
    return path.stat().st_mode & 0o777 if path.exists() else 0o600


def _settings_path(file: Path | None) -> Path:
    return file or Path(os.environ.get(CONFIG_VARIABLE) or LOCAL_FILE)


def _refuse_other_secrets(values: Mapping[Key, str]) -> None:
    asked = {question.key for question in QUESTIONS}
    others = [BY_KEY[key].name for key in values if BY_KEY[key].is_secret and key not in asked]
    if others:
        raise click.UsageError(
            f"the units have no line for {', '.join(others)}: unset it for init, and give it to "
            "the service in a drop-in, as the guide Install says"
        )


def _present(path: Path) -> str | None:
    """Return the text of the settings file, or None if there is none.

    Raises:
        SettingsError: the file cannot be read, or is not TOML.
    """
    if not path.exists():
        return None
    read_toml(path)
    return read_text(path)


def _confirm_changes(paths: list[Path], *, is_answered: bool) -> None:
    there = [str(path) for path in paths if path.exists()]
    if there:
        say(f"There already: {', '.join(there)}", is_error=True)
        confirm("Change it?" if len(there) == 1 else "Change them?", is_answered=is_answered)


def _write(files: list[NewFile]) -> None:
    say("")
    for each in files:
        say(*laid_out("Write ", f"{each.path} (mode {each.mode:04o})"))
    write_files(files)


def _check(path: Path) -> int:
    """Run `check` on the file alone, in a process of its own: root gives up its rights there."""
    say("", f"Check {path}")
    sys.stdout.flush()
    # With -P, Python takes no module from the folder in which the command was typed.
    command = [sys.executable, "-P", "-m", "poller", "check", "--config", str(path)]
    environ = environment_without_settings()
    return subprocess.run(command, env=environ, check=False).returncode  # noqa: S603 - our own


def _show_what_stays(path: Path, *, is_service: bool) -> None:
    name = f"--systemd {path.stem}" if is_service else shlex.quote(str(path))
    say("The files that are there stay as they are. Next:", is_error=True)
    _say_steps(
        f"`{NAME} check{_option(path)}` looks at them",
        f"`{NAME} init {name}` asks again. After y, Enter keeps an answer",
        is_error=True,
    )


def _show_next(path: Path, code: int) -> None:
    option = _option(path)
    if code not in {ExitCode.DONE, ExitCode.ATTENTION}:
        say("", "The files are written. Next:")
        again = (
            f"`{NAME} init {shlex.quote(str(path))}` asks again, and keeps what you do not change"
        )
        _say_steps(again, f"`{NAME} check{option}` looks again")
        return
    say("", "Next:")
    _say_steps(
        f"`{NAME} preview --last 5{option}` shows the newest events and their calls",
        f"`{NAME} run{option}` sends what happens from now on",
        f"`{NAME} init --systemd`, as root, sets up a service on a server",
    )


def _option(path: Path) -> str:
    """Return the option that names the settings file, or "" if no option is needed here."""
    return "" if path == _settings_path(None) else f" --config {shlex.quote(str(path))}"


def _say_steps(*steps: str, is_error: bool = False) -> None:
    for number, step in enumerate(steps, 1):
        say(*laid_out(f"  {number}. ", step), is_error=is_error)


def _set_up_service(path: Path, *, is_answered: bool) -> int:
    unit = unit_of(path)
    if not systemctl("daemon-reload"):
        return ExitCode.CONFIG
    code = _check(path)
    if code not in {ExitCode.DONE, ExitCode.ATTENTION}:
        say("", "The service stays as it is. Next:")
        _say_steps(f"`{NAME} init --systemd {path.stem}` asks again, and then starts the service")
        return code
    if not is_agreed(f"\n{_START}", is_answered=is_answered):
        say(f"Next: `systemctl enable --now {unit}` starts it.")
        return code
    # A service that runs already reads its settings at a start only.
    if not (systemctl("enable", unit) and systemctl("restart", unit)):
        return ExitCode.CONFIG
    say("", "Next:")
    _say_steps(
        f"`systemctl status {unit}` shows the service",
        f"`{NAME} status --config {path}` says how far it got",
    )
    return code
