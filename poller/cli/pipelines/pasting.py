"""Commands in texts, completed so that they can be pasted for one pipeline of several."""

import re
import shlex
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from poller.cli import COMMANDS
from poller.cli.groups import NAME

_OF_PROCESS = {"init", "run", "worker", "demo"}
"""The commands that are not for one pipeline of several."""
_COMMAND = re.compile(f"`({'|'.join(sorted(COMMANDS.keys() - _OF_PROCESS))})((?: [^`]*)?)`")
_TEXTS = ("reason", "hint", "note")


def options_of(folder: Path, name: str) -> str:
    """Return the options by which a command finds a pipeline."""
    return f"{options_of_all(folder)} --pipeline {name}"


def options_of_all(folder: Path) -> str:
    """Return the options by which a command finds all pipelines."""
    return f" --config {shlex.quote(str(folder))}"


def completed(text: str, options: str) -> str:
    """Return the text with these options behind each command in it."""
    return _COMMAND.sub(lambda found: f"`{NAME} {found[1]}{found[2]}{options}`", text)


class CompletedCommands:
    """A step of the log, which completes the commands in the lines that belong to a pipeline."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(
        self, _logger: Any, _method: str, line: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        name = line.get("pipeline")
        for key in _TEXTS if name else ():
            if isinstance(line.get(key), str):
                line[key] = completed(line[key], options_of(self._folder, str(name)))
        return line
