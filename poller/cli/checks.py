"""The findings of `check` that need no service: secrets, files, clocks, regions and retention."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from poller.adapters.sql_ledger.reader import running_daemon
from poller.cli.views.output import sign
from poller.cli.views.wording import lasting
from poller.cli.wiring.alerts import targets_of
from poller.config import SecretPlace, Settings, SettingsError
from poller.config.sources.paths import SYSTEM_FILE
from poller.core.errors import ErrorCode, FatalError
from poller.service.lifecycle.exit_codes import Severity

SKEW_THAT_MATTERS = timedelta(seconds=60)
ROOM_THAT_MATTERS = 100_000_000
_GB = 1_000_000_000
_HOUR, _SHORTEST_RETENTION = timedelta(hours=1), timedelta(days=1)
_SECOND = timedelta(seconds=1)  # A Date header has a resolution of one second.
_EU_SEGMENT = "eu1.segmentapis.com"
_CREDENTIALS = "CREDENTIALS_DIRECTORY"
_DYNAMIC = range(61184, 65520)
"""The numbers of systemd's dynamic users (systemd, UIDS-GIDS)."""
_UNIT = "auth0-segment-poller*.service"
_UNIT_FOLDERS = (
    Path("/etc/systemd/system"),
    Path("/run/systemd/system"),
    Path("/usr/lib/systemd/system"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was checked: its state, and the next step if something is wrong.

    `error` is the code of the fatal error that the check raised, if any.
    """

    subject: str
    text: str
    hint: str | None = None
    error: ErrorCode | None = None
    severity: Severity = Severity.GOOD
    is_open: bool = False
    """True if the check found nothing wrong, but could not prove that all is well."""


def mark_of(finding: Finding) -> tuple[str, str]:
    """Return the mark before a finding, and its colour."""
    if finding.severity is not Severity.GOOD:
        return sign("✗"), "red"
    if finding.is_open:
        return sign("?"), "yellow"
    return sign("✓"), "green"


def secrets(places: tuple[SecretPlace, ...], environ: Mapping[str, str]) -> Iterator[Finding]:
    """Report the places of the secrets, and the files that other users may read."""
    from_systemd = sum(place.is_credential for place in places)
    where = ", ".join(f"{place.name} from {_short(place)}" for place in places)
    yield Finding(subject="secrets", text=where or "none is set")
    if environ.get(_CREDENTIALS) and not from_systemd:
        yield Finding(
            subject="secrets",
            text=f"systemd has credentials in ${_CREDENTIALS}, and none of them is used",
            hint="name them after their settings, such as LoadCredential=auth0_client_secret:/PATH",
            severity=Severity.ATTENTION,
        )
    files = {place.file: place for place in places if place.file and not place.is_credential}
    for file, place in files.items():
        if _is_open(file):
            yield Finding(
                subject="secrets",
                text=f"{file} holds {place.name}, and other users may read it",
                hint=_way_to_hide(file, place),
                severity=Severity.ATTENTION,
            )


def _way_to_hide(file: Path, place: SecretPlace) -> str:
    """Return how to hide a secret. The service must go on to read the file, unlike a credential."""
    if place.is_in_folder or place.credential is None or not _is_for_service(file):
        return f"chmod 600 {file}"
    return (
        f"move the secret into {place.credential}, with mode 600, and leave it out here: the "
        "service runs as a user of its own, and must be able to read this file"
    )


def closed_to_service(path: Path | None, places: Iterable[SecretPlace]) -> Iterator[Finding]:
    """Report the files that root can read, and that the service cannot.

    The units start the service as a dynamic user. Call this after root has become the owner of the
    ledger. Before the first start nobody owns the ledger, and then the file's mode decides.
    """
    files = {path} | {place.file for place in places if not place.is_in_folder}
    for file in sorted(each for each in files if each is not None):
        is_closed = not os.access(file, os.R_OK) if os.geteuid() in _DYNAMIC else _is_closed(file)
        if is_closed and _is_for_service(file):
            yield Finding(
                subject="settings",
                text=f"only root can read {file}, and the service runs as a user of its own",
                hint=f"chmod 644 {file}, and keep each secret in a file of its own in "
                f"{(path or file).absolute().with_suffix('.credentials')}, which systemd reads",
                severity=Severity.UNUSABLE if os.geteuid() in _DYNAMIC else Severity.ATTENTION,
            )


def _is_for_service(file: Path) -> bool:
    """Return whether a unit of systemd reads this file as a user of its own."""
    is_installed = any(any(folder.glob(_UNIT)) for folder in _UNIT_FOLDERS)
    return is_installed and file.absolute().is_relative_to(SYSTEM_FILE.parent)


def _is_closed(file: Path) -> bool:
    """Return whether the modes keep other users from this file."""
    file = file.resolve()
    is_reachable = all(folder.stat().st_mode & 0o001 for folder in file.parents)
    return not (is_reachable and file.stat().st_mode & 0o004)


def ledger_file(path: Path) -> Iterator[Finding]:
    """Report a ledger that other users may read. It may hold whole events."""
    if _is_open(path):
        yield Finding(
            subject="ledger",
            text=f"{path} may be read by other users",
            hint=f"chmod 600 {path} (the next start also does so)",
            severity=Severity.ATTENTION,
        )


def disk(path: Path) -> Finding:
    """Report the free space for the ledger."""
    # os.path.isdir is False for a folder that is closed. Path.is_dir raises an error.
    folder = next(folder for folder in path.parents if os.path.isdir(folder))  # noqa: PTH112
    free = shutil.disk_usage(folder).free
    is_short = free < ROOM_THAT_MATTERS
    return Finding(
        subject="disk",
        text=f"{free / 1e9:,.1f} GB free" if free >= _GB else f"{free / 1e6:,.1f} MB free",
        hint=f"free space at {folder}: on a full disk nothing can be settled" if is_short else None,
        severity=Severity.ATTENTION if is_short else Severity.GOOD,
    )


def listen_addresses(settings: Settings) -> Iterator[Finding]:
    """Report whether the daemon could listen where the settings say so."""
    for section, address in (("metrics", settings.metrics.listen), ("page", settings.page.listen)):
        if address is not None:
            yield from _listen_address(settings, section, *address)


def _listen_address(settings: Settings, section: str, host: str, port: int) -> Iterator[Finding]:
    """Report whether the daemon could listen on an address. Listen there for a moment."""
    # These import the metrics library, which a process that does not listen need not wait for.
    from poller.service.observability.http_endpoint import listen, shown_address  # noqa: PLC0415

    address = shown_address(host, port)
    try:
        listen(host, port, setting=f"{section}.listen").close()
    except FatalError as error:
        holder = running_daemon(settings.state.url)
        if holder is not None:
            text = f"{address} is taken, as it should be while the daemon runs (process {holder})"
            yield Finding(subject=section, text=text)
            return
        yield Finding(
            subject=section,
            text=str(error),
            hint=error.hint,
            error=error.code,
            severity=Severity.UNUSABLE,
        )
        return
    yield Finding(subject=section, text=f"the daemon can listen on {address}")


def alert_targets(settings: Settings) -> Iterator[Finding]:
    """Report whether the URLs of alerts can be used, if there are any. Sends nothing."""
    if not settings.alerts.urls:
        return
    try:
        targets = targets_of(settings)
    except SettingsError as error:
        yield Finding(
            subject="alerts",
            text=str(error),
            hint="correct alerts.urls: the service does not start without",
            error=error.code,
            severity=Severity.UNUSABLE,
        )
    else:
        names = ", ".join(target.name for target in targets)
        yield Finding(subject="alerts", text=f"{names}; `alerts test` sends one to each of them")


def clocks(skews: Mapping[str, timedelta | None]) -> Iterator[Finding]:
    """Report the difference between this clock and the clocks of the services."""
    known = {name: skew for name, skew in skews.items() if skew is not None}
    if not known:
        return
    differences = ", ".join(f"{_difference(skew)} {name}'s" for name, skew in known.items())
    is_off = any(abs(skew) > SKEW_THAT_MATTERS for skew in known.values())
    yield Finding(
        subject="clock",
        text=f"this machine's clock is {differences}",
        hint="correct it, such as with `timedatectl set-ntp true`. Events keep their own time, but "
        "`status` and the log use this clock"
        if is_off
        else None,
        severity=Severity.ATTENTION if is_off else Severity.GOOD,
    )


def region(settings: Settings) -> Iterator[Finding]:
    """Report services in different regions. The wrong region drops every call without an error."""
    is_eu_tenant = ".eu." in f".{settings.auth0.domain}"
    is_eu_segment = settings.segment.endpoint.endswith(_EU_SEGMENT)
    if is_eu_tenant and settings.segment.endpoint == "https://api.segment.io":
        yield Finding(
            subject="region",
            text="the tenant is in the EU, and segment.endpoint is in the US. This is right only "
            "if the workspace is in the US",
            hint='in the EU, set segment.endpoint = "https://events.eu1.segmentapis.com" '
            "(in Segment: Settings > Workspace Settings > General)",
        )
    elif is_eu_segment and ".us." in f".{settings.auth0.domain}":
        yield Finding(
            subject="region",
            text="the tenant is in the US, and segment.endpoint is in the EU. This is right only "
            "if the workspace is in the EU",
            hint='a workspace in the US needs segment.endpoint = "https://api.segment.io"',
        )


def outage(age: timedelta, interval: timedelta) -> Finding:
    """Report how long an outage may last before the log drops events that were not read.

    `age` is the age of the oldest event. A log that is younger than a day may be kept for longer
    than its age, since every plan of Auth0 keeps events for at least a day.
    """
    kept = max(age, _SHORTEST_RETENTION)
    hours = kept / _HOUR
    if interval * 2 > kept:
        return Finding(
            subject="outage",
            text=f"poll.interval is more than half of the {hours:.0f} h that the log goes back",
            hint='set a shorter interval, such as poll.interval = "30s"',
            severity=Severity.ATTENTION,
        )
    text = f"up to {hours - interval / _HOUR:.0f} h lose no event"
    if age < _SHORTEST_RETENTION:
        text += (
            f". The log is only {lasting(age.total_seconds())} old, so its retention does not "
            "show yet"
        )
    return Finding(subject="outage", text=text)


def _difference(skew: timedelta) -> str:
    if abs(skew) <= 2 * _SECOND:
        return "within 2 s of"
    return f"{abs(skew) / _SECOND:.0f} s {'behind' if skew > timedelta() else 'ahead of'}"


def _is_open(file: Path) -> bool:
    try:
        return bool(os.stat(file).st_mode & 0o044)  # noqa: PTH116 - follows links
    except OSError:
        return False


def _short(place: SecretPlace) -> str:
    if place.is_credential:
        return "systemd's credentials"
    return place.place
