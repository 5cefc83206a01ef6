"""`check`: proves the set-up before it matters."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from poller import __version__
from poller.adapters.sql_ledger.inspection import inspect_ledger
from poller.adapters.sql_ledger.sqlite.driver import ledger_path
from poller.cli.checks import Finding, clocks, disk, ledger_file, mark_of, outage, region, secrets
from poller.cli.groups import examples
from poller.cli.options import act_as_ledger_owner, config_option
from poller.cli.segment_proof.workspace import prove_source
from poller.cli.views.output import say, say_json
from poller.cli.views.wording import laid_out
from poller.cli.wiring.services import Services, connect, stream_of
from poller.config import Settings, find_settings_file, load_settings, secret_places
from poller.core.errors import FatalError, PollerError, TransientError, UnknownHostError
from poller.core.log_ids import moment_of
from poller.core.messages import iso
from poller.core.translation.rules import LOGIN_TYPES
from poller.service.lifecycle.exit_codes import Severity, worst
from poller.service.observability.logging_setup import configure_logging
from poller.service.upstream.retry import PATIENCE, retrying

_LEAST_S = 2.0
_NO_USER = "auth0|000000000000000000000000"
"""Nobody has this id. To ask for it shows whether users may be read."""


@click.command(
    short_help="Prove settings, credentials, ledger and services.",
    epilog=examples("check", "check --json"),
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def check(config: Path | None, *, as_json: bool) -> int:
    """Proves that settings, credentials, ledger and both services are as they should be."""
    settings = load_settings(find_settings_file(config, os.environ), os.environ)
    about_secrets = _secrets(settings)  # before root becomes a user who may not read the files
    act_as_ledger_owner(settings)
    configure_logging("warning")
    with connect(settings, threading.Event()) as services:
        found = []
        for finding in findings(settings, about_secrets, services):
            found.append(finding)
            if not as_json:
                _show(finding)
    code = worst(finding.severity for finding in found).exit_code
    if as_json:
        say_json({"code": code, "findings": [_facts(finding) for finding in found]})
    return code


def findings(
    settings: Settings, about_secrets: Sequence[Finding], services: Services
) -> Iterator[Finding]:
    """Each thing looked at, in the order in which they build on each other; what cannot be well is not tried."""
    source = str(settings.path) if settings.path else "the environment"
    yield Finding(subject="version", text=__version__)
    yield Finding(subject="settings", text=f"valid, from {source}")
    yield from about_secrets
    yield from _twice_counted(settings)
    patience = _Patience()
    yield from ledger_file(ledger_path(settings.state.url))
    yield _attempt(
        "ledger",
        lambda: inspect_ledger(settings.state.url, stream_of(settings)),
        patience,
        "state.url",
    )
    yield disk(ledger_path(settings.state.url))
    where = (
        "auth0.domain"
        if settings.auth0.base_url.endswith(settings.auth0.domain)
        else "auth0.base_url"
    )
    token = _attempt("token", lambda: _token(services), patience, where)
    yield token
    if token.severity is Severity.GOOD:
        kept: list[timedelta] = []
        yield _attempt("log", lambda: _oldest(services, kept), patience, where)
        yield _lenient(_attempt("users", lambda: _users(services), patience, where))
        yield _optional(_attempt("stats", lambda: _stats(services), patience, where))
        yield from (outage(each, settings.poll.interval) for each in kept)
    yield _attempt("segment", lambda: _segment(settings, services), patience, "segment.endpoint")
    yield from region(settings)
    is_log_readable = token.severity is Severity.GOOD
    yield from prove_source(settings, services, is_log_readable=is_log_readable)
    yield from clocks({name: http.skew for name, http in services.origins.items()})


def _secrets(settings: Settings) -> tuple[Finding, ...]:
    return tuple(secrets(secret_places(settings.path, os.environ), os.environ))


class _Patience:
    """What is left of it for all that is looked at together."""

    def __init__(self) -> None:
        self._ends_at = time.monotonic() + PATIENCE.total_seconds()

    def left(self) -> timedelta:
        return timedelta(seconds=max(self._ends_at - time.monotonic(), _LEAST_S))


def _attempt(subject: str, look: Callable[[], str], patience: _Patience, where: str) -> Finding:
    try:
        for attempt in retrying(patience.left()):
            with attempt:
                text = look()
    except FatalError as error:
        return Finding(
            subject=subject, text=str(error), hint=error.hint, severity=Severity.UNUSABLE
        )
    except UnknownHostError as error:
        hint = f"check {where} for a typing error; if it is right, the DNS of this machine"
        return Finding(subject=subject, text=str(error), hint=hint, severity=Severity.UNREACHABLE)
    except TransientError as error:
        hint = f"check {where}; then the network, DNS and proxy from this machine, and the service's status page"
        return Finding(subject=subject, text=str(error), hint=hint, severity=Severity.UNREACHABLE)
    except PollerError as error:
        return Finding(subject=subject, text=str(error), severity=Severity.ATTENTION)
    return Finding(subject=subject, text=text)


def _token(services: Services) -> str:
    services.tokens.current()
    return "granted"


def _twice_counted(settings: Settings) -> Iterator[Finding]:
    """Login types that count some logins twice; `s` beside them is what makes it twice."""
    for kind in sorted(settings.logins.types):
        why = LOGIN_TYPES[kind]
        if why is not None and len(settings.logins.types) > 1:
            text = f"{kind} in logins.types counts some logins twice: {why}"
            yield Finding(
                subject="logins",
                text=text,
                hint="leave it out, or count by another event",
                severity=Severity.ATTENTION,
            )


def _users(services: Services) -> str:
    services.users.of([_NO_USER])
    return "readable"


def _lenient(found: Finding) -> Finding:
    """Users that may not be read need attention and stop nothing: events are forwarded without them."""
    if found.severity is not Severity.UNUSABLE:
        return found
    text = (
        f"{found.text}: events are forwarded, but without signed_up and other traits of the profile"
    )
    return replace(found, text=text, severity=Severity.ATTENTION)


def _stats(services: Services) -> str:
    day = datetime.now(UTC).date()
    services.stats.daily(day, day)
    return "readable"


def _optional(found: Finding) -> Finding:
    """Statistics that may not be read are no fault: the daemon does without."""
    if found.severity is not Severity.UNUSABLE:
        return found
    text = f"{found.text}: only `verify` needs it, which compares what was sent with Auth0's counts"
    return replace(found, text=text, severity=Severity.GOOD)


def _oldest(services: Services, kept: list[timedelta]) -> str:
    oldest, now = services.log.oldest()
    moment = moment_of(oldest) if oldest else None
    if moment is None:
        return "readable; it is empty"
    kept.append(now - moment)
    days = (now - moment).total_seconds() / 86400
    return f"readable; the oldest event kept is of {iso(moment)}, {days:.1f} days ago"


def _segment(settings: Settings, services: Services) -> str:
    services.segment.reach()
    return f"reachable at {settings.segment.endpoint}"


def _facts(finding: Finding) -> dict[str, object]:
    is_well = finding.severity is Severity.GOOD
    return {
        "subject": finding.subject,
        "is_well": is_well,
        "is_open": finding.is_open,
        "text": finding.text,
        "hint": finding.hint,
    }


def _show(finding: Finding) -> None:
    mark, colour = mark_of(finding)
    first, *more = laid_out(f"  {finding.subject:<9}", finding.text)
    say(first[1:], mark=mark, fg=colour)
    say(*more)
    if finding.hint:
        say(*laid_out(" " * 11, finding.hint))
