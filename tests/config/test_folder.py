"""A folder of settings files, and the defaults that they share."""

from pathlib import Path

import pytest

from poller.config import (
    Settings,
    SettingsError,
    load_settings,
    load_shared_settings,
    pipeline_names,
    read_defaults,
    read_pipeline,
)

HOME = {"HOME": "/home/ada"}
DEFAULTS = """
[auth0]
domain = "acme.us.auth0.com"
client_id = "shared"

[segment]
write_key = "wk"
source_name = "web"

[poll]
interval = "20s"
"""
ACME = """
[auth0]
domain = "acme.eu.auth0.com"
client_secret = "s"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "_defaults.toml").write_text(DEFAULTS)
    (tmp_path / "acme.toml").write_text(ACME)
    return tmp_path


def load(folder: Path, name: str = "acme", environ: dict[str, str] | None = None) -> Settings:
    return load_settings(read_pipeline(folder, name), HOME | (environ or {}))


def problems(folder: Path, name: str = "acme") -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        load(folder, name)
    return raised.value.problems


def test_each_toml_file_of_a_folder_is_a_pipeline_by_its_stem(folder: Path) -> None:
    for name in ("globex.eu.toml", ".hidden.toml", "note.txt"):
        (folder / name).write_text("")
    assert pipeline_names(folder) == ("acme", "globex.eu")


def test_a_pipeline_takes_from_the_defaults_what_it_does_not_say_itself(folder: Path) -> None:
    settings = load(folder)
    assert settings.pipeline == "acme"
    assert settings.auth0.domain == "acme.eu.auth0.com"
    assert settings.auth0.client_id == "shared"
    assert settings.poll.interval.total_seconds() == 20
    assert settings.path == folder / "acme.toml"


def test_each_pipeline_has_a_ledger_of_its_own_unless_the_defaults_name_one(folder: Path) -> None:
    home = "/home/ada/.local/state/auth0-segment-poller"
    assert load(folder).state.url == f"sqlite:///{home}/acme/ledger.db"
    of_unit = load(folder, environ={"STATE_DIRECTORY": "/var/lib/many"})
    assert of_unit.state.url == "sqlite:////var/lib/many/acme/ledger.db"
    with (folder / "_defaults.toml").open("a") as file:
        file.write('[state]\nurl = "/srv/shared.db"\n')
    assert load(folder).state.url == "sqlite:////srv/shared.db"


def test_a_mistake_names_the_file_and_the_line_that_hold_it(folder: Path) -> None:
    with (folder / "_defaults.toml").open("a") as file:
        file.write('intervall = "5s"\n[events.names]\nlogin = ""\n')
    with (folder / "acme.toml").open("a") as file:
        file.write("[poll]\nlate_window = true\n")
    unknown, name, acme = problems(folder)
    assert acme.startswith(f"{folder}/acme.toml:6: poll.late_window: ")
    assert unknown.startswith(f"{folder}/_defaults.toml:12: poll.intervall: unknown key")
    assert "did you mean interval" in unknown
    assert name.startswith(f"{folder}/_defaults.toml:14: events.names.login: ")


def test_a_broken_file_of_defaults_is_named_for_each_pipeline(folder: Path) -> None:
    (folder / "_defaults.toml").write_text("[auth0\n")
    with pytest.raises(SettingsError, match=r"_defaults\.toml:1: not valid TOML"):
        read_pipeline(folder, "acme")


def test_a_setting_of_the_process_belongs_into_the_defaults(folder: Path) -> None:
    with (folder / "acme.toml").open("a") as file:
        file.write('[metrics]\nlisten = "127.0.0.1:9464"\n')
    (problem,) = problems(folder)
    assert "acme.toml:6: metrics.listen: is one setting for all pipelines" in problem
    with (folder / "_defaults.toml").open("a") as file:
        file.write('[metrics]\nlisten = "127.0.0.1:9465"\n')
    shared = load_shared_settings(read_defaults(folder), HOME)
    assert shared.metrics.listen == ("127.0.0.1", 9465)


def test_a_page_for_other_machines_needs_a_token_among_the_defaults(folder: Path) -> None:
    with (folder / "_defaults.toml").open("a") as file:
        file.write('[page]\nlisten = "0.0.0.0:9465"\n')
    with pytest.raises(SettingsError, match=r"page\.listen: lets other machines"):
        load_shared_settings(read_defaults(folder), HOME)


def test_a_folder_without_defaults_shares_nothing(tmp_path: Path) -> None:
    assert read_defaults(tmp_path) is None
    assert load_shared_settings(None, HOME).metrics.listen is None


@pytest.mark.parametrize("name", ["_default", "a b", "-x", "a" * 64])
def test_a_name_that_no_pipeline_may_have_is_refused(folder: Path, name: str) -> None:
    (folder / f"{name}.toml").write_text(ACME)
    assert name in pipeline_names(folder)
    with pytest.raises(SettingsError, match="is no name of a pipeline"):
        read_pipeline(folder, name)


def test_an_unknown_pipeline_suggests_the_one_that_was_meant(folder: Path) -> None:
    with pytest.raises(SettingsError, match="unknown pipeline: did you mean acme"):
        read_pipeline(folder, "acne")


def test_a_folder_without_a_pipeline_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "_defaults.toml").write_text("")
    with pytest.raises(SettingsError, match="holds no pipeline"):
        pipeline_names(tmp_path)
    with pytest.raises(SettingsError, match="cannot be read: no such file"):
        pipeline_names(tmp_path / "gone")


def test_a_secret_beside_the_file_wins_over_one_of_the_defaults(folder: Path) -> None:
    for name in ("_defaults", "acme"):
        (folder / f"{name}.credentials").mkdir()
        (folder / f"{name}.credentials/privacy_hmac_key").write_text(f"of-{name}")
    (folder / "_defaults.credentials/segment_write_key").write_text("of-_defaults")
    settings = load(folder)
    assert settings.privacy.hmac_key is not None
    assert settings.privacy.hmac_key.get_secret_value() == "of-acme"
    assert settings.segment.write_key is not None
    assert settings.segment.write_key.get_secret_value() == "of-_defaults"


@pytest.mark.parametrize("sign", [".", "_"])
def test_systemds_credentials_of_a_pipeline_begin_with_its_name(folder: Path, sign: str) -> None:
    (folder / "acme.toml").write_text('[auth0]\ndomain = "acme.eu.auth0.com"\n')
    given = folder / "given"
    given.mkdir()
    (given / f"acme{sign}auth0_client_secret").write_text("of-acme")
    (given / f"other{sign}auth0_private_key").write_text("of-another")
    (given / "privacy_hmac_key").write_text("of-all")
    settings = load(folder, environ={"CREDENTIALS_DIRECTORY": str(given)})
    assert settings.auth0.client_secret is not None
    assert settings.auth0.client_secret.get_secret_value() == "of-acme"
    assert settings.auth0.private_key is None
    assert settings.privacy.hmac_key is not None
    assert settings.privacy.hmac_key.get_secret_value() == "of-all"
