"""The findings of `check` that need no service."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from poller.cli import checks
from poller.cli.checks import (
    alert_targets,
    clocks,
    closed_to_service,
    disk,
    outage,
    region,
    secrets,
)
from poller.cli.commands import check
from poller.config import SecretPlace, load_settings
from poller.core.errors import TransientError
from poller.service.lifecycle.exit_codes import Severity
from poller.service.upstream.retry import retrying

HOUR = timedelta(hours=1)


def settings(domain: str, endpoint: str, **others: str) -> Any:
    environ = {
        **others,
        "POLLER_AUTH0__DOMAIN": domain,
        "POLLER_AUTH0__CLIENT_ID": "id",
        "POLLER_AUTH0__CLIENT_SECRET": "a-secret",
        "POLLER_SEGMENT__WRITE_KEY": "a-write-key",
        "POLLER_SEGMENT__ENDPOINT": endpoint,
        "HOME": "/nowhere",
    }
    return load_settings(None, environ)


US, EU = "https://api.segment.io", "https://events.eu1.segmentapis.com"


@pytest.mark.parametrize(
    ("domain", "endpoint", "said"),
    [
        ("acme.eu.auth0.com", US, "the tenant is in the EU"),
        ("acme.eu.auth0.com", EU, None),
        ("acme.us.auth0.com", EU, "the tenant is in the US"),
        ("acme.us.auth0.com", US, None),
        ("login.acme.com", US, None),
        ("login.acme.com", EU, None),
    ],
)
def test_regions_that_differ_are_pointed_at_and_are_no_failure(
    domain: str, endpoint: str, said: str | None
) -> None:
    found = list(region(settings(domain, endpoint)))
    assert [finding.text.partition(",")[0] for finding in found] == ([said] if said else [])
    assert all(finding.severity is Severity.GOOD and finding.hint for finding in found)


@pytest.mark.parametrize(
    ("seconds", "said", "severity"),
    [
        (1, "within 2 s of", Severity.GOOD),
        (59, "59 s behind", Severity.GOOD),
        (-61, "61 s ahead of", Severity.ATTENTION),
    ],
)
def test_a_clock_matters_when_it_is_a_minute_off(
    seconds: int, said: str, severity: Severity
) -> None:
    (found,) = clocks({"Auth0": timedelta(seconds=seconds), "Segment": None})
    assert found.text == f"this machine's clock is {said} Auth0's"
    assert found.severity is severity
    assert list(clocks({"Auth0": None, "Segment": None})) == []


def test_an_outage_may_last_as_long_as_the_log_goes_back() -> None:
    assert outage(24 * HOUR, timedelta(seconds=30)).text == "up to 24 h lose no event"
    assert outage(24 * HOUR, 13 * HOUR).severity is Severity.ATTENTION


def test_a_young_tenant_is_not_taken_for_one_that_keeps_its_log_for_an_hour() -> None:
    found = outage(HOUR, timedelta(seconds=30))
    assert found.text.startswith("up to 24 h lose no event. The log is only 1 h old")
    assert outage(HOUR, 2 * HOUR).severity is Severity.GOOD


@pytest.mark.parametrize(
    ("free", "said", "severity"),
    [
        (5_200_000_000, "5.2 GB free", Severity.GOOD),
        (42_000_000, "42.0 MB free", Severity.ATTENTION),
    ],
)
def test_little_room_for_the_ledger_is_told_before_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, said: str, severity: Severity
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: _Usage(free=free))
    found = disk(tmp_path / "not/yet/ledger.db")
    assert (found.text, found.severity) == (said, severity)
    assert (found.hint is None) == (severity is Severity.GOOD)


@pytest.fixture
def etc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of settings on a machine on which the units are installed."""
    folder, units = tmp_path / "etc/auth0-segment-poller", tmp_path / "units"
    folder.mkdir(parents=True)
    units.mkdir()
    (units / "auth0-segment-poller.service").touch()
    monkeypatch.setattr(checks, "SYSTEM_FILE", folder / "config.toml")
    monkeypatch.setattr(checks, "_UNIT_FOLDERS", (units,))
    for each in (tmp_path, *tmp_path.parents):
        if each.owner() == "root" and each != Path("/tmp"):  # noqa: S108 - pytest's own folders
            each.chmod(each.stat().st_mode | 0o011)
    return folder


def place(file: Path, *, is_in_folder: bool = False) -> SecretPlace:
    return SecretPlace(
        name="segment.write_key",
        place=str(file),
        file=file,
        credential=file.with_suffix(".credentials") / "segment_write_key",
        is_credential=False,
        is_in_folder=is_in_folder,
    )


def written(file: Path, mode: int) -> Path:
    file.write_text("")
    file.chmod(mode)
    return file


def test_a_secret_in_the_settings_of_a_service_is_moved_and_not_hidden_from_the_service(
    etc: Path, tmp_path: Path
) -> None:
    settings, own = written(etc / "config.toml", 0o644), written(tmp_path / "own.toml", 0o644)
    hints = {
        file: [found.hint for found in secrets((place(file),), {}) if found.hint]
        for file in (settings, own)
    }
    assert "config.credentials/segment_write_key, with mode 600" in str(hints[settings])
    assert hints[own] == [f"chmod 600 {own}"]
    loaded = written(etc / "segment_write_key", 0o644)
    (_, found) = secrets((place(loaded, is_in_folder=True),), {})
    assert found.hint == f"chmod 600 {loaded}"


def test_settings_that_only_root_can_read_are_told_before_the_service_ends_with_78(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, secret = written(etc / "config.toml", 0o600), written(etc / "key", 0o600)
    loaded = place(written(etc / "segment_write_key", 0o600), is_in_folder=True)
    found = list(closed_to_service(settings, (place(secret), loaded)))
    assert [each.text.split()[4].rstrip(",") for each in found] == [str(settings), str(secret)]
    assert {each.severity for each in found} == {Severity.ATTENTION}
    assert all(f"{etc}/config.credentials" in str(each.hint) for each in found)
    settings.chmod(0o644)
    assert list(closed_to_service(settings, ())) == []
    monkeypatch.setattr("os.geteuid", lambda: 61200)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    (found_by_owner,) = closed_to_service(settings, ())
    assert found_by_owner.severity is Severity.UNUSABLE


def test_without_units_nobody_but_root_need_read_the_settings(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = written(etc / "config.toml", 0o600)
    monkeypatch.setattr(checks, "_UNIT_FOLDERS", ())
    assert list(closed_to_service(settings, ())) == []


@dataclass(frozen=True)
class _Usage:
    free: int


@pytest.mark.parametrize(
    ("urls", "texts", "severities"),
    [
        ("", [], []),
        (
            "json://127.0.0.1/s3cr3t https://127.0.0.1/s3cr3t",
            ["1 (JSON), 2 (webhook); `alerts test` sends one to each of them"],
            [Severity.GOOD],
        ),
        (
            "json://127.0.0.1/s3cr3t nonsense://s3cr3t",
            [
                (
                    "alerts.urls: URL 2 of 2 cannot be used: it must be an https:// URL, or one of "
                    "https://appriseit.com/services/"
                )
            ],
            [Severity.UNUSABLE],
        ),
    ],
)
def test_urls_of_alerts_that_would_end_the_start_are_found(
    urls: str, texts: list[str], severities: list[Severity]
) -> None:
    found = list(alert_targets(settings("acme.us.auth0.com", US, POLLER_ALERTS__URLS=urls)))
    assert [finding.text for finding in found] == texts
    assert [finding.severity for finding in found] == severities


@pytest.mark.parametrize(
    ("url", "is_short"),
    [("sqlite:///{}/ledger.db", True), ("postgresql://db.example/poller", False)],
)
def test_only_a_ledger_on_a_server_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, is_short: bool
) -> None:
    waits = []

    def fails_at_once(patience: timedelta) -> Iterator[Any]:
        waits.append(patience)
        return iter(retrying(timedelta()))

    def is_full(*_: object) -> str:
        raise TransientError("the disk is full")

    monkeypatch.setattr(check, "retrying", fails_at_once)
    monkeypatch.setattr(check, "inspect_ledger", is_full)
    given = settings("a.us.auth0.com", US, POLLER_STATE__URL=url.format(tmp_path))
    found = list(check._ledger_findings(given, check._Patience()))
    assert found[0].severity is Severity.UNREACHABLE
    assert (waits[-1] <= timedelta(seconds=2)) == is_short
