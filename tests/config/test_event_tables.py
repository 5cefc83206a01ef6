"""The tables under `events` and `privacy` that name tracks, types, context and single fields."""

import json
from pathlib import Path
from typing import Any

import pytest

from poller.cli.wiring.services import rules_of
from poller.config import Settings, SettingsError, load_settings
from poller.core.translation.event_types import GROUPS

_GOOD = """
[auth0]
domain = "acme.us.auth0.com"
client_id = "abc"
client_secret = "s3cr3t"
[segment]
write_key = "wk1"
"""


def load(folder: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    path = folder / "config.toml"
    path.write_text(_GOOD + text)
    return load_settings(path, environ or {"HOME": "/home/ada"})


def problem(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(folder, text)
    (line,) = caught.value.problems
    return line.removeprefix(f"{folder}/")


def test_the_names_of_tracks_may_be_the_users_own(tmp_path: Path) -> None:
    rules = rules_of(load(tmp_path, '[events.names]\nlogin = "User Signed In"\n'))
    assert rules.track_names == ("User Signed In", "Signed Up")


def test_an_unknown_track_is_named_with_its_line_and_the_nearest(tmp_path: Path) -> None:
    said = problem(tmp_path, '[events.names]\nlogin = "A"\nsign_up = "B"\n')
    assert said == "config.toml:10: events.names.sign_up: unknown: did you mean signup?"


def test_a_group_stands_for_its_types_and_a_type_of_its_own_wins(tmp_path: Path) -> None:
    rules = rules_of(
        load(
            tmp_path,
            '[events.types.failed_login]\nname = "Login Failed"\n'
            '[events.types.fp]\nname = "Wrong Password"\n'
            '[events.types.fp.properties]\nreason = "log.description"\n',
        )
    )
    assert rules.event_types.keys() == GROUPS["failed_login"]
    assert rules.event_types["f"].name == "Login Failed"
    assert rules.event_types["fp"].name == "Wrong Password"
    assert list(rules.event_types["fp"].properties) == ["reason"]
    assert rules.types >= {"s", "ss", "f", "fp"}


def test_a_type_that_auth0_adds_later_may_be_named(tmp_path: Path) -> None:
    rules = rules_of(load(tmp_path, '[events.types.zzqx9]\nname = "New"\n'))
    assert "zzqx9" in rules.types


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[events.types.failed_logins]\nname = "A"\n', "failed_logins: unknown: did you mean"),
        ('[events.types.ss]\nname = "A"\n', "events.types.ss: counts as a signup already"),
        ('[events.types.s]\nname = "A"\n', "events.types.s: counts as a login already"),
        ("[events.types.f]\n", "events.types.f: must be a table with a name"),
        ('[events.types]\nf = "Login Failed"\n', "events.types.f: must be a table with a name"),
        ("[events.types.f]\nname = 7\n", "config.toml:9: events.types.f.name: must be text"),
        (
            '[events.types.f]\nname = "A"\nanonym = true\n',
            "config.toml:10: events.types.f.anonym: unknown: did you mean anonymous?",
        ),
        (
            '[events.types.f]\nname = "A"\nanonymous = 1\n',
            "events.types.f.anonymous: must be true or false",
        ),
        (
            '[events.types.f]\nname = "A"\nproperties = { x = "a.b" }\n',
            "events.types.f.properties.x: looks at `user`",
        ),
        ('[events]\ntypes = "f"\n', "events.types: must be a table"),
        ('[events.context]\nlibrary = "log.ip"\n', "the program fills context.library itself"),
        ('[events.context]\n"a..b" = "log.ip"\n', "has an empty name in its path"),
        ("[events.context]\nip = false\n", "events.context.ip: must be an expression"),
        ('[events.context.campaign]\nname = "a"\n', "looks at `user`"),
        ('[privacy.fields]\nemail = "omit"\n', "must begin with traits., properties. or context."),
        (
            '[privacy.fields]\n"context.traits.email" = "omit"\n',
            "goes by the paths of the traits: write traits.email",
        ),
        (
            '[privacy.fields.context.library]\nname = "omit"\n',
            "always leaves: Segment's library fills it",
        ),
        ('[privacy.fields]\n"traits.x" = "hash"\n', "must be one of plain, hmac, omit"),
    ],
)
def test_a_mistake_in_a_table_is_named_where_it_stands(
    tmp_path: Path, text: str, said: str
) -> None:
    assert said in problem(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        '[privacy.fields]\n"traits.email" = "hmac"\n',
        '[events.types.f]\nname = "A"\nanonymous = true\n',
    ],
)
def test_a_hash_needs_a_key(tmp_path: Path, text: str) -> None:
    assert "makes hashes, which need a key" in problem(tmp_path, text)
    rules_of(load(tmp_path, text + '[privacy]\nhmac_key = "k"\n'))


def test_an_email_is_not_hashed_twice(tmp_path: Path) -> None:
    text = '[privacy]\nemail = "hmac"\nhmac_key = "k"\nfields = { "traits.email" = "hmac" }\n'
    assert "leaves as a hash already" in problem(tmp_path, text)


def test_paths_may_be_written_as_tables_inside_each_other(tmp_path: Path) -> None:
    rules = rules_of(
        load(
            tmp_path,
            '[events.context.campaign]\nname = "log.ip"\n'
            '[privacy.fields.context]\nip = "omit"\n[privacy.fields.traits]\nplan = "plain"\n',
        )
    )
    assert list(rules.context) == ["campaign.name"]
    assert rules.privacy.fields == {"context.ip": "omit", "traits.plan": "plain"}


def test_the_environment_gives_tables_as_json(tmp_path: Path) -> None:
    tables: dict[str, Any] = {
        "POLLER_EVENTS__NAMES": {"signup": "Joined"},
        "POLLER_EVENTS__TYPES": {"logout": {"name": "Logged Out"}},
        "POLLER_EVENTS__CONTEXT": {"locale": "log.locale"},
        "POLLER_PRIVACY__FIELDS": {"context.ip": "omit"},
    }
    environ = {"HOME": "/home/ada"} | {key: json.dumps(table) for key, table in tables.items()}
    rules = rules_of(load(tmp_path, "", environ))
    assert rules.track_names == ("Logged In", "Joined", "Logged Out")
    assert (list(rules.context), rules.privacy.fields) == (["locale"], {"context.ip": "omit"})
