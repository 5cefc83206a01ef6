"""`check`, `status`, `preview`, `demo`, and what every command has in common."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.process.bench import COMMAND, PATIENCE_S, SHORT_PATIENCE, Bench, Ended, eventually


def marks(text: str) -> dict[str, str]:
    """Each subject and its mark."""
    return {match[2]: match[1] for match in re.finditer(r"^([✓✗]) (\w+)", text, re.MULTILINE)}


# check


def test_check_finds_a_good_set_up_good(plain: Bench) -> None:
    ended = plain.run("check")
    assert ended.code == 0, ended.out + ended.err
    assert set(marks(ended.out).values()) == {"✓"}
    subjects = "version settings secrets ledger disk token log users stats events outage segment"
    assert set(marks(ended.out)) == {*subjects.split(), "clock"}
    assert "Segment answers 200 even to a wrong write key" in ended.out
    assert not plain.ledger.exists()


@pytest.mark.parametrize(
    ("change", "crossed", "code", "said"),
    [
        ({"auth0__client_secret": "wrong"}, {"token"}, 78, "auth0.client_secret"),
        ({"segment__write_key": "short"}, {"segment"}, 78, "segment.write_key"),
    ],
)
def test_check_says_what_is_wrong_and_what_to_do(
    plain: Bench, change: dict[str, str], crossed: set[str], code: int, said: str
) -> None:
    plain.write_settings(**change)
    ended = plain.run("check")
    assert ended.code == code
    assert {subject for subject, mark in marks(ended.out).items() if mark == "✗"} == crossed
    assert said in ended.out


def test_the_example_needs_its_values_and_nothing_else(plain: Bench) -> None:
    facts = plain.sandbox.facts
    text = (ROOT / "config.example.toml").read_text()
    text = text.replace(
        '# base_url = "https://acme.us.auth0.com"', f'base_url = "{facts["auth0_url"]}"'
    )
    text = text.replace(
        'endpoint = "https://api.segment.io"', f'endpoint = "{facts["segment_url"]}"'
    )
    text = text.replace("# url = ", f'url = "sqlite:///{plain.ledger}" # ')
    for name in ("domain", "client_id", "client_secret", "write_key"):
        text = text.replace(f'{name} = "..."', f'{name} = "{facts[name]}"', 1)
    plain.settings.write_text(text)
    ended = plain.run("check")
    assert (ended.code, "✗" in ended.out) == (0, False), ended.out + ended.err


def test_check_names_the_scope_that_only_verify_needs_and_is_content(plain: Bench) -> None:
    plain.sandbox.ask("tenant", scopes=["read:logs", "read:users"])
    ended = plain.run("check")
    assert ended.code == 0
    assert "grant read:stats" in ended.out


@pytest.mark.parametrize(
    ("scopes", "code", "missing"), [([], 78, "read:logs"), (["read:logs"], 3, "read:users")]
)
def test_check_names_the_missing_scope(
    plain: Bench, scopes: list[str], code: int, missing: str
) -> None:
    plain.sandbox.ask("tenant", scopes=scopes)
    ended = plain.run("check")
    assert ended.code == code
    assert f"grant {missing}" in ended.out


@pytest.mark.parametrize(
    ("scopes", "code"), [(["read:logs", "read:users"], 0), (["read:logs"], 3), ([], 78)]
)
def test_check_tries_what_a_token_does_not_state(
    plain: Bench, scopes: list[str], code: int
) -> None:
    plain.sandbox.ask("tenant", scopes=scopes, states_scope=False)
    ended = plain.run("check")
    assert ended.code == code, ended.out


def test_check_tells_a_missing_grant_a_missing_scope_and_a_custom_domain_apart(
    plain: Bench,
) -> None:
    hints = []
    plain.sandbox.ask("tenant", scopes=[])
    hints.append(plain.run("check").out)
    plain.sandbox.ask("tenant", is_granted=False)
    hints.append(plain.run("check").out)
    plain.write_settings(auth0__domain="login.acme.com")
    hints.append(plain.run("check").out)
    said = [
        "the token lacks read:logs",
        "Client is not authorized to access",
        "Service not enabled within domain",
    ]
    for hint, own in zip(hints, said, strict=True):
        assert [text for text in said if text in hint] == [own]
    assert "auth0.base_url" in hints[2]


@pytest.mark.parametrize(("path", "status"), [("/oauth/token", 403), ("/api/v2/logs", 302)])
def test_a_page_in_a_services_place_is_never_taken_for_its_verdict(
    plain: Bench, path: str, status: int
) -> None:
    page = {"action": "status", "times": None, "body": "<html>"}
    page["headers"] = {"Content-Type": "text/html"}
    faults = [{"path": path, "status": status}, {"path": "/v1/batch", "status": 404}]
    plain.sandbox.ask("faults", set=[page | fault for fault in faults])
    plain.constants |= SHORT_PATIENCE
    ended = plain.run("check")
    assert ended.code == 75, ended.out
    for service, answer in (("Auth0", status), ("Segment", 404)):
        assert f"something between here and {service} answered: {answer} text/html" in ended.out


def test_check_as_json_says_the_same(plain: Bench) -> None:
    plain.sandbox.ask("tenant", scopes=["read:logs"])
    ended = plain.run("check", "--json")
    shown = json.loads(ended.out)
    assert shown["code"] == ended.code == 3
    (wrong,) = (finding for finding in shown["findings"] if not finding["is_well"])
    assert wrong["subject"] == "users"
    assert "grant read:users" in wrong["hint"]


def test_check_names_a_file_with_a_secret_that_others_may_read(plain: Bench) -> None:
    plain.settings.chmod(0o644)
    ended = plain.run("check")
    assert ended.code == 3
    assert f"chmod 600 {plain.settings}" in ended.out


def test_check_takes_settings_and_a_secret_from_pipes(plain: Bench) -> None:
    secret = plain.sandbox.facts["client_secret"]
    plain.write_settings(auth0__client_secret="...")
    line = f"POLLER_AUTH0__CLIENT_SECRET_FILE=<(echo {secret}) {COMMAND} check --config <(cat $0)"
    ended = subprocess.run(
        ["/bin/bash", "-c", line, str(plain.settings)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "segment.write_key from /dev/fd/" in ended.stdout


def test_check_tells_of_a_clock_that_is_off(plain: Bench) -> None:
    plain.sandbox.ask("clock", advance=300)
    begun = time.monotonic()
    ended = plain.run("check")
    assert ended.code == 3
    found = re.search(r"✗ clock +this machine's clock is (\d+) s behind Auth0's, ", ended.out)
    assert found is not None
    # An answer that is long on its way is older by that time.
    assert -1 <= 300 - int(found[1]) <= time.monotonic() - begun + 1


def test_check_finds_systemds_credentials(plain: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "auth0_client_secret").write_text(plain.sandbox.facts["client_secret"])
    ended = plain.run("check", environ={"CREDENTIALS_DIRECTORY": str(folder)})
    assert "auth0.client_secret from systemd's credentials" in ended.out
    (folder / "auth0_client_secret").rename(folder / "secret")
    ended = plain.run("check", environ={"CREDENTIALS_DIRECTORY": str(folder)})
    assert ended.code == 3
    assert "none of them is used" in ended.out


def test_check_of_what_cannot_be_reached_ends_with_75(plain: Bench) -> None:
    plain.sandbox.ask("faults", set=[{"action": "reset", "service": "segment", "times": None}])
    plain.constants |= SHORT_PATIENCE
    ended = plain.run("check")
    assert ended.code == 75
    assert marks(ended.out)["segment"] == "✗"
    assert (ended.lines, "attempt.failed" in ended.err) == ([], True)  # as text, for people


# status


def test_status_needs_no_secret_and_works_beside_the_daemon(plain: Bench) -> None:
    with plain.start("run") as daemon:
        eventually("a drain", lambda: daemon.says("cycle.finished"))
        text = plain.settings.read_text()
        plain.settings.write_text(re.sub(r"(?m)^(client_secret|write_key) .*$", "", text) + "\n")
        plain.settings.write_text(
            plain.settings.read_text().replace("[segment]", '[segment]\nsource_name = "anything"')
        )
        ended = plain.run("status")
        assert ended.code == 0, ended.err
        assert f"runs as process {daemon.process.pid}" in ended.out
        (stream,) = plain.status()["streams"]
        assert stream["events"]["forwarded"] == plain.sandbox.truth()["events"]
        assert stream["lag_s"] < 60
        assert stream["position"].startswith("900")
        assert daemon.stop().code == 0
    assert "not running" in plain.run("status").out


def test_status_without_a_ledger_says_so(plain: Bench) -> None:
    ended = plain.run("status")
    assert ended.code == 78
    assert f"there is no ledger at {plain.ledger}" in ended.err


# preview


def test_preview_shows_the_newest_and_sends_and_stores_nothing(plain: Bench) -> None:
    plain.sandbox.ask("clock", advance=60)
    ended = plain.run("preview", "--last", "3", "--json")
    assert ended.code == 0, ended.err
    rows = json.loads(ended.out)
    assert len(rows) == 3
    assert [row["log_id"] for row in rows] == sorted((row["log_id"] for row in rows), reverse=True)
    for row in rows:
        assert row["event"]["log_id"] == row["log_id"]
        assert [call["type"] for call in row["calls"]] == ["identify", "track"]
        assert row["calls"][0]["traits"]["email"].endswith("@example.com")
    table = plain.run("preview", "--last", "2")
    assert "Auth0 log event" in table.out
    assert all(call["messageId"] in table.out for row in rows[:2] for call in row["calls"])
    assert "Nothing was sent or stored" in table.out
    assert plain.sandbox.ask("collector") == {}
    assert not plain.ledger.exists()


def test_preview_of_files_asks_no_service_and_needs_no_secret(plain: Bench, tmp_path: Path) -> None:
    records, expected = tmp_path / "records.json", tmp_path / "calls.json"
    records.write_text(json.dumps([{"type": "s", "log_id": "9001", "user_id": "auth0|1"}]))
    plain.settings.unlink()

    def run(*arguments: str) -> Ended:
        return plain.run("preview", *arguments, has_config=False)

    piped = subprocess.run(
        [COMMAND, "preview", "-", "--json"],
        input=records.read_text(),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        check=False,
    )
    assert piped.returncode == 0, piped.stderr
    assert json.loads(piped.stdout)[0]["dead_letter"] == "unparseable_date"
    assert run("records.json", "--write-expect", "calls.json").code == 0
    assert run("records.json", "--expect", "calls.json").code == 0
    expected.write_text("[]")
    assert run("records.json", "--expect", "calls.json").code == 3
    assert "needs files to read" in run("--expect", "calls.json").err
    assert plain.sandbox.ask("collector") == {}


# demo


def test_the_demo_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    ended = subprocess.run(
        [COMMAND, "demo", "--for", "4s"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert ended.returncode == 0, ended.stderr
    rows = dict(re.findall(r"│ ([a-z -]+?) +│ (\d+) +│", ended.stdout))
    assert int(rows["forwarded"]) > 5
    assert int(rows["read"]) == sum(
        int(rows[name]) for name in ("filtered", "forwarded", "dead-lettered")
    )
    assert (rows["dead-lettered"], rows["duplicates"], rows["lost"]) == ("1", "0", "0")
    said = " ".join(ended.stdout.split())
    gone = re.search(r"a gap: (\d+) events of the log .* which stand for (\d+) logins", said)
    sent = re.search(r"sends (\d+) events of the gap, with their (\d+) logins and", said)
    assert gone, said
    assert sent, said
    assert gone.groups() == sent.groups()
    assert ": 0 are lost now" in said
    assert {line.split()[2] for line in ended.stderr.splitlines()} == {"gap.recorded"}
    assert "Done: nothing was lost, and nothing counts twice. Next, with your own tenant" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("signals", [(signal.SIGHUP,), (signal.SIGTERM, signal.SIGHUP)])
def test_a_demo_that_a_signal_ends_leaves_nothing(
    tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [str(COMMAND), "demo", "--for", "1h"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdout is not None
        assert b"The real daemon runs" in process.stdout.readline()
        for number in signals:
            process.send_signal(number)
        assert process.wait(PATIENCE_S) == 130
    assert list(tmp_path.iterdir()) == []


def test_the_demo_on_a_terminal_shows_events_passing_until_ctrl_c(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environ = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "TERM": "xterm-256color",
        "COLUMNS": "100",
        "LINES": "40",
    }
    process = subprocess.Popen(
        [COMMAND, "demo"], stdin=theirs, stdout=theirs, stderr=theirs, env=environ
    )
    os.close(theirs)
    seen = b""
    while b"Logged In" not in seen:
        seen += os.read(ours, 65536)
    process.send_signal(2)
    while True:
        try:
            seen += os.read(ours, 65536)
        except OSError:
            break
    os.close(ours)
    assert process.wait(PATIENCE_S) == 0
    assert b"forwarded" in seen
    assert b"lost" in seen
    assert list(tmp_path.iterdir()) == []


# All of them


def test_the_command_and_the_module_show_the_same_version(tmp_path: Path) -> None:
    shown = [
        subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
        for command in ([COMMAND, "--version"], [sys.executable, "-m", "poller", "--version"])
    ]
    assert shown[0] == shown[1]
    assert re.fullmatch(r"auth0-segment-poller, version \d+\.\d+\.\d+\n", shown[0])


def test_the_shell_completion_of_click_works(tmp_path: Path) -> None:
    environ = {**os.environ, "_AUTH0_SEGMENT_POLLER_COMPLETE": "bash_source"}
    ended = subprocess.run(
        [COMMAND], capture_output=True, text=True, check=True, env=environ, cwd=tmp_path
    )
    assert "complete" in ended.stdout


def test_settings_come_from_the_environment_alone(plain: Bench, tmp_path: Path) -> None:
    facts = plain.sandbox.facts
    environ = {
        "POLLER_AUTH0__DOMAIN": facts["domain"],
        "POLLER_AUTH0__CLIENT_ID": facts["client_id"],
        "POLLER_AUTH0__CLIENT_SECRET": facts["client_secret"],
        "POLLER_AUTH0__BASE_URL": facts["auth0_url"],
        "POLLER_SEGMENT__WRITE_KEY": facts["write_key"],
        "POLLER_SEGMENT__ENDPOINT": facts["segment_url"],
        "POLLER_POLL__START": "earliest",
        "POLLER_STATE__URL": f"sqlite:///{plain.ledger}",
    }
    empty = tmp_path / "elsewhere"
    empty.mkdir()
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("POLLER_")
    }
    ended = subprocess.run(
        [COMMAND, "run", "--once"],
        capture_output=True,
        text=True,
        env=inherited | environ,
        cwd=empty,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    plain.assert_conserved()


def test_the_file_is_found_where_the_readme_says(plain: Bench) -> None:
    for environ in ({"POLLER_CONFIG": str(plain.settings)}, {}):
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("POLLER_")
        }
        ended = subprocess.run(
            [COMMAND, "preview", "--json"],
            capture_output=True,
            text=True,
            check=False,
            env=inherited | environ,
            cwd="/" if environ else plain.folder,
        )
        assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("command", "redirected", "code"),
    [
        ("status", "| true", 0),
        ("preview --json", "| head -1", 0),
        ("status", ">/dev/full", 75),
        ("check", ">/dev/full", 75),
    ],
)
def test_an_output_that_nobody_takes_is_no_bug(
    plain: Bench, command: str, redirected: str, code: int
) -> None:
    plain.run("run", "--once")
    line = f"set -o pipefail; {COMMAND} {command} --config {plain.settings} {redirected}"
    ended = subprocess.run(
        ["/bin/bash", "-c", line], capture_output=True, text=True, check=False, cwd=plain.folder
    )
    assert ended.returncode == code, ended.stderr
    assert "bug" not in ended.stderr
    assert (code == 0) or "No space left" in ended.stderr
