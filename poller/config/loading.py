"""Read the settings of a process, or report every problem with them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from poller.config.catalogue import PREFIX, SETTINGS
from poller.config.errors import (
    BadKeysError,
    BadValueError,
    PlaceholderError,
    Problem,
    Rank,
    SettingsError,
    settings_error,
)
from poller.config.parsers.ledger_urls import is_postgres
from poller.config.settings import Settings
from poller.config.sources.folder import DEFAULTS
from poller.config.sources.layers import (
    closed_folder,
    default_layer,
    merge_layers,
    read_layers,
    stand_in_layer,
)
from poller.config.sources.merged import BY_KEY, MergedSources, closed_problem
from poller.config.sources.paths import CONFIG_VARIABLE, LOCAL_FILE, SYSTEM_FILE
from poller.config.sources.routes import ROUTES, read_routes, routing_of, source_twice
from poller.config.sources.toml import TomlFile, read_toml

OF_THE_PROCESS = {
    *(("log", "level"), ("log", "format"), ("metrics", "listen")),
    *(("page", "listen"), ("page", "show"), ("page", "token")),
}
"""The settings that all pipelines of a process share."""
# pydantic reports this for a default that is computed from a value that is wrong itself.
_CONSEQUENCE = "default_factory_not_called"
_WHERE_TO_PUT_A_FILE = (
    f"name one with --config FILE or {CONFIG_VARIABLE}, "
    f"or put it at ./{LOCAL_FILE} or {SYSTEM_FILE}"
)


def load_settings(
    source: Path | TomlFile | None, environ: Mapping[str, str], *, secrets: bool = True
) -> Settings:
    """Return the settings of a process.

    The environment wins over credentials, and credentials win over the settings file. `source` is
    the path of that file, or the file as it was read, since a pipe can be read only once. Without
    `secrets`, secrets that are missing or cannot be read are None, and nothing else is required.

    Raises:
        SettingsError: the settings cannot be used. The error lists every problem and holds no
            value of any setting.
    """
    file = read_toml(source) if isinstance(source, Path) else source
    settings = _load(file, environ, secrets=secrets)
    if settings.routing is None or not secrets:
        return settings
    return settings.model_copy(update={"sources_of_routes": _sources_of_routes(file, environ)})


def _load(file: TomlFile | None, environ: Mapping[str, str], *, secrets: bool) -> Settings:
    layers = read_layers(file, environ, secrets=secrets)
    if secrets and file is None and not layers[0].values:
        raise SettingsError(
            (f"there is no settings file: make one with `init`, or {_WHERE_TO_PUT_A_FILE}",)
        )
    layers.append(default_layer(file, environ))
    if not secrets:
        layers.append(stand_in_layer())
    sources = _Sources(merge_layers(layers), file)
    problems = [*sources.layer.problems, *sources.misfits()]
    settings, invalid = sources.validate()
    problems += invalid
    if secrets:
        missing = [*sources.missing_secrets(settings)]
        closed = closed_folder(file.path if file else None, environ)
        problems += [closed_problem(closed)] if closed and missing else missing
    if settings is not None:
        problems += sources.contradictions(settings)
    if settings is None or problems:
        # Not inside an except block: a traceback must not lead to an error that holds values.
        raise settings_error(problems)
    return settings


def _sources_of_routes(
    file: TomlFile | None, environ: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Return the source name and the generation of each route of a file.

    A route with a mistake thus stops the other routes too. They would pass over its events, and it
    could not say where it begins.

    Raises:
        SettingsError: the settings of a route cannot be used, or two routes have one source.
    """
    assert file is not None  # noqa: S101 - it has routes
    sources: dict[tuple[str, str], str] = {}
    for route in read_routes(file)[0]:
        segment = _load(replace(file, route=route.name), environ, secrets=True).segment
        other = sources.setdefault((segment.source_name or "", segment.generation), route.name)
        if other != route.name:
            raise settings_error([source_twice(replace(file, route=route.name), other)])
    return tuple(sources)


def load_shared_settings(defaults: TomlFile | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings that the pipelines of a process share. All others are stand-ins.

    Raises:
        SettingsError: the settings cannot be used.
    """
    # The pipelines look at the variables of their routes.
    of_routes = f"{PREFIX}{ROUTES.upper()}__"
    environ = {name: each for name, each in environ.items() if not name.startswith(of_routes)}
    settings = load_settings(defaults, environ, secrets=False)
    layers = merge_layers(read_layers(defaults, environ, secrets=False))
    missing = [*_Sources(layers, defaults).missing_page_token(settings)]
    if missing:
        raise settings_error(missing)
    return settings


class _Sources(MergedSources):
    """The merged sources, and the problems that only show when all of them are known."""

    def validate(self) -> tuple[Settings | None, list[Problem]]:
        """Return the settings, or the problems with their values."""
        tables: dict[str, Any] = {setting.section: {} for setting in SETTINGS}
        for (section, key), value in self.layer.values.items():
            tables[section][key] = value
        try:
            path, pipeline = (self.file.path, self.file.name) if self.file else (None, "")
            routing = routing_of(self.file)
            return Settings(path=path, pipeline=pipeline, routing=routing, **tables), []
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False)
        return None, [
            problem
            for each in errors
            if each["type"] != _CONSEQUENCE
            for problem in self._problems(each)
        ]

    def misfits(self) -> Iterator[Problem]:
        """Yield the problems that show whatever the values are."""
        yield from self.wrong_routes()
        yield from self.rivals()
        yield from self.misplaced()

    def wrong_routes(self) -> Iterator[Problem]:
        """Yield the problems with the routes of the file, or one if none of them was named."""
        if self.file is None:
            return
        for each in (self.file, self.file.defaults):
            if each and each.path.name == DEFAULTS and ROUTES in each.tables:
                wrong = "belongs into the file of a pipeline, since it divides one tenant's events"
                yield Problem(place=each.place(ROUTES), wrong=wrong)
                return
        routes, problems = read_routes(self.file)
        yield from problems
        if routes and not problems and not self.file.route:
            names = ", ".join(replace(self.file, route=each.name).name for each in routes)
            wrong = f"makes the file several pipelines, and not one: {names}"
            yield Problem(place=self.file.place(ROUTES), wrong=wrong)

    def rivals(self) -> Iterator[Problem]:
        """Yield a problem if both credentials of the application are set."""
        secret, key = self.place_of("auth0.client_secret"), self.place_of("auth0.private_key")
        if secret and key:
            wrong = f"is set beside the client secret ({secret}): an application has only one"
            yield Problem(place=key, wrong=wrong)

    def misplaced(self) -> Iterator[Problem]:
        """Yield a problem for each setting of the process in the file of one pipeline."""
        if not (self.file and self.file.pipeline):
            return
        for section, key in OF_THE_PROCESS & self.layer.places.keys():
            place = self.layer.places[section, key]
            if place.rank is Rank.FILE and place.source == str(self.file.path):
                wrong = f"is one setting for all pipelines: move it to {DEFAULTS}"
                yield Problem(place=place, wrong=wrong)

    def missing_secrets(self, settings: Settings | None) -> Iterator[Problem]:
        """Yield a problem for each secret that is required and not set.

        `settings` are None if they are not valid. Then only the secrets of every set-up count.
        """
        yield from self._missing_credentials()
        if settings is not None:
            yield from self._missing_hmac_key(settings)
            yield from self._missing_oauth_parts(settings)
            yield from self.missing_page_token(settings)

    def _missing_credentials(self) -> Iterator[Problem]:
        if not (self.place_of("auth0.client_secret") or self.place_of("auth0.private_key")):
            private_key = f"for private-key JWT, {self.ways('auth0.private_key')}"
            ways = f"{self.ways('auth0.client_secret')}; or, {private_key}"
            yield self._missing("auth0", "client_secret", ways)
        is_of_no_route = self.file and ROUTES in self.file.tables and not self.file.route
        if not self.place_of("segment.write_key") and not is_of_no_route:
            yield self._missing("segment", "write_key", self.ways("segment.write_key"))

    def _missing_hmac_key(self, settings: Settings) -> Iterator[Problem]:
        if settings.privacy.hmac_key is not None:
            return
        needs = {
            ("privacy", "email"): settings.privacy.email == "hmac",
            ("privacy", "fields"): "hmac" in settings.privacy.fields.values(),
            ("events", "types"): any(each.is_anonymous for each in settings.events.types.values()),
        }
        for (section, key), is_needed in needs.items():
            if is_needed:
                wrong = f"makes hashes, which need a key: set {self.ways('privacy.hmac_key')}"
                yield Problem(place=self.place(section, key), wrong=wrong)

    def missing_page_token(self, settings: Settings) -> Iterator[Problem]:
        page = settings.page
        if page.listen is not None and not page.listen.is_loopback and page.token is None:
            ways = self.ways("page.token")
            wrong = f"lets other machines ask for the page, which needs your own token: set {ways}"
            yield Problem(place=self.place("page", "listen"), wrong=wrong)

    def contradictions(self, settings: Settings) -> Iterator[Problem]:
        """Yield a problem for each value that another setting makes wrong."""
        for kind in sorted(settings.events.types.keys() & settings.logins.types):
            wrong = "counts as a login already, by logins.types"
            yield Problem(place=self.place("events", "types", kind), wrong=wrong)
        if not is_postgres(settings.state.url):
            for key in ("password", "folder"):
                if place := self.place_of(f"state.{key}"):
                    wrong = "is for a ledger in PostgreSQL, and state.url names a file"
                    yield Problem(place=place, wrong=wrong)
        if settings.privacy.email == "hmac":
            for path, form in settings.privacy.fields.items():
                if form == "hmac" and path.endswith(".email"):
                    wrong = 'leaves as a hash already, by privacy.email = "hmac"'
                    yield Problem(place=self.place("privacy", "fields", path), wrong=wrong)

    def _missing_oauth_parts(self, settings: Settings) -> Iterator[Problem]:
        parts = ("oauth_client_id", "oauth_key_id", "oauth_private_key")
        missing = [part for part in parts if getattr(settings.segment, part) is None]
        if len(missing) < len(parts):
            for part in missing:
                wrong = f"is missing: OAuth needs {', '.join(parts[:-1])} and {parts[-1]}"
                yield Problem(place=self.place("segment", part), wrong=wrong)

    def _missing(self, section: str, key: str, ways: str) -> Problem:
        return Problem(place=self.place(section, key), wrong=f"is missing: set {ways}")

    def _problems(self, error: Mapping[str, Any]) -> Iterator[Problem]:
        section, key, *_ = (*map(str, error["loc"]), "")
        place = self.place(section, key)
        cause = error.get("ctx", {}).get("error")
        file = self.file_of(place)
        if isinstance(cause, BadKeysError) and file:
            for name, wrong in cause.wrong:
                path = (name,) if isinstance(name, str) else name
                yield Problem(place=file.place(section, key, *path), wrong=wrong)
        elif isinstance(cause, BadValueError):
            yield Problem(place=place, wrong=f"{cause}{self._other_way(cause, section, key)}")
        elif error["type"] == "missing":
            yield Problem(place=place, wrong=self._wrong_if_missing(section, key))
        else:
            setting = BY_KEY.get((section, key))
            must_be = setting.must_be if setting else ""
            wrong = f"must be {must_be}" if must_be else "is not valid"
            yield Problem(place=place, wrong=wrong)

    def _other_way(self, cause: BadValueError, section: str, key: str) -> str:
        """Return where a secret can stand instead of its placeholder, or ""."""
        setting = BY_KEY.get((section, key))
        if not isinstance(cause, PlaceholderError) or setting is None or not setting.is_secret:
            return ""
        folder = self.file.path.with_suffix(".credentials").name if self.file else "*.credentials"
        return (
            f": replace it, or put the secret into {folder}/{setting.credential}, which only "
            "root needs to read"
        )

    def _wrong_if_missing(self, section: str, key: str) -> str:
        if (section, key) == ("state", "url"):
            return (
                "is missing, and without HOME there is no folder to choose: set it to an absolute "
                f"path, such as /var/lib/poller/ledger.db, or set {BY_KEY[section, key].variable}"
            )
        if self.file:
            return "is missing"
        return f"is missing, and there is no settings file: {_WHERE_TO_PUT_A_FILE}"
