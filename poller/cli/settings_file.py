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
    choose_route,
    find_settings_file,
    holds_pipelines,
    pipeline_names,
    read_file,
    read_pipeline,
)
from poller.config.sources.paths import hidden_file
from poller.config.sources.routes import ROUTES

PIPELINE = "poller.pipeline"
"""The key of the option --pipeline among the notes of click's context."""
_MOST_NAMES = 10


def chosen_pipeline() -> str | None:
    """Return the pipeline that the command line names."""
    context = click.get_current_context(silent=True)
    return context.meta.get(PIPELINE) if context else None


class SettingsFile:
    """The settings file of a command. It is read once, because it may be a pipe: `<(…)`.

    It may also be a folder of them, or a file with routes. Then `pipeline` names the one that is
    meant, by default the option does.
    """

    def __init__(self, config: Path | None, pipeline: str | None = None) -> None:
        self._config = config
        self._pipeline = pipeline or chosen_pipeline()
        self._problem: SettingsError | None = None

    @cached_property
    def path(self) -> Path | None:
        """The path of the file or the folder, or None if there is neither."""
        hidden = hidden_file(self._config, os.environ)
        if hidden and is_terminal(sys.stderr):
            text = f"This command reads config.toml of this folder, and not {hidden}. "
            text += "--config names another."
            say(*laid_out("", text), is_error=True, fg="yellow")
        return find_settings_file(self._config, os.environ)

    @cached_property
    def folder(self) -> Path | None:
        """The folder of settings files, or the file with routes, or None for a file alone.

        A file beside the defaults of a folder is a pipeline of the folder.
        """
        return self.path if self.path and holds_pipelines(self.path) else None

    @property
    def name(self) -> str | None:
        """The pipeline of the folder that is meant, or None for a file alone.

        Raises:
            SettingsError: the folder cannot be read, or holds no pipeline.
            UsageError: there are several pipelines, and none was named.
        """
        if self.folder is None:
            return None
        return self._pipeline or self._only(self.folder)

    @property
    def pipelines(self) -> tuple[str, ...] | None:
        """All pipelines if the command line names none of them, or else None.

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
            UsageError: there are several pipelines, or one was named and there is no choice.
        """
        if self._problem is not None:
            raise self._problem
        try:
            return self._read()
        except SettingsError as error:
            self._problem = error
            raise

    def _read(self) -> TomlFile | None:
        if self.folder is not None:
            return read_pipeline(self.folder, self._pipeline or self._only(self.folder))
        file = read_file(self.path) if self.path else None
        if self._pipeline is None:
            return file
        if file is None or ROUTES not in file.tables:
            raise click.UsageError(
                "--pipeline needs a folder, or a file with routes: name it with --config"
            )
        return choose_route(file, self._pipeline)  # it has a mistake, or comes from a pipe

    def _only(self, folder: Path) -> str:
        """Return the only pipeline.

        Raises:
            UsageError: there are several.
        """
        names = pipeline_names(folder)
        if len(names) > 1:
            known = f"{', '.join(names[:_MOST_NAMES])}{', ...' if len(names) > _MOST_NAMES else ''}"
            raise click.UsageError(
                f"{folder} holds {len(names)} pipelines: name one with --pipeline ({known})"
            )
        return names[0]
