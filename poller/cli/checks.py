"""What `check` looks at beside the services' answers: secrets, their files, clocks, regions and retention."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from poller.cli.views.wording import lasting
from poller.config import SecretPlace, Settings
from poller.service.lifecycle.exit_codes import Severity

SKEW_THAT_MATTERS = timedelta(seconds=60)
ROOM_THAT_MATTERS = 100_000_000
_GB = 1_000_000_000
_HOUR, _SHORTEST_RETENTION = timedelta(hours=1), timedelta(days=1)
_SECOND = timedelta(seconds=1)  # a Date header knows no less
_EU_SEGMENT = "eu1.segmentapis.com"
_CREDENTIALS = "CREDENTIALS_DIRECTORY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line: what was looked at, how it is, and what to do where it is not well."""

    subject: str
    text: str
    hint: str | None = None
    severity: Severity = Severity.GOOD
    is_open: bool = False
    """Nothing is known to be wrong, and nothing was proved either."""


def mark_of(finding: Finding) -> tuple[str, str]:
    """Return the mark before a finding, and its colour."""
    if finding.severity is not Severity.GOOD:
        return "✗", "red"
    if finding.is_open:
        return "?", "yellow"
    return "✓", "green"


def secrets(places: tuple[SecretPlace, ...], environ: Mapping[str, str]) -> Iterator[Finding]:
    """Where the secrets come from, and which of their files others may read."""
    from_systemd = sum(place.is_credential for place in places)
    where = ", ".join(f"{place.name} from {_short(place)}" for place in places)
    yield Finding(subject="secrets", text=where or "none is given")
    if environ.get(_CREDENTIALS) and not from_systemd:
        yield Finding(
            subject="secrets",
            text=f"systemd gives credentials in ${_CREDENTIALS}, and none of them is used",
            hint="name them after their settings, as LoadCredential=auth0_client_secret:/etc/…",
            severity=Severity.ATTENTION,
        )
    files = {place.file: place.name for place in places if place.file and not place.is_credential}
    for file, name in files.items():
        if _is_open(file):
            yield Finding(
                subject="secrets",
                text=f"{file} holds {name}, and other users may read it",
                hint=f"chmod 600 {file}",
                severity=Severity.ATTENTION,
            )


def ledger_file(path: Path) -> Iterator[Finding]:
    """Whether others may read the ledger, which may hold whole events."""
    if path.exists() and _is_open(path):
        yield Finding(
            subject="ledger",
            text=f"{path} may be read by other users",
            hint=f"chmod 600 {path}; the next start does so too",
            severity=Severity.ATTENTION,
        )


def disk(path: Path) -> Finding:
    """How much room the ledger has."""
    folder = next(folder for folder in path.parents if folder.exists())
    free = shutil.disk_usage(folder).free
    is_short = free < ROOM_THAT_MATTERS
    return Finding(
        subject="disk",
        text=f"{free / 1e9:,.1f} GB free" if free >= _GB else f"{free / 1e6:,.1f} MB free",
        hint=f"make room at {folder}: on a full disk nothing can be settled, so nothing is sent"
        if is_short
        else None,
        severity=Severity.ATTENTION if is_short else Severity.GOOD,
    )


def clocks(skews: Mapping[str, timedelta | None]) -> Iterator[Finding]:
    """How far this machine's clock is off those of the services that answered."""
    known = {name: skew for name, skew in skews.items() if skew is not None}
    if not known:
        return
    said = ", ".join(f"{_off(skew)} {name}'s" for name, skew in known.items())
    is_off = any(abs(skew) > SKEW_THAT_MATTERS for skew in known.values())
    yield Finding(
        subject="clock",
        text=f"this machine's is {said}",
        hint="events keep their own time, but `status` and the log go by this clock: let timedatectl set-ntp true"
        if is_off
        else None,
        severity=Severity.ATTENTION if is_off else Severity.GOOD,
    )


def region(settings: Settings) -> Iterator[Finding]:
    """A hint where the two services seem to be in different regions: the wrong one drops all without an error."""
    is_eu_tenant = ".eu." in f".{settings.auth0.domain}"
    is_eu_segment = settings.segment.endpoint.endswith(_EU_SEGMENT)
    if is_eu_tenant and settings.segment.endpoint == "https://api.segment.io":
        yield Finding(
            subject="region",
            text="the tenant is in the EU, segment.endpoint in the US: right only if the workspace is there too",
            hint='a workspace in the EU needs segment.endpoint = "https://events.eu1.segmentapis.com"; in Segment: '
            "Settings > Workspace Settings > General",
        )
    elif is_eu_segment and ".us." in f".{settings.auth0.domain}":
        yield Finding(
            subject="region",
            text="the tenant is in the US, segment.endpoint in the EU: right only if the workspace is there too",
            hint='a workspace in the US needs segment.endpoint = "https://api.segment.io"',
        )


def outage(age: timedelta, interval: timedelta) -> Finding:
    """Say how long an outage may last until the log drops events that were not read.

    `age` is that of the oldest event. A log that is younger than a day may be kept for longer than its age, since every
    plan of Auth0 keeps events for a day at least.
    """
    kept = max(age, _SHORTEST_RETENTION)
    hours = kept / _HOUR
    if interval * 2 > kept:
        return Finding(
            subject="outage",
            text=f"poll.interval is more than half of the {hours:.0f} h that the log goes back",
            hint='a shorter one leaves room for an outage, as poll.interval = "30s"',
            severity=Severity.ATTENTION,
        )
    text = f"survives one of {hours - interval / _HOUR:.0f} h without a loss"
    if age < _SHORTEST_RETENTION:
        text += f"; the log is only {lasting(age.total_seconds())} old, and how long Auth0 keeps it does not show yet"
    return Finding(subject="outage", text=text)


def _off(skew: timedelta) -> str:
    if abs(skew) <= 2 * _SECOND:
        return "within 2 s of"
    return f"{abs(skew) / _SECOND:.0f} s {'behind' if skew > timedelta() else 'ahead of'}"


def _is_open(file: Path) -> bool:
    try:
        return bool(os.stat(file).st_mode & 0o044)  # noqa: PTH116 - follows links, like whoever reads it
    except OSError:
        return False


def _short(place: SecretPlace) -> str:
    return "systemd's credentials" if place.is_credential else place.place
