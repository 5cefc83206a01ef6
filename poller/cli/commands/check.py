"""The command `check`: test the settings, the credentials, the ledger and both services."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import click

from poller import __version__
from poller.adapters.sql_ledger.inspection import has_begun, inspect_ledger
from poller.adapters.sql_ledger.places import place_of
from poller.cli.checks import (
    Finding,
    alert_targets,
    clocks,
    closed_to_service,
    disk,
    ledger_file,
    listen_addresses,
    mark_of,
    outage,
    region,
    secrets,
)
from poller.cli.event_checks import newest_events, twice_counted
from poller.cli.groups import examples
from poller.cli.options import act_as_ledger_owner, config_option, json_option
from poller.cli.pipelines.table import Prepared, check_lines, refuse_second, show_table
from poller.cli.segment_proof.workspace import prove_source
from poller.cli.settings_file import SettingsFile
from poller.cli.views.check import CheckReport, FindingReport
from poller.cli.views.output import say, say_json
from poller.cli.views.wording import laid_out, lasting
from poller.cli.wiring.services import Services, connect, stream_of
from poller.cli.wiring.tenants import Tenants
from poller.config import Settings, load_settings, secret_places
from poller.core.errors import FatalError, PollerError, TransientError, UnknownHostError
from poller.core.log_ids import floor_id, moment_of
from poller.core.text.dates import iso
from poller.service.daemon.first_start import refuse_future
from poller.service.lifecycle.exit_codes import Severity, worst
from poller.service.observability.logging_setup import configure_logging
from poller.service.upstream.retry import PATIENCE, retrying

_LEAST_S = 2.0
_NONE = timedelta()
_NO_USER = "auth0|000000000000000000000000"
"""No user has this id. A request for it shows whether users may be read."""


@click.command(epilog=examples("check", "check --json"))
@config_option
@json_option
def check(config: Path | None, *, as_json: bool) -> int:
    """Check the settings, the credentials, the ledger and both services. Sends nothing.

    For a folder of settings files there is a table, the worst pipeline first.
    """
    file = SettingsFile(config)
    if file.folder is not None and file.pipelines is not None:
        prepare = partial(_prepare, tenants=Tenants())
        lines = check_lines(file.folder, file.pipelines, prepare)
        return show_table(file.folder, lines, as_json=as_json)
    refuse_second(file)
    _, run_checks = _prepare(file, lambda finding: None if as_json else _show(finding))
    checked = run_checks()
    if as_json:
        say_json(checked)
    return checked.code


def _prepare(
    file: SettingsFile,
    tell: Callable[[Finding], None] = lambda finding: None,  # noqa: ARG005 - unused
    tenants: Tenants | None = None,
) -> Prepared:
    """Read everything that only root may read, and return the stream and the check.

    Raises:
        SettingsError: the settings cannot be used.
    """
    content, is_root = file.content, os.geteuid() == 0
    settings = load_settings(content, os.environ)
    # Root may read the files of secrets now. It gives up that right in the next step.
    places = secret_places(content, os.environ)
    about_secrets = list(secrets(places, os.environ))
    act_as_ledger_owner(settings)
    if is_root:
        about_secrets += closed_to_service(settings.path, places)
    configure_logging("warning", "text")

    def check() -> CheckReport:
        results = []
        with connect(settings, threading.Event(), tenants=tenants) as services:
            for finding in findings(settings, about_secrets, services):
                results.append(finding)
                tell(finding)
        code = worst(finding.severity for finding in results).exit_code
        return CheckReport(code=code, findings=tuple(map(_report, results)))

    return stream_of(settings), check


def findings(
    settings: Settings, about_secrets: Sequence[Finding], services: Services
) -> Iterator[Finding]:
    """Yield the findings in an order in which each finding builds on the earlier findings.

    A check that cannot succeed after an earlier failure is left out.
    """
    source = str(settings.path.absolute()) if settings.path else "the environment"
    yield Finding(subject="version", text=__version__)
    yield Finding(subject="settings", text=f"valid, from {source}")
    yield from about_secrets
    yield from twice_counted(settings)
    patience = _Patience()
    yield from _ledger_findings(settings, patience)
    yield from listen_addresses(settings)
    yield from alert_targets(settings)
    where = (
        "auth0.domain"
        if settings.auth0.base_url.endswith(settings.auth0.domain)
        else "auth0.base_url"
    )
    token = _attempt("token", lambda: _token(services), patience, where)
    yield token
    start = settings.poll.start
    if isinstance(start, datetime):
        begin = start
        yield _attempt("start", lambda: _start(begin, settings, services), patience, "poll.start")
    if token.severity is Severity.GOOD:
        kept: list[timedelta] = []
        yield _attempt("log", lambda: _oldest(services, kept), patience, where)
        yield _lenient(_attempt("users", lambda: _users(services), patience, where))
        yield _optional(_attempt("stats", lambda: _stats(services), patience, where))
        yield from (outage(each, settings.poll.interval) for each in kept)
        yield from newest_events(settings, services)
    yield _attempt("segment", lambda: _segment(settings, services), patience, "segment.endpoint")
    yield from region(settings)
    is_log_readable = token.severity is Severity.GOOD
    yield from prove_source(settings, services, is_log_readable=is_log_readable)
    yield from clocks({name: http.skew for name, http in services.clients.items()})


class _Patience:
    """The time that is left for all checks together."""

    def __init__(self, together: timedelta = PATIENCE) -> None:
        self._ends_at = time.monotonic() + together.total_seconds()

    def left(self) -> timedelta:
        """Return the time for the next check, which is at least two seconds."""
        return timedelta(seconds=max(self._ends_at - time.monotonic(), _LEAST_S))


def _ledger_findings(settings: Settings, patience: _Patience) -> Iterator[Finding]:
    url = settings.state.url
    found = _attempt("ledger", lambda: place_of(url).shown, patience, "state.url")
    if found.severity is not Severity.GOOD:
        yield found
        return
    file = place_of(url).file
    if file is not None:
        # Room on a disk does not come back within seconds, and a server does.
        patience = _Patience(_NONE)
        yield from ledger_file(file)
    stream = stream_of(settings)
    yield _attempt("ledger", lambda: inspect_ledger(url, stream), patience, "state.url")
    if file is not None:
        yield disk(file)


def _attempt(subject: str, look: Callable[[], str], patience: _Patience, where: str) -> Finding:
    try:
        for attempt in retrying(patience.left()):
            with attempt:
                text = look()
    except FatalError as error:
        return Finding(
            subject=subject,
            text=str(error),
            hint=error.hint,
            error=error.code,
            severity=Severity.UNUSABLE,
        )
    except UnknownHostError as error:
        hint = f"look for a typing error in {where}. If it is right, check the DNS of this machine"
        return Finding(subject=subject, text=str(error), hint=hint, severity=Severity.UNREACHABLE)
    except TransientError as error:
        hint = error.hint or (
            f"check {where}, then the network, the DNS and the proxy of this machine, and the "
            "status page of the service"
        )
        return Finding(subject=subject, text=str(error), hint=hint, severity=Severity.UNREACHABLE)
    except PollerError as error:
        return Finding(subject=subject, text=str(error), severity=Severity.ATTENTION)
    return Finding(subject=subject, text=text)


def _token(services: Services) -> str:
    services.tokens.current()
    return "granted"


def _users(services: Services) -> str:
    services.users.of([_NO_USER])
    return "readable"


def _lenient(finding: Finding) -> Finding:
    """Lower the severity: without the profiles of users, events are forwarded all the same."""
    if finding.severity is not Severity.UNUSABLE:
        return finding
    text = f"{finding.text}. Events are forwarded, but without signed_up and other traits"
    return replace(finding, text=text, severity=Severity.ATTENTION)


def _stats(services: Services) -> str:
    day = datetime.now(UTC).date()
    services.stats.daily(day, day)
    return "readable"


def _optional(finding: Finding) -> Finding:
    """Lower the severity: only `verify` needs the statistics."""
    if finding.severity is not Severity.UNUSABLE:
        return finding
    text = f"{finding.text}. Only `verify` needs it, which compares with Auth0's own counts"
    return replace(finding, text=text, severity=Severity.GOOD)


def _start(start: datetime, settings: Settings, services: Services) -> str:
    """Return where a first start begins.

    Raises:
        FatalError: it lies in the future, and the stream has not begun yet.
    """
    if has_begun(settings.state.url, stream_of(settings)):
        return "poll.start has no effect any more, because the position is in the ledger"
    refuse_future(floor_id(start), services.clock.now())
    return f"the first start begins at {iso(start)}"


def _oldest(services: Services, kept: list[timedelta]) -> str:
    oldest, now = services.log.oldest_kept()
    moment = moment_of(oldest) if oldest else None
    if moment is None:
        return "readable, and empty"
    kept.append(now - moment)
    age = lasting((now - moment).total_seconds())
    return f"readable, the oldest event is {age} old ({iso(moment)})"


def _segment(settings: Settings, services: Services) -> str:
    services.segment.reach()
    return f"reachable at {settings.segment.endpoint}"


def _report(finding: Finding) -> FindingReport:
    return FindingReport(
        subject=finding.subject,
        is_well=finding.severity is Severity.GOOD,
        is_open=finding.is_open,
        text=finding.text,
        error=finding.error,
        hint=finding.hint,
    )


def _show(finding: Finding) -> None:
    mark, colour = mark_of(finding)
    code = f"error[{finding.error}]: " if finding.error else ""
    first, *more = laid_out(f"  {finding.subject:<9}", f"{code}{finding.text}")
    say(first[1:], mark=mark, fg=colour)
    say(*more)
    if finding.hint:
        say(*laid_out(" " * 11, finding.hint))
