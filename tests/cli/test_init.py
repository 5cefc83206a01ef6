"""The command `init`: the files that it writes, and the places that it refuses."""

import os
import signal
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poller import cli
from poller.cli.commands import init as command
from poller.cli.setup.files import NewFile, settings_files, write_files
from poller.cli.setup.questions import QUESTIONS, known_values
from poller.config import load_settings
from poller.config.errors import BadValueError
from tests.paths import ROOT

SECRET, KEY = "s3cr3t-of-the-application", "key-of-the-source"
OPTIONS = {
    "--domain": "https://acme.us.auth0.com/",
    "--client-id": "abc",
    "--client-secret-file": "secret",
    "--write-key-file": "key",
    "--region": "EU",
}
PARSERS = {question.label: question.parse for question in QUESTIONS}

Init = Callable[..., int]


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Init:
    """Return a function that runs `init` in a folder, without a terminal and without `check`."""
    folder, given = tmp_path / "site", tmp_path / "given"
    for made in (folder, given):
        made.mkdir(mode=0o755)
    (given / "secret").write_text(f"{SECRET}\n")
    (given / "key").write_text(KEY)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(command, "_check", lambda path: 0)

    def run(*arguments: str, **changed: str | None) -> int:
        options = OPTIONS | {f"--{name.replace('_', '-')}": text for name, text in changed.items()}
        named = [
            f"{name}={given / text if name.endswith('-file') else text}"
            for name, text in options.items()
            if text is not None
        ]
        monkeypatch.setattr("sys.argv", ["poller", "init", *named, *arguments])
        return cli.run_command()

    return run


def written(folder: Path) -> dict[str, str]:
    """Return every file and folder below a folder with its mode."""
    return {
        str(path.relative_to(folder)): oct(stat.S_IMODE(path.lstat().st_mode))
        for path in sorted(folder.rglob("*"))
    }


WRITTEN = {
    "config.credentials": "0o700",
    "config.credentials/auth0_client_secret": "0o600",
    "config.credentials/segment_write_key": "0o600",
    "config.toml": "0o600",
}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_init_writes_settings_and_secrets_that_only_their_owner_reads(
    init: Init, capsys: pytest.CaptureFixture[str], umask: int
) -> None:
    before = os.umask(umask)
    try:
        assert init() == 0
    finally:
        os.umask(before)
    assert written(Path()) == WRITTEN
    settings = load_settings(Path("config.toml"), {"HOME": "/home/ada"})
    assert settings.auth0.domain == "acme.us.auth0.com"
    assert settings.auth0.client_id == "abc"
    assert settings.segment.endpoint == "https://events.eu1.segmentapis.com"
    for secret, text in ((settings.auth0.client_secret, SECRET), (settings.segment.write_key, KEY)):
        assert secret is not None
        assert secret.get_secret_value() == text
    said = capsys.readouterr()
    for text in (SECRET, KEY):
        assert text not in Path("config.toml").read_text() + said.out + said.err
    assert "preview --last 5" in said.out


def test_the_new_settings_file_is_the_example_with_the_answers_filled_in(init: Init) -> None:
    init()
    example = (ROOT / "config.example.toml").read_text().splitlines()
    new = Path("config.toml").read_text().splitlines()
    assert [line for line in example if line not in new] == [
        'domain = "..."',
        'client_id = "..."',
        'client_secret = "..."',
        'write_key = "..."',
        'endpoint = "https://api.segment.io"',
    ]
    assert [line for line in new if line not in example] == [
        'domain = "acme.us.auth0.com"',
        'client_id = "abc"',
        "# The value is in config.credentials/auth0_client_secret.",
        '# client_secret = "..."',
        "# The value is in config.credentials/segment_write_key.",
        '# write_key = "..."',
        'endpoint = "https://events.eu1.segmentapis.com"',
    ]


def test_a_setting_in_the_environment_is_written_too(
    init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLLER_AUTH0__BASE_URL", "https://gateway.example")
    monkeypatch.setenv("POLLER_AUTH0__CLIENT_SECRET", SECRET)
    monkeypatch.setenv("POLLER_SEGMENT__API_TOKEN", "token")
    assert init("acme.toml", client_secret_file=None) == 0
    auth0 = tomllib.loads(Path("acme.toml").read_text())["auth0"]
    assert auth0["base_url"] == "https://gateway.example"
    secrets = {path.name: path.read_text() for path in Path("acme.credentials").iterdir()}
    assert secrets == {
        "auth0_client_secret": f"{SECRET}\n",
        "segment_write_key": f"{KEY}\n",
        "segment_api_token": "token\n",
    }


def test_an_unknown_variable_is_refused_with_a_suggestion(
    init: Init, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POLLER_AUTH0__DOMIAN", "acme.us.auth0.com")
    assert init() == 78
    assert "did you mean POLLER_AUTH0__DOMAIN?" in capsys.readouterr().err
    assert written(Path()) == {}


def test_without_a_terminal_each_missing_answer_is_named_with_its_option(
    init: Init, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(domain=None, write_key_file=None) == 2
    assert "add --domain, --write-key-file, or set them" in capsys.readouterr().err
    assert written(Path()) == {}


@pytest.mark.parametrize(
    ("label", "typed", "wrong"),
    [
        ("Domain", "", "is empty"),
        ("Domain", "acme", "the whole host name"),
        ("Domain", "acme.us.autho.com", "did you mean acme.us.auth0.com?"),
        ("Client ID", "two words", "white space"),
        ("Client Secret", "...", "placeholder"),
        ("Region", "eur", "must be us or eu"),
        ("Region", "http://segment.example", "use https"),
    ],
)
def test_a_wrong_answer_is_told_at_once(label: str, typed: str, wrong: str) -> None:
    with pytest.raises(BadValueError, match=wrong.replace("?", r"\?")):
        PARSERS[label](typed)


@pytest.mark.parametrize(
    ("label", "typed", "taken"),
    [
        ("Domain", "HTTPS://Acme.us.auth0.com/some/path", "acme.us.auth0.com"),
        ("Domain", "login.acme.example", "login.acme.example"),
        ("Region", "us", "https://api.segment.io"),
        ("Region", "https://proxy.example/", "https://proxy.example"),
    ],
)
def test_an_answer_is_taken_in_the_forms_that_people_paste(
    label: str, typed: str, taken: str
) -> None:
    assert PARSERS[label](typed) == taken


def test_a_file_that_is_there_is_changed_only_with_yes_and_keeps_everything_else(
    init: Init, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        '[segment]\nwrite_key_file = "old"\n [ auth0 ]\n# mine\n\tclient_secret="old"\n'
        'domain = "old.us.auth0.com"\n[poll]\ninterval = "5s"'
    )
    file = Path("config.toml")
    file.write_text(text)
    file.chmod(0o640)
    assert init() == 2
    assert 'no terminal to ask "Change it?": add --yes' in capsys.readouterr().err
    assert file.read_text() == text
    assert init("--yes") == 0
    changed = file.read_text()
    assert "# mine\n" in changed
    assert tomllib.loads(changed) == {
        "segment": {"endpoint": "https://events.eu1.segmentapis.com"},
        "auth0": {"client_id": "abc", "domain": "acme.us.auth0.com"},
        "poll": {"interval": "5s"},
    }
    assert written(Path()) == WRITTEN | {"config.toml": "0o640"}
    assert init("--yes") == 0
    assert file.read_text() == changed


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("auth0 = {}\n", 2),
        ('[auth0]\n"client_secret" = "old"\n', 2),
        ("[auth0\n", 78),
        ('[poll]\ninterval = "often"\n', 78),
    ],
)
def test_a_file_that_cannot_be_changed_stays_as_it_is(init: Init, text: str, code: int) -> None:
    Path("config.toml").write_text(text)
    assert init("--yes") == code
    assert Path("config.toml").read_text() == text
    assert [*written(Path())] == ["config.toml"]


def _link(path: str) -> Callable[[], None]:
    return lambda: Path(path).symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (_link("config.toml"), "config.toml"),
        (_link("config.credentials"), "config.credentials"),
        (lambda: Path("config.toml").mkdir(), "config.toml"),
        (lambda: os.mkfifo("config.toml"), "config.toml"),
    ],
    ids=["a link", "a link to a folder", "a folder", "a pipe"],
)
def test_only_a_regular_file_is_replaced(
    init: Init, capsys: pytest.CaptureFixture[str], make: Callable[[], Any], name: str
) -> None:
    make()
    before = written(Path())
    assert init("--yes") == 2
    assert f"{name} is there and is not" in capsys.readouterr().err
    assert written(Path()) == before


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("acme", "must end with .toml"),
        ("no/acme.toml", "there is no folder no"),
        ("/proc/acme.toml", "cannot write|may not write"),
        ("n" * 300 + ".toml", "cannot write"),
    ],
)
def test_an_unfit_name_is_refused(
    init: Init, capsys: pytest.CaptureFixture[str], file: str, said: str
) -> None:
    assert init(file) == 2
    assert any(part in capsys.readouterr().err for part in said.split("|"))
    assert written(Path()) == {}


def test_root_writes_no_secret_where_other_users_can_put_links(
    init: Init, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path().chmod(0o777)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert init() == 2
    assert "root writes no secret below" in capsys.readouterr().err
    assert written(Path()) == {}


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    files = [
        NewFile(path=tmp_path / "new/secret", content="s"),
        NewFile(path=tmp_path / "folder" / ("n" * 300), content="t"),
    ]
    with pytest.raises(Exception, match="cannot write"):
        write_files(files)
    assert [*written(tmp_path)] == ["folder"]


def test_the_folder_of_a_service_is_made_with_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    values = {
        ("auth0", "domain"): "acme.us.auth0.com",
        ("auth0", "client_id"): "abc",
        ("auth0", "client_secret"): SECRET,
        ("segment", "write_key"): KEY,
    }
    write_files(settings_files(tmp_path / "etc/config.toml", values, None, mode=0o644))
    expected = {f"etc/{name}": mode for name, mode in WRITTEN.items()}
    assert written(tmp_path) == {"etc": "0o755"} | expected | {"etc/config.toml": "0o644"}


def test_a_signal_waits_until_all_files_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [NewFile(path=tmp_path / name, content="s") for name in ("a", "b")]
    fsync = os.fsync

    def interrupted(descriptor: int) -> None:
        signal.raise_signal(signal.SIGINT)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_files(files)
    assert [*written(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("name", ["../acme", "a/b", "Acme", "x" * 25, "/etc/passwd"])
def test_the_name_of_a_service_is_a_part_of_a_user_name(
    init: Init, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert init("--systemd", "--yes", name) == 2
    assert "FILE is a name of at most 24 characters" in capsys.readouterr().err


def test_an_example_without_answers_is_filled_in_without_a_question(init: Init) -> None:
    example = (ROOT / "config.example.toml").read_text()
    Path("config.toml").write_text(example)
    assert init() == 0
    assert Path("config.toml").read_text() != example


def test_the_answers_that_are_there_can_be_kept(init: Init) -> None:
    assert known_values(Path("config.toml"), None) == {}
    init()
    present = Path("config.toml").read_text()
    values = known_values(Path("config.toml"), present)
    assert {question.key: values[question.key] for question in QUESTIONS} == {
        ("auth0", "domain"): "acme.us.auth0.com",
        ("auth0", "client_id"): "abc",
        ("auth0", "client_secret"): SECRET,
        ("segment", "write_key"): KEY,
        ("segment", "endpoint"): "https://events.eu1.segmentapis.com",
    }
