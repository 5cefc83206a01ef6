"""A folder whose pipelines cannot be opened: whom it tells, and what can be pasted."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from poller.cli.pipelines import failures
from poller.cli.pipelines.failures import Failures
from poller.cli.pipelines.folder import Folder
from poller.cli.pipelines.pasting import CompletedCommands, completed, options_of_all
from poller.config import (
    Settings,
    SettingsError,
    load_shared_settings,
    read_defaults,
)
from poller.service.alerts.groups import AlertGroups
from poller.service.daemon.first_start import BEGUN_NOW
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.lifecycle.process import Process
from poller.service.observability.systemd import Notifier, Supervisor
from poller.service.pipelines.pipelines import Pipelines
from tests.service.alerts.bench import Receiver, Recorder

PIPELINE = """
[auth0]
domain = "acme.us.auth0.com"
client_id = "id"
client_secret = "s"
[segment]
write_key = "wk"
source_name = "web"
"""


class Bench:
    def __init__(self, path: Path) -> None:
        self.now = datetime.now(UTC)
        self.receivers = {"own": Receiver("own"), "all": Receiver("all")}
        (path / "_defaults.toml").write_text('[alerts]\nurls = ["https://all.example"]\n')
        (path / "typo.toml").write_text(PIPELINE + "colour = 1\n")
        own = '[alerts]\nurls = ["https://own.example"]\n'
        (path / "held.toml").write_text(f'{PIPELINE}{own}[state]\nurl = "/proc/none/ledger.db"\n')
        shared = load_shared_settings(read_defaults(path), dict(os.environ))
        supervisor = Supervisor(Notifier(None), Heartbeat())
        self.pipelines = Pipelines(Process(), supervisor)
        self.folder = Folder(path, shared, Process(), supervisor, self.pipelines)
        self.folder.alert_groups = AlertGroups(options_of_all(path), monotonic=self._seconds)
        self.folder.start()
        self.failures = Failures(self.folder, now=lambda: self.now)

    def _seconds(self) -> float:
        return self.now.timestamp()

    def targets_of(self, settings: Settings) -> tuple[Receiver, ...]:
        urls = [url.get_secret_value() for url in settings.alerts.urls]
        return tuple(self.receivers[url.split(".")[0].removeprefix("https://")] for url in urls)

    def fail(self) -> None:
        """Open each pipeline in vain, and look ten minutes later, and a minute after that."""
        for pipeline in self.pipelines:
            pipeline.step()
        self.failures.look()
        for minutes in (10, 1):
            self.now += timedelta(minutes=minutes)
            self.failures.look()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    folder = tmp_path / "many"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    made = Bench(folder)
    monkeypatch.setattr(failures, "targets_of", made.targets_of)
    return made


def test_a_failure_is_told_to_the_targets_of_its_pipeline_or_to_those_of_the_defaults(
    bench: Bench,
) -> None:
    bench.fail()
    (by_all,) = bench.receivers["all"].bodies
    (by_own,) = bench.receivers["own"].bodies
    assert "Pipeline: typo" in by_all
    assert "--pipeline typo" in by_all
    assert "Pipeline: held" in by_own
    assert "Stream: acme.us.auth0.com to web" in by_own


def test_a_failure_fails_a_switch_of_the_pipelines_own_and_not_the_one_that_all_share(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    switches = {name: Recorder() for name in ("own", "all")}

    def switch_of(settings: Settings) -> Recorder | None:
        url = settings.alerts.heartbeat_url
        return switches[url.get_secret_value().rpartition("/")[2]] if url else None

    monkeypatch.setattr(failures, "heartbeat_of", switch_of)
    shared = '[alerts]\nheartbeat_url = "https://hc.example/all"\n'
    (bench.folder.path / "_defaults.toml").write_text(shared)
    bench.folder.shared = load_shared_settings(read_defaults(bench.folder.path), dict(os.environ))
    own = shared.replace("all", "own")
    closed = '[state]\nurl = "/proc/none/ledger.db"\n'
    (bench.folder.path / "held.toml").write_text(PIPELINE + own + closed)
    (bench.folder.path / "other.toml").write_text(PIPELINE.replace("web", "app") + closed)
    bench.folder.reload()
    bench.fail()
    assert switches["own"].kinds == ["fail"]
    assert switches["all"].kinds == []


def test_targets_that_cannot_be_used_keep_no_other_pipeline_from_telling(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(settings: Settings) -> tuple[Receiver, ...]:
        found = bench.targets_of(settings)
        if found == (bench.receivers["own"],):
            raise SettingsError(("alerts.urls: URL 1 of 1 cannot be used",))
        return found

    monkeypatch.setattr(failures, "targets_of", refuse)
    bench.fail()
    assert bench.receivers["own"].bodies == []
    assert len(bench.receivers["all"].bodies) == 1


def test_failures_of_several_pipelines_are_one_message(bench: Bench) -> None:
    for name in "abc":
        (bench.folder.path / f"{name}.toml").write_text(PIPELINE + "colour = 1\n")
    bench.folder.reload()
    bench.fail()
    (body,) = bench.receivers["all"].bodies
    assert body.startswith("4 pipelines tell the same: a, b, c, typo\n")
    assert f"auth0-segment-poller status --config {bench.folder.path}\n" in body
    assert len(bench.receivers["own"].bodies) == 1


def test_a_command_in_a_text_is_completed_for_its_pipeline() -> None:
    options = " --config /etc/many --pipeline acme"
    text = "see `ledger show`, or `status`. `run` creates it, and `timedatectl` is not ours"
    assert completed(text, options) == (
        "see `auth0-segment-poller ledger show --config /etc/many --pipeline acme`, "
        "or `auth0-segment-poller status --config /etc/many --pipeline acme`. "
        "`run` creates it, and `timedatectl` is not ours"
    )


def test_the_note_of_a_first_start_holds_a_command_that_can_be_completed() -> None:
    assert completed(BEGUN_NOW, " --pipeline acme").endswith(
        ": `auth0-segment-poller backfill --since earliest --pipeline acme`"
    )


def test_a_log_line_of_a_pipeline_holds_commands_that_can_be_pasted() -> None:
    step = CompletedCommands(Path("/etc/our folder"))
    line = step(None, "error", {"event": "x", "hint": "see `status`", "pipeline": "acme"})
    assert line["hint"] == (
        "see `auth0-segment-poller status --config '/etc/our folder' --pipeline acme`"
    )
    assert step(None, "error", {"event": "x", "hint": "see `status`"})["hint"] == "see `status`"
