"""Expressions in the settings: checked when they are read, named by file, line and key."""

from pathlib import Path

import pytest

from poller.config import SettingsError, load_settings
from poller.config.errors import BadValueError
from poller.config.parsers.expressions import JmesPath

GOOD = """[auth0]
domain = "acme.us.auth0.com"
client_id = "c"
client_secret = "s"
[segment]
write_key = "wk"
"""
HOME = {"HOME": "/home/x"}


def said(tmp_path: Path, events: str) -> str:
    path = tmp_path / "config.toml"
    path.write_text(GOOD + events)
    with pytest.raises(SettingsError) as caught:
        load_settings(path, HOME)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("log.client_id !=", "is not a JMESPath"),
        ("log..a", "is not a JMESPath"),
        ("client_id != 'a'", "`client_id` is neither"),
        ("users.email", "`users` is neither"),
        ("@", "names neither"),
        ("keys(@)", "names neither"),
        ("log.a || [user, b]", "`b` is neither"),
        ("nope(log.a)", "no function nope()"),
        ("log.a && nope(log.a)", "no function nope()"),
        ("length(log.a, log.b)", "number of arguments"),
        ("merge()", "number of arguments"),
        ("log.a # b", "is not a JMESPath"),
        ("", "empty"),
    ],
)
def test_an_invalid_expression_is_named_with_file_line_and_key(
    tmp_path: Path, written: str, wrong: str
) -> None:
    found = said(tmp_path, f'[events]\nwhen = "{written}"\n')
    assert found.startswith(f"{tmp_path}/config.toml:8: events.when: ")
    assert wrong in found


def test_every_line_of_a_table_that_is_wrong_is_named(tmp_path: Path) -> None:
    found = said(
        tmp_path,
        '[events.traits]\ngood = "user.a"\nbad = "user..a"\ngone = false\nodd = 5\nyes = true\n',
    )
    lines = found.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == [
        "events.traits.bad",
        "events.traits.odd",
        "events.traits.yes",
    ]
    assert f"{tmp_path}/config.toml:9:" in lines[0]
    assert "false to remove it" in lines[1]


def test_tables_may_come_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(GOOD)
    found = load_settings(
        path, HOME | {"POLLER_EVENTS__TRAITS": '{"plan": "user.plan", "email": false}'}
    )
    assert found.events.traits == {"plan": JmesPath("user.plan"), "email": None}
    with pytest.raises(SettingsError, match=r"POLLER_EVENTS__PROPERTIES.*JSON object"):
        load_settings(path, HOME | {"POLLER_EVENTS__PROPERTIES": "audience"})


@pytest.mark.parametrize(("preset", "identify"), [("rule", "always"), ("spec", "changes")])
def test_the_preset_decides_how_often_to_identify(
    tmp_path: Path, preset: str, identify: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(GOOD + f'[events]\npreset = "{preset}"\n')
    assert load_settings(path, HOME).events.identify == identify


@pytest.mark.parametrize(
    ("written", "fields"),
    [
        ("user.app_metadata.plan || log.x", {"app_metadata"}),
        ("user.identities[?provider == 'x'].user_id | [0]", None),
        ("user.a[0].b", {"a"}),
        ('user."a b"', {"a b"}),
        ("log.a", set()),
        ("length(user)", None),
        ("user.*", None),
        ("{a: user.b, c: user.d}", {"b", "d"}),
        ("map(&name, user.groups)", {"groups"}),
        ("'gold'", set()),
    ],
)
def test_an_expression_knows_the_profile_fields_that_it_reads(
    written: str, fields: set[str] | None
) -> None:
    found = JmesPath(written)
    if written.startswith("user.identities"):
        assert found.user_fields in (None, {"identities"})
    else:
        assert found.user_fields == fields
    assert found.names_user == ("user" in written.replace("user_id", ""))


def test_an_expression_that_fails_says_nothing_of_what_it_was_given() -> None:
    with pytest.raises(ValueError, match="cannot be evaluated") as caught:
        JmesPath("join(', ', log.name)").of(None, {"name": "Ada Lovelace"})
    assert caught.value.__cause__ is None
    assert "Ada" not in str(caught.value)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(BadValueError):
        JmesPath("(" * 5000 + "log" + ")" * 5000)
