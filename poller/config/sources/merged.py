"""The merged sources of settings, and the place of each value in them."""

from dataclasses import dataclass
from pathlib import Path

from poller.config.catalogue import SETTINGS, Setting
from poller.config.errors import Place, Problem, Rank
from poller.config.sources.layers import Layer, credentials_folder, files_of
from poller.config.sources.routes import own_table, settings_of_route
from poller.config.sources.toml import TomlFile

BY_KEY = {(setting.section, setting.key): setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class MergedSources:
    """The values of all sources, and the settings file if there is one."""

    layer: Layer
    file: TomlFile | None

    def file_of(self, place: Place | None) -> TomlFile | None:
        """Return the file that holds this place, if a file does."""
        files = files_of(self.file) if place and place.rank is Rank.FILE else ()
        return next((each for each in files if place and str(each.path) == place.source), None)

    def place_of(self, name: str) -> Place | None:
        """Return the place of a setting, or None if it is not set."""
        section, key = name.split(".")
        return self.layer.places.get((section, key))

    def place(self, section: str, key: str, *path: str) -> Place:
        """Return the place of the value that counts, or the place where a missing one belongs.

        `path` leads to a value inside a table.
        """
        place = self.layer.places.get((section, key))
        file = self.file_of(place)
        if path and file:
            return file.place(section, key, *path)
        if place:
            return place
        route = own_table(self.file)
        if route and self._own(section, key):
            return route.place(key)
        if self.file:
            return self.file.place(section, key)
        return Place(rank=Rank.ENVIRONMENT, source=BY_KEY[section, key].variable)

    def ways(self, name: str) -> str:
        """Return all ways to set a secret."""
        section, key = name.split(".")
        secret: Setting = self._own(section, key) or BY_KEY[section, key]
        folder = credentials_folder(self.file.path, {}) if self.file else "NAME.credentials"
        return (
            f"{secret.key} or {secret.key}_file under {secret.place}, {secret.variable} or "
            f"{secret.variable}_FILE, or a file {secret.credential} in $CREDENTIALS_DIRECTORY or "
            f"in {folder}"
        )

    def _own(self, section: str, key: str) -> Setting | None:
        """Return the setting that the route has for itself, or None."""
        own = settings_of_route(self.file.route) if self.file and self.file.route else ()
        return next((each for each in own if (each.section, each.key) == (section, key)), None)


def closed_problem(folder: Path) -> Problem:
    """Return the one problem that stands for every secret which may be in a closed folder."""
    owner = folder.stat().st_uid
    ways = "root" if owner == 0 else f"root, or as user {owner}, who owns it"
    wrong = (
        "is closed to you, and the secrets that are not set elsewhere may be in it: run the "
        f"command as {ways}"
    )
    return Problem(place=Place(rank=Rank.CREDENTIAL, source=str(folder)), wrong=wrong)
