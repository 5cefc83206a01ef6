"""The command `alerts test`."""

import json
from pathlib import Path

import jsonschema
import pytest

from poller.config import SettingsError
from tests.paths import TESTS
from tests.scripted import Reply, Scripted

TOKEN = "a-very-secret-token"


def run(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    *,
    urls: list[str],
    heartbeat: str | None = None,
    more: tuple[str, ...] = (),
) -> int:
    from poller import cli  # noqa: PLC0415 - the command imports much

    config = folder / "config.toml"
    beat = f'heartbeat_url = "{heartbeat}"\n' if heartbeat else ""
    config.write_text(
        '[auth0]\ndomain = "acme.us.auth0.com"\nclient_id = "abc"\nclient_secret = "s3cr3t"\n'
        f'[segment]\nwrite_key = "wk1"\nsource_name = "web"\n[alerts]\nurls = {urls}\n{beat}'
    )
    monkeypatch.setattr("sys.argv", ["poller", "alerts", "test", "--config", str(config), *more])
    monkeypatch.setenv("HOME", str(folder))
    return cli.run_command()


def test_each_url_gets_one_alert_and_the_answer_says_which_arrived(
    scripted: Scripted,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scripted.replies = [Reply(), Reply(status=500), Reply()]
    uuid = "01234567-89ab-cdef-0123-456789abcdef"
    urls = [
        f"{scripted.origin.replace('http', 'json')}/{TOKEN}",
        f"{scripted.origin}/{TOKEN}?key={TOKEN}",
    ]
    heartbeat = f"{scripted.origin}/{uuid}"
    assert run(monkeypatch, tmp_path, urls=urls, heartbeat=heartbeat) == 3
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        "alerts.urls 1 (JSON): arrived",
        "alerts.urls 2 (webhook): it answered 500 without a media type",
        "alerts.heartbeat_url: arrived",
    ]
    assert TOKEN not in said.out + said.err
    assert uuid not in said.out + said.err
    assert [asked.path for asked in scripted.asked] == [f"/{TOKEN}"] * 2 + [f"/{uuid}/log"]
    assert b"acme.us.auth0.com to web" in scripted.asked[0].body


def test_with_json_the_answer_follows_its_schema(
    scripted: Scripted,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scripted.replies = [Reply(), Reply(status=500)]
    urls = [f"{scripted.origin}/{TOKEN}", f"{scripted.origin}/{TOKEN}2"]
    assert run(monkeypatch, tmp_path, urls=urls, more=("--json",)) == 3
    said = json.loads(capsys.readouterr().out)
    schemas = json.loads((TESTS / "schemas/commands.json").read_text())
    jsonschema.validate(said, {**schemas, "$ref": "#/$defs/alerts_test"})
    assert [each["error"] for each in said] == [None, "it answered 500 without a media type"]


def test_the_exit_code_is_0_if_all_arrived(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(monkeypatch, tmp_path, urls=[f"{scripted.origin}/{TOKEN}"]) == 0


@pytest.mark.parametrize(
    ("urls", "is_installed", "expected"),
    [
        ([f"nonsense://{TOKEN}"], True, "URL 1 of 1 cannot be used"),
        ([f"json://{TOKEN}"], False, "pip install 'auth0-segment-poller[alerts]'"),
        ([f"http://example.com/{TOKEN}"], True, "plain http goes only to this machine"),
        ([TOKEN], True, "must be a list of URLs"),
    ],
)
def test_urls_that_cannot_be_used_are_a_problem_of_the_settings(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    urls: list[str],
    is_installed: bool,
    expected: str,
) -> None:
    if not is_installed:
        monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    assert run(monkeypatch, tmp_path, urls=urls) == 78
    said = capsys.readouterr().err
    assert f"error[{SettingsError.code}]" in said
    assert expected in said
    assert TOKEN not in said


def test_without_a_url_there_is_nothing_to_test(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(monkeypatch, tmp_path, urls=[]) == 2
