"""The values and the sources of settings, and the errors about wrong ones."""

import json
import os
import re
import tomllib
import traceback
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from poller.config import (
    SETTINGS,
    Setting,
    Settings,
    SettingsError,
    find_settings_file,
    load_settings,
    parse_duration,
    read_toml,
    secret_places,
)
from poller.config.parsers.times import parse_start
from poller.config.sources import paths as folders
from poller.config.sources.paths import default_ledger, hidden_file
from poller.config.sources.toml import key_lines
from tests.paths import ROOT

EXAMPLE = ROOT / "config.example.toml"
HOME = {"HOME": "/home/ada"}
PEM = "-----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----"
GOOD = {
    "auth0": {"domain": "acme.us.auth0.com", "client_id": "abc", "client_secret": "s3cr3t"},
    "segment": {"write_key": "wk1"},
}


def toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        for section, table in tables.items()
    )


def but(**sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the good settings with some keys changed. None removes a key."""
    merged: dict[str, dict[str, Any]] = {section: dict(table) for section, table in GOOD.items()}
    for section, table in sections.items():
        merged.setdefault(section, {}).update(table)
    return {
        section: {key: value for key, value in table.items() if value is not None}
        for section, table in merged.items()
    }


def load(
    folder: Path, text: str, environ: Mapping[str, str] = HOME, *, secrets: bool = True
) -> Settings:
    path = folder / "config.toml"
    path.write_bytes(text.encode())
    return load_settings(path, environ, secrets=secrets)


def problems(
    folder: Path, text: str, environ: Mapping[str, str] = HOME, *, secrets: bool = True
) -> list[str]:
    """Return the problems, with the settings file named by its last part."""
    with pytest.raises(SettingsError) as caught:
        load(folder, text, environ, secrets=secrets)
    return [
        problem.replace(f"{folder}/config.toml", "config.toml") for problem in caught.value.problems
    ]


def problem(folder: Path, **sections: dict[str, Any]) -> str:
    found = problems(folder, toml(but(**sections)))
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ({}, "https://cdn.segment.com"),
        ({"endpoint": "https://events.eu1.segmentapis.com"}, "https://cdn.segment.com"),
        ({"endpoint": "https://proxy.acme.com"}, None),
        ({"endpoint": "http://127.0.0.1:8080"}, None),
        ({"endpoint": "http://127.0.0.1:8080", "cdn_endpoint": "http://[::1]:1"}, "http://[::1]:1"),
        ({"cdn_endpoint": "Off"}, None),
    ],
)
def test_a_cdn_is_asked_beside_segments_own_endpoint_or_where_one_is_named(
    tmp_path: Path, segment: dict[str, str], expected: str | None
) -> None:
    found = load(tmp_path, toml(but(segment=segment)))
    assert found.segment.cdn_endpoint == expected


def test_the_parts_of_oauth_come_together_or_not_at_all(tmp_path: Path) -> None:
    whole = {"oauth_client_id": "a", "oauth_key_id": "k", "oauth_private_key": PEM}
    for endpoint, origin in (
        ("https://api.segment.io", "https://oauth2.segment.io"),
        ("https://events.eu1.segmentapis.com", "https://oauth2.eu1.segmentapis.com"),
    ):
        segment = GOOD["segment"] | whole | {"endpoint": endpoint}
        assert load(tmp_path, toml(but(segment=segment))).segment.oauth_endpoint == origin
    for part, value in whole.items():
        segment = GOOD["segment"] | {part: value}
        missing = problems(tmp_path, toml(but(segment=segment)))
        assert len(missing) == 2
        assert all("is missing: OAuth needs" in line for line in missing)


# --- where settings come from ---


def test_a_file_alone_is_enough_and_the_rest_has_defaults(tmp_path: Path) -> None:
    found = load(tmp_path, toml(GOOD))
    assert found.auth0.domain == "acme.us.auth0.com"
    assert found.auth0.base_url == "https://acme.us.auth0.com"
    assert found.auth0.client_secret is not None
    assert found.auth0.client_secret.get_secret_value() == "s3cr3t"
    assert found.auth0.private_key is None
    assert found.segment.endpoint == "https://api.segment.io"
    assert found.segment.source_name == sha256(b"wk1").hexdigest()[:8]
    assert (found.poll.interval, found.poll.start) == (timedelta(seconds=30), "now")
    assert found.state.url == "sqlite:////home/ada/.local/state/auth0-segment-poller/ledger.db"
    assert found.log.level == "info"
    assert found.path == tmp_path / "config.toml"


def test_the_environment_alone_is_enough() -> None:
    environ = {
        f"POLLER_{s}__{k}".upper(): value for s, table in GOOD.items() for k, value in table.items()
    }
    found = load_settings(None, HOME | environ)
    assert (found.auth0.client_id, found.path) == ("abc", None)


def test_the_environment_wins_over_credentials_and_these_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "segment_write_key").write_text("from-credential\n")
    credentials = HOME | {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    by_layer = [
        load(tmp_path, toml(GOOD), environ).segment.write_key
        for environ in (
            HOME,
            credentials,
            credentials | {"POLLER_SEGMENT__WRITE_KEY": "from-variable"},
        )
    ]
    assert [key and key.get_secret_value() for key in by_layer] == [
        "wk1",
        "from-credential",
        "from-variable",
    ]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_key_may_be_a_variable(tmp_path: Path, setting: Setting) -> None:
    found = problems(tmp_path, toml(GOOD), HOME | {setting.variable: "..."})
    assert any(line.startswith(setting.variable) and "placeholder" in line for line in found), found


def test_environment_variables_of_other_programs_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AUTH0", "auth0", "PATH", "POLLER_LOG__LEVEL", "LOG"):
        monkeypatch.setenv(name, "error")
    assert load(tmp_path, toml(GOOD)).log.level == "info"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_file_is_relative_to_the_settings_file_and_loses_its_newline(
    tmp_path: Path, ending: str
) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/wk").write_bytes(b"wk2" + ending.encode())
    (tmp_path / "keys/pem").write_text(PEM + ending)
    files = but(
        auth0={"client_secret": None, "private_key_file": "keys/pem"},
        segment={"write_key": None, "write_key_file": "keys/wk"},
    )
    found = load(tmp_path, toml(files))
    assert found.segment.write_key is not None
    assert found.auth0.private_key is not None
    assert found.segment.write_key.get_secret_value() == "wk2"
    assert found.auth0.private_key.get_secret_value() == PEM


def test_a_credential_may_be_the_private_key(tmp_path: Path) -> None:
    (tmp_path / "auth0_private_key").write_text(PEM)
    text = toml(but(auth0={"client_secret": None}))
    assert load(tmp_path, text, HOME | {"CREDENTIALS_DIRECTORY": str(tmp_path)}).auth0.private_key


def test_a_secret_file_that_is_overridden_is_not_read(tmp_path: Path) -> None:
    text = toml(but(segment={"write_key": None, "write_key_file": "not-here"}))
    assert load(tmp_path, text, HOME | {"POLLER_SEGMENT__WRITE_KEY": "wk2"}).segment.write_key


def test_the_settings_file_is_looked_for_where_it_was_named_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    system = tmp_path / "etc.toml"
    monkeypatch.setattr(folders, "SYSTEM_FILE", system)
    named = {"POLLER_CONFIG": "named.toml"}
    assert find_settings_file(None, {}) is None
    system.touch()
    assert find_settings_file(None, {}) == system
    Path("config.toml").touch()
    assert find_settings_file(None, {"POLLER_CONFIG": ""}) == Path("config.toml")
    assert find_settings_file(None, named) == Path("named.toml")
    assert find_settings_file(Path("typed.toml"), named) == Path("typed.toml")


def test_the_installed_file_is_hidden_by_one_of_the_folder_unless_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    system = tmp_path / "etc.toml"
    monkeypatch.setattr(folders, "SYSTEM_FILE", system)
    Path("config.toml").touch()
    assert hidden_file(None, {}) is None
    system.touch()
    assert hidden_file(None, {}) == system
    assert hidden_file(Path("config.toml"), {}) is None
    assert hidden_file(None, {"POLLER_CONFIG": "config.toml"}) is None
    monkeypatch.setattr(folders, "SYSTEM_FILE", tmp_path / "config.toml")
    assert hidden_file(None, {}) is None


@pytest.mark.parametrize(
    ("path", "environ", "folder"),
    [
        ("/etc/auth0-segment-poller/config.toml", {}, "/var/lib/auth0-segment-poller/config"),
        ("/etc/auth0-segment-poller/acme.toml", {}, "/var/lib/auth0-segment-poller/acme"),
        ("/etc/other/../auth0-segment-poller/a.b.toml", {}, "/var/lib/auth0-segment-poller/a.b"),
        ("/etc/config.toml", {}, "/var/lib/auth0-segment-poller/config"),
        ("/etc/x.toml", {"STATE_DIRECTORY": "/var/lib/one:/var/lib/two"}, "/var/lib/one"),
        ("/srv/config.toml", {"XDG_STATE_HOME": "/x"}, "/x/auth0-segment-poller"),
        (
            "/srv/config.toml",
            {"XDG_STATE_HOME": "relative"},
            "/home/ada/.local/state/auth0-segment-poller",
        ),
        (None, {}, "/home/ada/.local/state/auth0-segment-poller"),
    ],
)
def test_the_ledger_lies_where_this_kind_of_process_keeps_state(
    path: str | None, environ: dict[str, str], folder: str
) -> None:
    assert (
        default_ledger(Path(path) if path else None, HOME | environ)
        == f"sqlite:///{folder}/ledger.db"
    )


# --- what a value may be ---


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("7d", 604_800),
        ("1h30m", 5400),
        ("1d2h3m4s", 93_784),
        ("0s", 0),
    ],
)
def test_a_duration_is_numbers_with_units(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "s",
        "30 s",
        "1.5h",
        "-1s",
        "5m1h",
        "1w",
        "1S",
        "٣s",
        "1s\n",
        "999999999d24h",
        "9" * 5000 + "s",
    ],
)
def test_any_other_text_is_refused_as_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|needs a unit"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0s", "31d"])
def test_the_interval_is_between_a_second_and_thirty_days(tmp_path: Path, text: str) -> None:
    assert "at least 1s" in problem(tmp_path, poll={"interval": text})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("now", "now"),
        ("earliest", "earliest"),
        ("2025-01-31", datetime(2025, 1, 31, tzinfo=UTC)),
        (date(2025, 1, 31), datetime(2025, 1, 31, tzinfo=UTC)),
        ("2025-01-31T08:00:00Z", datetime(2025, 1, 31, 8, tzinfo=UTC)),
        ("2025-01-31 08:00:00.5+02:00", datetime(2025, 1, 31, 6, 0, 0, 500_000, tzinfo=UTC)),
        ("2099-01-31t08:00:00z", datetime(2099, 1, 31, 8, tzinfo=UTC)),
        (
            datetime(2025, 1, 31, 8, tzinfo=timezone(timedelta(hours=2))),
            datetime(2025, 1, 31, 6, tzinfo=UTC),
        ),
    ],
)
def test_a_start_is_a_word_a_date_or_a_time_with_zone(value: object, expected: object) -> None:
    found = parse_start(value)
    assert found == expected
    assert not isinstance(found, datetime) or found.tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("2025-01-31T08:00:00", "zone"),
        (datetime(2025, 1, 31, 8), "zone"),  # noqa: DTZ001 -- the naive one is the case
        ("2025-02-30", "does not exist"),
        ("2025-01-31T25:00:00Z", "does not exist"),
        ("20250131", "must be"),
        ("2025-W05", "must be"),
        ("yesterday", "must be"),
        ("", "must be"),
        (time(8), "must be"),
        (20250131, "must be"),
        (True, "must be"),
        ("0001-01-01T00:00:00+10:00", "out of range"),
        ("0001-01-01", "earliest"),
    ],
)
def test_any_other_start_is_refused(value: object, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        parse_start(value)


@pytest.mark.parametrize(
    "text", ["2025-01-31", "2025-01-31T00:00:00Z", "2025-01-31 02:00:00+02:00"]
)
def test_a_start_may_be_a_date_or_time_of_toml_itself(tmp_path: Path, text: str) -> None:
    found = load(tmp_path, toml(GOOD) + f"[poll]\nstart = {text}\n")
    assert found.poll.start == datetime(2025, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("section", "key", "value", "stored"),
    [
        ("auth0", "domain", "Login.Acme.COM", "login.acme.com"),
        ("auth0", "base_url", "https://proxy.acme.com/", "https://proxy.acme.com"),
        ("auth0", "base_url", "http://127.8.9.1:8080", "http://127.8.9.1:8080"),
        ("auth0", "base_url", "http://[::1]:8080/", "http://[::1]:8080"),
        ("auth0", "base_url", "http://localhost:1", "http://localhost:1"),
        (
            "segment",
            "endpoint",
            "https://Events.eu1.segmentapis.com/",
            "https://events.eu1.segmentapis.com",
        ),
        ("segment", "source_name", "Web, production", "Web, production"),
        ("state", "url", "sqlite:////srv/a b/ledger.db", "sqlite:////srv/a b/ledger.db"),
        ("state", "url", "/srv/a b/ledger.db", "sqlite:////srv/a b/ledger.db"),
        ("state", "url", "/x/q?x/state.db", "/x/q?x/state.db"),
        ("log", "level", "WARNING", "warning"),
    ],
)
def test_values_are_stored_in_one_form(
    tmp_path: Path, section: str, key: str, value: str, stored: str
) -> None:
    found = load(tmp_path, toml(but(**{section: {key: value}})))
    assert getattr(getattr(found, section), key) == stored


@pytest.mark.parametrize(
    ("section", "key", "value", "wrong"),
    [
        ("auth0", "domain", "https://acme.auth0.com/", "bare host name: leave off https://"),
        ("auth0", "domain", "acme.auth0.com:443", "bare host name"),
        ("auth0", "domain", "acme", "whole host name"),
        ("auth0", "domain", "ac_me.auth0.com", "host name such as"),
        ("auth0", "domain", "acme.auth0.com.", "host name such as"),
        ("auth0", "domain", "a" * 64 + ".com", "host name such as"),
        ("auth0", "domain", 7, "text in quotes"),
        ("auth0", "domain", "", "empty"),
        ("auth0", "client_id", "a b", "white space"),
        ("auth0", "client_id", "...", 'placeholder "..."'),
        ("auth0", "client_secret", " s3cr3t", "white space at its start or end"),
        ("auth0", "client_secret", "...", "placeholder"),
        ("auth0", "base_url", "https://acme.com/api/v2", "leave off everything after"),
        ("auth0", "base_url", "https://acme.com?x=1", "leave off everything after"),
        ("auth0", "base_url", "https://a:b@acme.com", "user or password"),
        ("auth0", "base_url", "acme.com", "begin with https://"),
        ("auth0", "base_url", "ftp://acme.com", "begin with https://"),
        ("auth0", "base_url", "http://acme.com", "plain http"),
        ("auth0", "base_url", "http://127.0.0.1.acme.com", "plain http"),
        ("auth0", "base_url", "http://[::2]", "plain http"),
        ("auth0", "base_url", "https://acme.com:99999", "host:port"),
        ("auth0", "base_url", "https://acme.com:0", "host:port"),
        ("auth0", "base_url", "https://[::1", "host:port"),
        ("auth0", "base_url", "https://ac\tme.com", "white space"),
        ("auth0", "base_url", "https://:80", "host name"),
        ("auth0", "base_url", "https://[fe80::1%25eth0]", "host name"),
        ("segment", "write_key", "w k", "white space"),
        ("segment", "write_key", "", "empty"),
        ("segment", "endpoint", "https://api.segment.io/v1", "leave off /v1"),
        ("segment", "endpoint", "https://api.segment.io/v1/batch", "leave off /v1"),
        ("segment", "endpoint", 7, "text in quotes"),
        ("segment", "source_name", "two\nlines", "one line"),
        ("poll", "interval", 30, "in quotes, with its unit"),
        ("state", "url", "postgresql+psycopg://u:p@host/db", "put it into state.password"),
        ("state", "url", "postgres://u@host/db?password=p", "put it into state.password"),
        ("state", "url", "postgresql+psycopg2://u@host/db", "must be postgresql+psycopg://"),
        ("state", "url", "postgresql+psycopg://u@host", "must name one database"),
        ("state", "url", "postgresql+psycopg://u@[host/db", "must be postgresql+psycopg://"),
        ("state", "folder", "state", "the absolute path of a folder"),
        ("state", "folder", "/run/poller", "state.url names a file"),
        ("state", "password", "secret", "state.url names a file"),
        ("state", "url", "mysql://host/db", "the URL of a database"),
        ("state", "url", "sqlite:///ledger.db", "absolute path"),
        ("state", "url", "sqlite://", "absolute path"),
        ("state", "url", "sqlite:///:memory:", "absolute path"),
        ("state", "url", "sqlite:////a.db?mode=ro", "absolute path"),
        ("state", "url", "sqlite:////x/q?x/state.db", "absolute path"),
        ("state", "url", "/x/", "must name a file"),
        ("log", "level", "verbose", "one of debug, info, warning, error"),
        ("metrics", "listen", ":9464", "an address and a port"),
        ("metrics", "listen", "9464", "an address and a port"),
        ("metrics", "listen", 9464, "text in quotes"),
        ("metrics", "listen", "127.0.0.1", "an address and a port"),
        ("metrics", "listen", "127.0.0.1:65536", "an address and a port"),
        ("metrics", "listen", "127.0.0.1:-1", "an address and a port"),
        ("metrics", "listen", "metrics.acme.com:9464", "an address and a port"),
        ("metrics", "listen", "::1:9464", "an address and a port"),
        ("metrics", "listen", "[127.0.0.1]:9464", "an address and a port"),
        ("metrics", "listen", "http://127.0.0.1:9464", "an address and a port"),
        ("metrics", "listen", "[fe80::1%eth0]:9464", "an address and a port"),
        ("metrics", "listen", "127.0.0.1:9464/metrics", "an address and a port"),
        ("metrics", "ready_lag", "0s", "at least"),
        ("page", "listen", "9465", "an address and a port"),
        ("page", "show", "everything", "one of sent, all"),
        ("page", "token", "short", "at least 32 characters"),
        ("page", "token", "x" * 31 + "&", "letters, digits, - or _"),
    ],
)
def test_a_wrong_value_is_named_by_its_line_and_key(
    tmp_path: Path, section: str, key: str, value: object, wrong: str
) -> None:
    found = problem(tmp_path, **{section: {key: value}})
    assert re.match(rf"config\.toml:\d+: {section}\.{key}: ", found)
    assert wrong in found
    line = int(found.split(":")[1])
    assert (tmp_path / "config.toml").read_text().splitlines()[line - 1].startswith(f"{key} =")


@pytest.mark.parametrize(
    ("pem", "wrong"),
    [
        ("-----BEGIN PUBLIC KEY-----\nabc", "public key"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nabc", "passphrase"),
        ("-----BEGIN PRIVATE KEY-----\\nabc", "PEM form"),
        ("abc", "PEM form"),
    ],
)
def test_a_private_key_is_a_plain_pem(tmp_path: Path, pem: str, wrong: str) -> None:
    assert wrong in problem(tmp_path, auth0={"client_secret": None, "private_key": pem})


def test_a_private_key_may_be_a_text_of_many_lines(tmp_path: Path) -> None:
    text = toml(but(auth0={"client_secret": None})).replace(
        "[auth0]\n", f'[auth0]\nprivate_key = """\n{PEM}\n"""\n'
    )
    found = load(tmp_path, text).auth0.private_key
    assert found is not None
    assert found.get_secret_value() == PEM


# --- what is said of what is wrong ---


def test_all_problems_come_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = """\
[auth0]
domain = "https://acme.auth0.com"
clientid = "abc"
client_secret = "..."

[segmnt]
write_key = "wk1"

[poll]
interval = "soon"
"""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "segment_write_key").touch()
    environ = HOME | {
        "POLLER_LOG__LEVEL": "loud",
        "POLLER_POLL__STAR": "now",
        "CREDENTIALS_DIRECTORY": str(credentials),
    }
    assert problems(tmp_path, text, environ) == [
        "config.toml:1: auth0.client_id: is missing",
        (
            "config.toml:2: auth0.domain: must be the bare host name: "
            "leave off https:// and everything after the host"
        ),
        "config.toml:3: auth0.clientid: unknown key: did you mean client_id?",
        (
            'config.toml:4: auth0.client_secret: is still the placeholder "...": replace it, or '
            "put the secret into config.credentials/auth0_client_secret, which only root needs "
            "to read"
        ),
        "config.toml:6: segmnt: unknown section: did you mean [segment]?",
        "config.toml:10: poll.interval: must be a duration such as 30s, 5m, 1h, 7d or 1h30m",
        "POLLER_LOG__LEVEL: must be one of debug, info, warning, error",
        "POLLER_POLL__STAR: unknown setting: did you mean POLLER_POLL__START?",
        f"{credentials}/segment_write_key: is an empty file",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('interval = "30s"\n', "config.toml:1: interval: unknown here: it belongs under [poll]"),
        ("poll = 3\n", "config.toml:1: poll: must be a table, which begins with [poll]"),
        ("[[poll]]\n", "config.toml:1: poll: must be a table, which begins with [poll]"),
        (
            "[poll]\nlevel = 1\n",
            "config.toml:2: poll.level: unknown in [poll]: it belongs under [log]",
        ),
        (
            "poll.intervall = 1\n",
            "config.toml:1: poll.intervall: unknown key: did you mean interval?",
        ),
        ('[poll]\n"odd\\nkey" = 1\n', "config.toml:2: poll.'odd\\nkey': unknown key"),
        ("[zzz]\n", "config.toml:1: zzz: unknown section"),
    ],
)
def test_unknown_keys_are_errors_that_suggest_what_was_meant(
    tmp_path: Path, text: str, said: str
) -> None:
    assert said in problems(tmp_path, text)


@pytest.mark.parametrize(
    "name", ["POLLER_AUTH0", "POLLER_AUTH0__DOMAINS", "POLLER_", "POLLER_AUTH0__domain"]
)
def test_an_unknown_variable_is_an_error(tmp_path: Path, name: str) -> None:
    assert [line.split(":")[0] for line in problems(tmp_path, toml(GOOD), HOME | {name: "x"})] == [
        name
    ]


def test_the_variable_that_names_the_file_is_no_unknown_one(tmp_path: Path) -> None:
    assert load(tmp_path, toml(GOOD), HOME | {"POLLER_CONFIG": "config.toml"})


def test_a_missing_file_that_was_named_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "no.toml", HOME)
    (said,) = caught.value.problems
    assert said.startswith(f"{tmp_path}/no.toml: no such file")
    assert "--config FILE" in said
    assert "`init FILE`" in said


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: is a directory"):
        load_settings(tmp_path, HOME)


def test_the_error_without_any_file_names_the_places_that_are_searched() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, HOME)
    (said,) = caught.value.problems
    assert all(
        part in said for part in ("`init`", "--config", "/etc/auth0-segment-poller/config.toml")
    )


def test_with_some_variables_and_no_file_each_missing_one_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, HOME | {"POLLER_AUTH0__DOMAIN": "acme.us.auth0.com"})
    assert [line.split(":")[0] for line in caught.value.problems] == [
        "POLLER_AUTH0__CLIENT_ID",
        "POLLER_AUTH0__CLIENT_SECRET",
        "POLLER_SEGMENT__WRITE_KEY",
    ]


def test_a_command_that_asks_no_service_needs_nothing_that_a_service_does(tmp_path: Path) -> None:
    found = load_settings(None, HOME, secrets=False)
    assert found.state.url == default_ledger(None, HOME)
    assert load(tmp_path, EXAMPLE.read_text(), secrets=False).auth0.client_secret is None


def test_the_url_of_a_database_gets_its_password_and_a_folder_and_shows_neither(
    tmp_path: Path,
) -> None:
    place = "postgres://poller@db.example:5433/ledger?sslmode=verify-full"
    state = {"url": place, "password": "p&s/w#rd"}
    found = load(tmp_path, toml(but(state=state))).state
    assert found.url == (
        "postgresql+psycopg://poller@db.example:5433/ledger?sslmode=verify-full"
        "&password=p%26s%2Fw%23rd#/home/ada/.local/state/auth0-segment-poller"
    )
    assert "p&s" not in repr(found)
    assert "p%26" not in repr(found)
    own = load(tmp_path, toml(but(state={"url": "postgresql:///ledger", "folder": "/run/p"})))
    assert own.state.url == "postgresql+psycopg:///ledger#/run/p"


def test_without_a_home_the_ledger_must_be_named(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, toml(GOOD), {})
    assert said == (
        "config.toml: state.url: is missing, and without HOME there is no folder to choose: set it "
        "to an absolute path, such as /var/lib/poller/ledger.db, or set POLLER_STATE__URL"
    )


@pytest.mark.parametrize(
    ("text", "line", "wrong"),
    [
        ("[auth0]\ndomain = s3cr3t\n", 2, "a text needs quotes"),
        ("[auth0]\ndomain =\n", 2, "a text needs quotes"),
        ('[auth0]\nclient_secret = "s3cr3t\n', 2, "no quote at its end"),
        ("[auth0]\nclient_secret = 's3cr3t\n", 2, "no quote at its end"),
        ('[auth0]\nclient_secret = "s3cr3t', 2, "no quote at its end"),
        ('\n\n[auth0]\nclient_secret: "s3cr3t"\n', 4, "must be followed by ="),
        ('[auth0]\nclient_secret = """s3cr3t\n\n', 2, "no quote at its end"),
        ("[auth0]\nclient_secret = '''s3cr3t\n\n", 2, "no quote at its end"),
        ('[auth0]\nclient_secret = "s3cr3t"\nclient_secret = "s3cr3t"\n', 3, "already"),
        ("[s3cr3t]\nx = 1\n[s3cr3t]\n", 3, "already"),
        ("x = { s3cr3t = 1, s3cr3t = 2 }\n", 1, "a key stands twice"),
        ("[s3cr3t\nx = 1\n", 1, "must end with ]"),
        ('x = "s3cr3t" "s3cr3t"\n', 1, "something follows the value"),
        ('x = "s3cr3t\\q"\n', 1, "a backslash"),
        ('x = "s3cr3t\\xzz"\n', 1, "a backslash"),
        ('x = "s3cr3t\x01"\n', 1, "a control character"),
        ('x = ["s3cr3t"\n', 1, "no ] at its end"),
        ('x = { s3cr3t = "s3cr3t"\n', 1, "no } at its end"),
        ("? = 1\n", 1, "a line must be a [section]"),
        ("x.? = 1\n", 1, "a key may hold letters"),
        ("x = 2026-02-30\n", 1, "does not exist"),
        ("x = " + "[" * 100_000, 1, "the parser cannot read it here"),
        ("x = " + "9" * 5000, 1, "the parser cannot read it here"),
    ],
)
def test_invalid_toml_is_named_by_its_line_and_its_mistake_and_never_by_its_value(
    tmp_path: Path, text: str, line: int, wrong: str
) -> None:
    (said,) = problems(tmp_path, text)
    assert said.startswith(f"config.toml:{line}: not valid TOML")
    assert wrong in said
    assert "s3cr3t" not in said


def test_a_settings_file_that_is_no_text_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"[auth0]\n\xff\xfe\n")
    with pytest.raises(SettingsError, match=r"config.toml:2: is not UTF-8 text"):
        load_settings(path, HOME)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_each_key_has_the_line_it_begins_on(newline: str) -> None:
    text = '# c\na.b = 1\n\n[c]\nd = """\n[e]\nf = 1\n"""\ng = [\n  1, # x\n]\n'
    text += "[c.h]\ni = { j = 1 }\n\n[[k]]\nl = 1\n[[k]]\n"
    assert key_lines(text.replace("\n", newline)) == {
        ("a",): 2,
        ("a", "b"): 2,
        ("c",): 4,
        ("c", "d"): 5,
        ("c", "g"): 9,
        ("c", "h"): 12,
        ("c", "h", "i"): 13,
        ("c", "h", "i", "j"): 13,
        ("k",): 15,
        ("k", "0"): 15,
        ("k", "0", "l"): 16,
        ("k", "1"): 17,
    }


# --- secrets ---


def beside(folder: Path, **secrets: str) -> Path:
    """The folder of credentials beside the settings file."""
    credentials = folder / "config.credentials"
    credentials.mkdir()
    for name, secret in secrets.items():
        (credentials / name).write_text(secret)
    return credentials


def test_credentials_beside_the_file_are_found_as_the_units_find_them(tmp_path: Path) -> None:
    credentials = beside(tmp_path, segment_write_key="beside")
    found = load(tmp_path, toml(GOOD | {"segment": {"write_key": "..."}})).segment.write_key
    assert found is not None
    assert found.get_secret_value() == "beside"
    places = {
        place.name: place for place in secret_places(read_toml(tmp_path / "config.toml"), HOME)
    }
    assert places["segment.write_key"].file == credentials / "segment_write_key"
    place = places["segment.write_key"]
    assert not place.is_credential  # so that `check` looks at who may read it
    assert place.is_in_folder
    assert places["auth0.client_secret"].credential == credentials / "auth0_client_secret"
    assert not places["auth0.client_secret"].is_in_folder


def test_systemds_credentials_come_in_place_of_those_beside_the_file(tmp_path: Path) -> None:
    beside(tmp_path, segment_write_key="beside")
    systemds = tmp_path / "systemd"
    systemds.mkdir()
    (systemds / "segment_write_key").write_text("systemd's")
    found = load(
        tmp_path, toml(GOOD), HOME | {"CREDENTIALS_DIRECTORY": str(systemds)}
    ).segment.write_key
    assert found is not None
    assert found.get_secret_value() == "systemd's"


def test_a_folder_of_credentials_that_is_closed_to_this_user_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = beside(tmp_path, segment_write_key="beside")
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may look anywhere
    for segment in ({}, {"write_key": "..."}, {"write_key_file": "..."}):
        auth0 = {"domain": "acme.us.auth0.com", "client_id": "abc", "client_secret": "..."}
        (said,) = problems(tmp_path, toml({"auth0": auth0, "segment": segment}))
        assert said.startswith(f"{credentials}: is closed to you")
        assert "run the command as root" in said
    told = problems(tmp_path, toml({"auth0": {"domain": "..."}, "segment": {}}))
    assert [line.partition(": ")[2].partition(":")[0] for line in told] == [
        "auth0.client_id",
        "auth0.domain",
        "is closed to you, and the secrets that are not set elsewhere may be in it",
    ]
    assert load(tmp_path, toml(GOOD)).segment.write_key  # nothing that is needed may be in it


def test_the_owner_of_a_closed_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    os.chown(beside(tmp_path), 4242, -1)
    (said,) = problems(tmp_path, toml(GOOD | {"segment": {}}))
    assert said.endswith("run the command as root, or as user 4242, who owns it")


def test_a_settings_file_that_was_read_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(toml(GOOD))
    file = read_toml(path)
    path.unlink()
    assert load_settings(file, HOME).auth0.client_id == "abc"
    assert load_settings(file, HOME, secrets=False).path == path
    assert {place.name for place in secret_places(file, HOME)} == {
        "auth0.client_secret",
        "segment.write_key",
    }


@pytest.mark.parametrize(
    ("missing", "ways"),
    [
        (
            {"segment": {"write_key": None}},
            [
                "write_key_file",
                "POLLER_SEGMENT__WRITE_KEY",
                "segment_write_key in $CREDENTIALS_DIRECTORY",
            ],
        ),
        (
            {"auth0": {"client_secret": None}},
            [
                "client_secret_file",
                "POLLER_AUTH0__CLIENT_SECRET",
                "auth0_client_secret",
                "private_key_file",
            ],
        ),
    ],
)
def test_a_missing_secret_is_told_with_all_ways_to_give_it(
    tmp_path: Path, missing: dict[str, dict[str, Any]], ways: list[str]
) -> None:
    said = problem(tmp_path, **missing)
    assert "is missing" in said
    assert all(way in said for way in ways)
    assert said.endswith(f" or in {tmp_path / 'config.credentials'}")


@pytest.mark.parametrize("secrets", [True, False])
def test_a_secret_and_a_file_for_it_exclude_each_other(tmp_path: Path, secrets: bool) -> None:
    (tmp_path / "wk").write_text("wk2")
    (said,) = problems(tmp_path, toml(but(segment={"write_key_file": "wk"})), secrets=secrets)
    assert (
        said == "config.toml:7: segment.write_key_file: "
        "is set beside segment.write_key: keep one of the two"
    )


def test_a_client_secret_and_a_private_key_exclude_each_other_wherever_they_stand(
    tmp_path: Path,
) -> None:
    environ = HOME | {"POLLER_AUTH0__PRIVATE_KEY": PEM}
    (said,) = problems(tmp_path, toml(GOOD), environ)
    assert said.startswith(
        "POLLER_AUTH0__PRIVATE_KEY: is set beside the client secret (config.toml:4:"
    )


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda path: path.unlink(missing_ok=True), "no such file"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.touch(), "empty file"),
        (lambda path: path.write_text("\n"), "empty file"),
        (lambda path: path.write_bytes(b"\xff"), "not UTF-8"),
        (lambda path: path.write_bytes(b"x" * 1_000_001), "far too large"),
    ],
)
def test_a_secret_file_that_cannot_be_used_is_an_error_only_where_secrets_are_needed(
    tmp_path: Path, make: Any, wrong: str
) -> None:
    make(tmp_path / "wk")
    text = toml(but(segment={"write_key": None, "write_key_file": "wk"}))
    (said,) = problems(tmp_path, text)
    assert said.startswith("config.toml:6: segment.write_key_file: ")
    assert wrong in said
    found = load(tmp_path, text, secrets=False)
    assert (found.segment.write_key, found.segment.source_name) == (None, None)


@pytest.mark.parametrize("path", ["...", "", "a\0b", 7])
def test_an_invalid_path_is_reported_under_its_key(tmp_path: Path, path: object) -> None:
    said = problem(tmp_path, segment={"write_key": None, "write_key_file": path})
    assert said.startswith("config.toml:6: segment.write_key_file: ")


@pytest.mark.parametrize("secret", [None, "..."])
def test_commands_without_secrets_need_none(tmp_path: Path, secret: str | None) -> None:
    text = toml(
        but(auth0={"client_secret": secret}, segment={"write_key": secret, "source_name": "web"})
    )
    found = load(tmp_path, text, secrets=False)
    assert (found.auth0.client_secret, found.segment.write_key, found.segment.source_name) == (
        None,
        None,
        "web",
    )


def test_settings_show_no_secret_and_cannot_be_changed(tmp_path: Path) -> None:
    found = load(tmp_path, toml(GOOD))
    assert not any(secret in repr(found) + str(found) for secret in ("s3cr3t", "wk1", "sqlite"))
    with pytest.raises(ValidationError):
        found.poll.interval = timedelta(1)
    with pytest.raises(ValidationError):
        found.path = None


# A tail that no message of ours can hold by chance.
secret_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=12).map(
    "zq9{}xj7".format
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    secret=secret_texts,
    # An expression is no secret, and is told by the name in it that is unknown.
    setting=st.sampled_from([setting for setting in SETTINGS if setting.type != "JMESPath"]),
    by=st.sampled_from(["file", "variable", "credential", "secret file"]),
    broken=st.sampled_from(["", "[oops", '[log]\nlevel = "loud"\n', "raw", "list"]),
    required=st.booleans(),
)
def test_no_error_ever_holds_a_value(
    tmp_path: Path,
    secret: str,
    setting: Setting,
    by: str,
    broken: str,
    required: bool,
) -> None:
    tables = but()
    environ = HOME | {"POLLER_POLL__STRAT": secret}
    if by == "file":
        tables.setdefault(setting.section, {})[setting.key] = (
            [secret] if broken == "list" else secret
        )
    elif by == "variable":
        environ[setting.variable] = secret
    elif by == "credential":
        (tmp_path / "segment_write_key").write_text(f"{secret} {secret}", newline="")
        environ["CREDENTIALS_DIRECTORY"] = str(tmp_path)
    else:
        (tmp_path / "pem").write_text(secret, newline="")
        tables["auth0"]["private_key_file"] = "pem"
    text = toml(tables) + {"raw": f"{secret} = {secret}", "list": ""}.get(broken, broken)
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text, environ, secrets=required)
    told = (
        "".join(traceback.format_exception(caught.value))
        + repr(caught.value)
        + repr(caught.value.problems)
    )
    assert secret not in told
    assert "zq9" not in told
    assert caught.value.__context__ is None


# --- the example ---

_ENTRY = re.compile(r"^# (?P<help>.+)\n(?P<off># )?(?P<key>\w+) = (?P<value>.+)$", re.MULTILINE)


def example_entries() -> dict[str, re.Match[str]]:
    tables = re.split(r"^\[(\w+)\]$", EXAMPLE.read_text(), flags=re.MULTILINE)[1:]
    return {
        f"{section}.{entry['key']}": entry
        for section, body in zip(tables[::2], tables[1::2], strict=True)
        for entry in _ENTRY.finditer(body)
    }


def test_the_example_shows_every_setting_with_its_help_and_default() -> None:
    entries = example_entries()
    assert list(entries) == [setting.name for setting in SETTINGS]
    for setting in SETTINGS:
        entry = entries[setting.name]
        has_words = not setting.is_default_fixed and not setting.default.startswith(
            ("required", "none")
        )
        assert entry["help"] == setting.help + (
            f" Default: {setting.default}." if has_words else ""
        )
        assert bool(entry["off"]) == (
            not setting.is_default_fixed and not setting.default.startswith("required")
        )
        assert not setting.is_default_fixed or entry["value"] == setting.default


def test_the_example_has_nothing_but_the_placeholders_to_replace(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    assert {line.split(": ")[1] for line in problems(tmp_path, text)} == {
        "auth0.domain",
        "auth0.client_id",
        "auth0.client_secret",
        "segment.write_key",
    }
    filled = filled_in(text)
    plain = load(tmp_path, filled)
    assert plain.model_dump(exclude={"path"}) == load(tmp_path, filled_alone(filled)).model_dump(
        exclude={"path"}
    )


def filled_in(text: str) -> str:
    """Return the example settings with values in place of the placeholders."""
    return re.sub(r'^(\w+ = )"\.\.\."$', r'\1"acme.us.auth0.com"', text, flags=re.MULTILINE)


def filled_alone(text: str) -> str:
    """Return the settings that have no default."""
    tables = tomllib.loads(text)
    required = {
        setting.name
        for setting in SETTINGS
        if setting.default in {"required", "required, or private_key"}
    }
    return toml(
        {
            s: {k: v for k, v in table.items() if f"{s}.{k}" in required}
            for s, table in tables.items()
        }
    )


def test_the_defaults_that_the_example_has_in_words_are_as_shown(tmp_path: Path) -> None:
    entries = example_entries()
    filled = filled_in(EXAMPLE.read_text())
    assert json.loads(entries["auth0.base_url"]["value"]) == load(tmp_path, filled).auth0.base_url
    system = Path("/etc/auth0-segment-poller/config.toml")
    assert json.loads(entries["state.url"]["value"]) == default_ledger(system, {})


@pytest.mark.parametrize(
    ("key", "section", "longest", "longer"),
    [("late_window", "poll", "50m", "51m"), ("dead_letter_retention", "state", "3650d", "3651d")],
)
def test_a_length_may_be_nothing_but_not_eternity(
    tmp_path: Path, section: str, key: str, longest: str, longer: str
) -> None:
    assert f"at most {longest}" in problem(tmp_path, **{section: {key: longer}})
    assert getattr(
        getattr(load(tmp_path, toml(but(**{section: {key: "0s"}}))), section), key
    ) == timedelta(0)


@pytest.mark.parametrize("value", [0, -1, True, 2.5, "many"])
def test_a_count_is_a_whole_number_from_one_on(tmp_path: Path, value: object) -> None:
    assert "whole number of 1 or more" in problem(
        tmp_path, segment={"write_key": "wk", "refusal_limit": value}
    )


def test_an_hmac_needs_a_key(tmp_path: Path) -> None:
    said = problem(tmp_path, privacy={"email": "hmac"})
    assert all(
        part in said for part in ("privacy.email", "hmac_key_file", "POLLER_PRIVACY__HMAC_KEY")
    )
    found = load(tmp_path, toml(but(privacy={"email": "hmac", "hmac_key": "k"})))
    assert found.privacy.hmac_key is not None
    assert "'k'" not in repr(found.privacy)


@pytest.mark.parametrize("key", ["email", "ip", "user_agent"])
def test_an_unknown_privacy_value_is_refused(tmp_path: Path, key: str) -> None:
    assert "must be one of plain" in problem(tmp_path, privacy={key: "hashed"})


@pytest.mark.parametrize("value", [2, "maybe", [], None])
def test_a_flag_is_true_or_false(tmp_path: Path, value: object) -> None:
    if value is not None:
        assert "must be true or false" in problem(tmp_path, logins={"include_sso": value})
    environ = HOME | {"POLLER_LOGINS__INCLUDE_SSO": "false"}
    assert load(tmp_path, toml(GOOD), environ).logins.include_sso is False


@pytest.mark.parametrize("value", ["x", [], ["s", "x"], [5], [[]], 5])
def test_an_unknown_login_type_is_refused(tmp_path: Path, value: object) -> None:
    assert "list of log event types" in problem(
        tmp_path, logins={"types": value}
    ) or "may hold s, sepft" in problem(tmp_path, logins={"types": value})
    environ = HOME | {"POLLER_LOGINS__TYPES": "s, sepft"}
    assert load(tmp_path, toml(GOOD), environ).logins.types == {"s", "sepft"}


@pytest.mark.parametrize("value", [0, -0.5, 1.1, True, "much", "nan", [], 10**400])
def test_a_share_is_a_part_of_a_whole(tmp_path: Path, value: object) -> None:
    assert "above 0 and up to 1" in problem(tmp_path, auth0={**GOOD["auth0"], "rate_share": value})


@pytest.mark.parametrize(("value", "share"), [(1, 1.0), (0.25, 0.25), ("0.5", 0.5)])
def test_a_share_may_be_text(tmp_path: Path, value: object, share: float) -> None:
    assert (
        load(tmp_path, toml(but(auth0={**GOOD["auth0"], "rate_share": value}))).auth0.rate_share
        == share
    )


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464),
        ("localhost:0", "127.0.0.1", 0),
        ("[::1]:65535", "::1", 65535),
        ("0.0.0.0:1", "0.0.0.0", 1),  # noqa: S104 - it is for the user to say
    ],
)
def test_a_listener_has_an_address_and_a_port(
    tmp_path: Path, value: str, host: str, port: int
) -> None:
    assert load(tmp_path, toml(but(metrics={"listen": value}))).metrics.listen == (host, port)


def test_metrics_are_off_unless_an_address_is_set(tmp_path: Path) -> None:
    assert load(tmp_path, toml(GOOD)).metrics.listen is None


def test_the_page_is_off_and_shows_only_what_leaves_unless_it_is_said(tmp_path: Path) -> None:
    page = load(tmp_path, toml(GOOD)).page
    assert (page.listen, page.show, page.token) == (None, "sent", None)


@pytest.mark.parametrize("listen", ["0.0.0.0:9465", "192.0.2.1:9465", "[::]:9465"])
def test_a_page_beyond_this_machine_needs_a_token_of_its_owner(tmp_path: Path, listen: str) -> None:
    said = problem(tmp_path, page={"listen": listen})
    assert "page.listen: lets other machines ask" in said
    assert "token_file under [page]" in said
    own = {"listen": listen, "token": "x" * 32}
    assert load(tmp_path, toml(but(page=own))).page.listen is not None
    others = load(tmp_path, toml(but(page={"listen": listen})), secrets=False)
    assert others.page.token is None


def test_a_page_on_loopback_needs_no_token(tmp_path: Path) -> None:
    listen = load(tmp_path, toml(but(page={"listen": "localhost:9465"}))).page.listen
    assert listen is not None
    assert listen.is_loopback


def test_the_token_of_the_page_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "page-token").write_text("y" * 64 + "\n")
    token = load(tmp_path, toml(but(page={"token_file": "page-token"}))).page.token
    assert token is not None
    assert token.get_secret_value() == "y" * 64


# --- alerts ---


@pytest.mark.parametrize("place", ["file", "environment", "credential", "urls_file"])
def test_the_urls_of_alerts_come_from_every_place_of_a_secret(tmp_path: Path, place: str) -> None:
    urls = ["slack://a/b/c", "https://example.com/hook?key=1"]
    environ, alerts = dict(HOME), {}
    match place:
        case "file":
            alerts = {"urls": urls}
        case "environment":
            environ["POLLER_ALERTS__URLS"] = " ".join(urls)
        case "credential":
            environ["CREDENTIALS_DIRECTORY"] = str(tmp_path)
            (tmp_path / "alerts_urls").write_text("\n".join([*urls, urls[0], ""]))
        case _:
            alerts = {"urls_file": "list"}
            (tmp_path / "list").write_text("\n".join(urls) + "\n")
    found = load(tmp_path, toml(but(alerts=alerts)), environ)
    assert [url.get_secret_value() for url in found.alerts.urls] == urls
    assert "slack" not in repr(found)
    assert "hook" not in repr(found)


@pytest.mark.parametrize("key", ["urls", "heartbeat_url"])
@pytest.mark.parametrize("value", ["s3cr3t", "http://example.com/s3cr3t", "https://u:s3cr3t@x.com"])
def test_a_url_of_alerts_that_cannot_be_right_is_refused_without_showing_it(
    tmp_path: Path, key: str, value: str
) -> None:
    found = problem(tmp_path, alerts={key: [value] if key == "urls" else value})
    assert f"alerts.{key}" in found
    assert "s3cr3t" not in found
