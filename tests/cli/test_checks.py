"""The findings of `check` about regions, clocks and retention."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from poller.cli.checks import clocks, disk, outage, region
from poller.config import load_settings
from poller.service.lifecycle.exit_codes import Severity

HOUR = timedelta(hours=1)


def settings(domain: str, endpoint: str) -> Any:
    environ = {
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


@dataclass(frozen=True)
class _Usage:
    free: int
