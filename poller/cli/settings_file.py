"""The settings file of a command, or the folder of settings files."""

import os
import sys
from functools import cached_property
from pathlib import Path

import click

from poller.cli.views.output import is_terminal, say
from poller.cli.views.wording import laid_out
from poller.config import (
    SettingsError,
    TomlFile,
    find_settings_file,
    pipeline_names,
    read_pipeline,
    read_toml,
)
from poller.config.sources.folder import DEFAULTS
from poller.config.sources.paths import hidden_file

PIPELINE = "poller.pipeline"
"""The key of the option --pipeline among the notes of click's context."""
_MOST_NAMES = 10


def chosen_pipeline() -> str | None:
    """Return the pipeline that the command line names."""
    context = click.get_current_context(silent=True)
    return context.meta.get(PIPELINE) if context else None


class SettingsFile:
    """The settings file of a command. It is read once, because it may be a pipe: `<(…)`.

    It may also be a folder of them. Then `pipeline` names the file, by default the option does.
    """

    def __init__(self, config: Path | None, pipeline: str | None = None) -> None:
        self._config = config
        self._pipeline = pipeline or chosen_pipeline()
        self._problem: SettingsError | None = None

    @cached_property
    def _path(self) -> Path | None:
        hidden = hidden_file(self._config, os.environ)
        if hidden and is_terminal(sys.stderr):
            text = f"This command reads config.toml of this folder, and not {hidden}. "
            text += "--config names another."
            say(*laid_out("", text), is_error=True, fg="yellow")
        return find_settings_file(self._config, os.environ)

    @cached_property
    def folder(self) -> Path | None:
        """The folder of settings files, or None for a file alone.

        A file beside the defaults of a folder is a pipeline of the folder.
        """
        path = self._path
        return path if path and path.is_dir() else None

    @property
    def pipelines(self) -> tuple[str, ...] | None:
        """The pipelines of a folder if the command line names none of them, or else None.

        Raises:
            SettingsError: the folder cannot be read, or holds no pipeline.
        """
        if self.folder is None or self._pipeline:
            return None
        return pipeline_names(self.folder)

    @cached_property
    def content(self) -> TomlFile | None:
        """The file, or None if there is none.

        Raises:
            SettingsError: the file cannot be read. A second reading raises the same error.
            UsageError: the folder holds several files.
        """
        if self._problem is not None:
            raise self._problem
        try:
            return self._read()
        except SettingsError as error:
            self._problem = error
            raise

    def _read(self) -> TomlFile | None:
        path = self._path
        if self.folder is None:
            if self._pipeline:
                raise click.UsageError("--pipeline needs a folder: name it with --config FOLDER")
            if path and path.name != DEFAULTS and (path.parent / DEFAULTS).exists():
                return read_pipeline(path.parent, path.stem)
            return read_toml(path) if path else None
        if self._pipeline:
            return read_pipeline(self.folder, self._pipeline)
        names = pipeline_names(self.folder)
        if len(names) > 1:
            known = f"{', '.join(names[:_MOST_NAMES])}{', ...' if len(names) > _MOST_NAMES else ''}"
            raise click.UsageError(
                f"{self.folder} holds {len(names)} pipelines: name one with --pipeline ({known})"
            )
        return read_pipeline(self.folder, names[0])
