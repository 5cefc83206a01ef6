"""The questions of `init`, and the answers: of options, of the environment, or typed."""

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import click

from poller.cli.setup.files import BY_KEY
from poller.cli.views.output import is_terminal, say
from poller.cli.views.wording import laid_out
from poller.config import SettingsError, read_toml
from poller.config.errors import BadValueError, settings_error
from poller.config.parsers import texts
from poller.config.regions import REGIONS, region_of
from poller.config.sources.layers import Key, merge_layers, read_layers
from poller.config.sources.secret_files import SecretFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One value to ask for, the option that may hold it, and the place where people find it."""

    key: Key
    label: str
    option: str
    place: str
    parse: Callable[[str], str]
    choices: str = ""

    @property
    def is_secret(self) -> bool:
        return BY_KEY[self.key].is_secret


def _domain(value: str) -> str:
    """Return the host name of the tenant. People often copy it with https:// and a slash."""
    host = texts.host_name(re.sub(r"^https?://|/.*$", "", value.strip(), flags=re.IGNORECASE))
    *first, label, top = host.split(".")
    close = get_close_matches(f"{label}.{top}", ["auth0.com"], cutoff=0.75)
    if close and f"{label}.{top}" != close[0]:
        raise BadValueError(f"ends with {label}.{top}: did you mean {'.'.join([*first, *close])}?")
    return host


def _endpoint(value: str) -> str:
    """Return the origin of Segment's tracking API for a region, or the origin itself."""
    for region in REGIONS:
        if value.lower() == region.name.lower():
            return region.tracking
    if "://" not in value:
        raise BadValueError(f"must be us or eu, or an origin such as {REGIONS[1].tracking}")
    return texts.endpoint(value)


QUESTIONS = (
    Question(
        key=("auth0", "domain"),
        label="Domain",
        option="--domain",
        place="Auth0: Applications > your Machine to Machine application > Settings",
        parse=_domain,
    ),
    Question(
        key=("auth0", "client_id"),
        label="Client ID",
        option="--client-id",
        place="",
        parse=texts.word,
    ),
    Question(
        key=("auth0", "client_secret"),
        label="Client Secret",
        option="--client-secret-file",
        place="",
        parse=texts.word,
    ),
    Question(
        key=("segment", "write_key"),
        label="Write Key",
        option="--write-key-file",
        place="Segment: Connections > Sources > your source > Settings > API Keys",
        parse=texts.word,
    ),
    Question(
        key=("segment", "endpoint"),
        label="Region",
        option="--region",
        place="Segment: Settings > Workspace Settings > General",
        parse=_endpoint,
        choices="us or eu",
    ),
)


def environment_values() -> dict[Key, str]:
    """Return the settings in the environment and in systemd's credentials.

    Raises:
        SettingsError: a variable has no such setting, or a file cannot be read.
    """
    layer = merge_layers(read_layers(None, os.environ, secrets=True))
    if layer.problems:
        raise settings_error([*layer.problems])
    values = {}
    for key, value in layer.values.items():
        try:
            values[key] = str(value.read() if isinstance(value, SecretFile) else value)
        except BadValueError as error:
            raise SettingsError((f"{layer.places[key]}: {error}",)) from None
    return values


def known_values(path: Path, present: str | None) -> dict[Key, str]:
    """Return the answers that the present settings file and its secrets give."""
    if present is None:
        return {}
    values = merge_layers(read_layers(read_toml(path), {}, secrets=False)).values
    read = {
        key: value.read() if isinstance(value, SecretFile) else value
        for key, value in values.items()
    }
    return {key: value for key, value in read.items() if isinstance(value, str)}


def answers(
    given: Mapping[str, str | Path | None], environment: Mapping[Key, str], known: Mapping[Key, str]
) -> dict[Key, str]:
    """Return all values to write: of options, of the environment, and typed.

    Raises:
        click.UsageError: an option or a variable cannot be used, or no terminal is there to ask.
        click.Abort: the person went away.
    """
    values, missing = dict(environment), []
    for question in QUESTIONS:
        option = given[question.option.removeprefix("--").replace("-", "_")]
        if option is not None:
            values[question.key] = _parsed(question, question.option, _content(question, option))
        elif question.key in values:
            name = BY_KEY[question.key].variable
            values[question.key] = _parsed(question, name, values[question.key])
        elif question.key != ("auth0", "client_secret") or ("auth0", "private_key") not in values:
            missing.append(question)
    if missing and not is_terminal(sys.stdin):
        options = ", ".join(question.option for question in missing)
        raise click.UsageError(
            f"no terminal to ask for values: add {options}, or set them in the environment"
        )
    if missing:
        say("Answer each question. Ctrl-C ends, and then nothing is written.", is_error=True)
    for question in missing:
        values[question.key] = _ask(question, known.get(question.key))
    return values


def _content(question: Question, option: str | Path) -> str:
    if isinstance(option, str):
        return option
    try:
        return SecretFile(path=str(option), folder=Path(), is_required=True).read() or ""
    except BadValueError as error:
        raise click.UsageError(f"{question.option}: {option} {error}") from None


def _parsed(question: Question, source: str, value: str) -> str:
    try:
        return question.parse(value)
    except BadValueError as error:
        raise click.UsageError(f"{source} {error}") from None


def _ask(question: Question, known: str | None) -> str:
    """Ask until the answer can be used. An empty answer stands for the known one."""
    if question.place:
        say("", question.place, is_error=True)
    while True:
        try:
            return question.parse(_typed(question, known))
        except BadValueError as error:
            say(*laid_out("  ", f"{question.label} {error}"), is_error=True)


def _typed(question: Question, known: str | None) -> str:
    label = question.label
    if question.is_secret:
        label += " (hidden, Enter keeps it)" if known else " (hidden)"
    elif question.choices:
        label += f" ({question.choices})"
    region = region_of(known or "")
    try:
        answer: str = click.prompt(
            f"  {label}",
            default=known and region.name.lower() if region else known or "",
            show_default=bool(known) and not question.is_secret,
            hide_input=question.is_secret,
            err=True,
        )
    except UnicodeDecodeError:
        say("", is_error=True)  # The prompt's line is not ended then.
        raise BadValueError("is not text in the encoding of this terminal") from None
    return answer.strip()
