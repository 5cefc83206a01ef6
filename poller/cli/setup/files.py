"""The files that `init` writes: settings made from the example, and secrets beside them.

Root writes only where no other user could put a link. All files are written, or none.
"""

import json
import os
import re
import signal
import stat
import sysconfig
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from secrets import token_hex

import click

import poller
from poller.config import SETTINGS, Setting, TomlFile, load_settings
from poller.config.parsers.texts import PLACEHOLDER
from poller.config.sources.layers import CREDENTIALS_VARIABLE, Key
from poller.config.sources.toml import key_lines
from poller.core.text.plain_text import visible
from poller.service.lifecycle.privileges import way_to

BY_KEY = {(each.section, each.key): each for each in SETTINGS if each.secret_key is None}
"""The settings that hold a value themselves."""
EXAMPLE = "config.example.toml"
_PROGRAM = "auth0-segment-poller"
_ROOT = 0
_PRIVATE = 0o700
_BLANKS = r"[ \t]*"
_UNTIL_WRITTEN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that wait until all files are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A file to write. Its folder is made with `folder_mode`, and a private one gets it again."""

    path: Path
    content: str = field(repr=False)
    mode: int = 0o600
    folder_mode: int = _PRIVATE


def shared_file(name: str) -> Path:
    """Return a file that is installed beside the program, or that lies in the clone.

    Raises:
        click.UsageError: the installation has no such file.
    """
    user = sysconfig.get_path("data", f"{os.name}_user")
    folders = [Path(base) / "share" / _PROGRAM for base in (sysconfig.get_path("data"), user)]
    folders.insert(0, Path(poller.__file__).parents[1])
    for folder in folders:
        if (folder / EXAMPLE).is_file() and (folder / name).exists():
            return folder / name
    raise click.UsageError(f"the installation lacks {name}: install {_PROGRAM} again")


def credential(path: Path, setting: Setting) -> Path:
    """Return the file that holds a secret for this settings file."""
    return path.with_suffix(".credentials") / setting.credential


def settings_files(
    path: Path, values: Mapping[Key, str], present: str | None, *, mode: int
) -> list[NewFile]:
    """Return the settings file and the files of secrets, and prove that the settings are valid.

    `present` is the text of the settings file that is there. Everything else in it stays.

    Raises:
        SettingsError: the settings cannot be used.
        click.UsageError: the form of the present file keeps a value from being set.
    """
    text = shared_file(EXAMPLE).read_text(encoding="utf-8") if present is None else present
    secrets = {key: value for key, value in values.items() if BY_KEY[key].is_secret}
    for secret in secrets:
        text = _without_secret(text, path, BY_KEY[secret])
    if ("auth0", "private_key") in secrets:
        text = _without_secret(text, path, BY_KEY["auth0", "client_secret"])
    for (section, key), value in values.items():
        if (section, key) not in secrets:
            line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
            text = _with_line(text, section, key, line)
    _prove(path, text, values, secrets)
    written = [
        NewFile(path=credential(path, BY_KEY[key]), content=f"{value}\n")
        for key, value in secrets.items()
    ]
    # The folder of the settings holds the folder of the secrets, so it is made first.
    return [NewFile(path=path, content=text, mode=mode, folder_mode=0o755), *written]


def environment_without_settings() -> dict[str, str]:
    """Return the environment of a process that has its settings from the file alone."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("POLLER_") and name != CREDENTIALS_VARIABLE
    }


def _prove(path: Path, text: str, values: Mapping[Key, str], secrets: Mapping[Key, str]) -> None:
    try:
        file = TomlFile(path=path, tables=tomllib.loads(text), lines=key_lines(text))
    except ValueError:
        raise _unfit(path) from None
    for (section, key), value in values.items():
        table = file.tables.get(section, {})
        if (section, key) in secrets:
            is_set = key not in table and f"{key}_file" not in table
        else:
            is_set = table.get(key) == value
        if not is_set:
            raise _unfit(path)
    given = {BY_KEY[key].variable: value for key, value in secrets.items()}
    load_settings(file, environment_without_settings() | given)


def _unfit(path: Path) -> click.UsageError:
    return click.UsageError(f"{_shown(path)} has a form that init cannot change: edit it by hand")


def _with_line(text: str, section: str, key: str, line: str) -> str:
    """Return the text with this line in place of the key's line, or below the section's header."""
    header = re.search(rf"^{_BLANKS}\[{_BLANKS}{section}{_BLANKS}\].*\n?", text, re.MULTILINE)
    if header is None:
        return f"{text.rstrip()}\n\n[{section}]\n{line}\n"
    after = text[header.end() :]
    end = re.search(rf"^{_BLANKS}\[", after, re.MULTILINE)
    body = after[: end.start()] if end else after
    for comment in ("", f"#{_BLANKS}"):
        changed, count = re.subn(
            rf"^{_BLANKS}{comment}{key}{_BLANKS}=.*$",
            lambda _: line,
            body,
            count=1,
            flags=re.MULTILINE,
        )
        if count:
            break
    else:
        changed = f"{line}\n{body}"
    return f"{text[: header.end()].rstrip()}\n{changed}{after[len(body) :]}"


def _without_secret(text: str, path: Path, secret: Setting) -> str:
    """Return the text with the secret's lines commented out, and with its place."""
    place = credential(path, secret).relative_to(path.parent)
    for key in (secret.key, f"{secret.key}_file"):
        if re.search(rf"^{_BLANKS}{key}{_BLANKS}=", text, re.MULTILINE):
            line = f'# The value is in {place}.\n# {key} = "{PLACEHOLDER}"'
            text = _with_line(text, secret.section, key, line)
    return text


def refuse_unfit(path: Path, *, is_folder_made: bool) -> None:
    """Refuse a settings file that cannot or must not be written, before any question is asked.

    With `is_folder_made`, its folder may be missing.

    Raises:
        click.UsageError: the folder is missing, closed, or open to other users while root writes,
            or something other than a regular file stands in the way.
    """
    if path.suffix != ".toml":
        raise click.UsageError(f"the name of the settings file must end with .toml: {_shown(path)}")
    folder = path.with_suffix(".credentials")
    try:
        if not is_folder_made and not path.parent.is_dir():
            raise click.UsageError(f"there is no folder {_shown(path.parent)}: make it first")
        for each in (path.parent, folder):
            if os.path.lexists(each):
                _refuse_closed(each)
            _refuse_folders_of_others(each / "any")
        _refuse_kind(folder, stat.S_ISDIR, "a folder")
        for each in (path, *(credential(path, each) for each in SETTINGS if each.is_secret)):
            _refuse_kind(each, stat.S_ISREG, "a regular file")
    except OSError as error:
        raise _unusable(path, error) from None


def _refuse_closed(folder: Path) -> None:
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        raise click.UsageError(f"you may not write to {_shown(folder)}: name another FILE")


def _refuse_kind(path: Path, is_fit: Callable[[int], bool], kind: str) -> None:
    with suppress(FileNotFoundError):
        if not is_fit(path.lstat().st_mode):
            raise click.UsageError(
                f"{_shown(path)} is there and is not {kind} (init follows no link): move it away"
            )


def _unusable(path: Path, error: OSError) -> click.UsageError:
    return click.UsageError(f"cannot write {_shown(path)}: {error.strerror}")


def _refuse_folders_of_others(file: Path) -> None:
    """Let root refuse a way on which another user could put a link between two steps."""
    if os.geteuid() != _ROOT:
        return
    components = way_to(file)
    for each in components:
        is_open = each.is_open_to_others and (each is components[-1] or not each.is_sticky)
        if each.status.st_uid != _ROOT or is_open:
            raise click.UsageError(
                f"root writes no secret below {_shown(each.path)}, where other users can put links:"
                " run init as the user who owns it, or name a FILE in a folder of root's"
            )


def write_files(files: Sequence[NewFile]) -> None:
    """Write all files, or leave everything as it was. A signal waits until the end.

    A file is made under another name and then takes its place, so no link is followed.

    Raises:
        click.UsageError: a file cannot be written.
    """
    with _signals_waiting(), ExitStack() as undo:
        try:
            staged = [(_stage(each, undo), each.path) for each in files]
            for new, path in staged:
                new.replace(path)
        except OSError as error:
            raise _unusable(Path(error.filename or files[-1].path), error) from None
        undo.pop_all()


def _stage(file: NewFile, undo: ExitStack) -> Path:
    """Write the content under another name in the file's folder, and return that name."""
    folder = file.path.parent
    is_new = not folder.exists()
    if is_new:
        folder.mkdir()
        undo.callback(folder.rmdir)
    if is_new or file.folder_mode == _PRIVATE:
        folder.chmod(file.folder_mode)
    new = folder / f".{file.path.name}.{token_hex(4)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(new, flags, 0o600)
    undo.callback(partial(new.unlink, missing_ok=True))
    with open(descriptor, "wb") as stream:  # noqa: PTH123 - a descriptor
        stream.write(file.content.encode())
        os.fchmod(descriptor, file.mode)
        stream.flush()
        os.fsync(descriptor)
    return new


@contextmanager
def _signals_waiting() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _UNTIL_WRITTEN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _shown(path: Path) -> str:
    return visible(str(path))
