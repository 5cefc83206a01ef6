"""From settings to the parts that work."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from poller.adapters.auth0 import Auth0Log, Auth0Users, Credentials, ManagementApi, TokenSource
from poller.adapters.http import Http, ServerClock
from poller.adapters.segment import SegmentSink
from poller.config import Settings, find_settings_file, load_settings
from poller.core.events import EARLIEST, LogId, Stream, floor_id
from poller.core.privacy import Privacy
from poller.core.rules import Rules
from poller.service.drain import warn_of_profiles
from poller.service.pacing import RateBudget
from poller.service.profiles import CachedProfiles


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--config, for every command that reads settings."""
    return click.option(
        "--config",
        "config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Settings file; else $POLLER_CONFIG, ./config.toml or /etc/auth0-segment-poller/config.toml.",
    )(function)


def read_settings(config: Path | None, *, secrets: bool = True) -> Settings:
    """The settings that a command goes by.

    Raises:
        SettingsError: with every problem there is.
    """
    return load_settings(find_settings_file(config, os.environ), os.environ, secrets=secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The two services, ready to be asked."""

    tokens: TokenSource
    log: Auth0Log
    users: Auth0Users
    sink: SegmentSink
    budget: RateBudget
    clock: ServerClock


@contextmanager
def connect(settings: Settings, stopping: threading.Event, *, share: float | None = None) -> Iterator[Services]:
    """Clients for both services; nothing is sent before it is asked for. `share` is that of the rate limit."""
    clock = ServerClock()
    auth0 = Http(settings.auth0.base_url, clock)
    segment = Http(settings.segment.endpoint, clock)
    tokens = TokenSource(_credentials(settings), auth0)
    budget = RateBudget(stopping, share=settings.auth0.rate_share if share is None else share)
    api = ManagementApi(auth0, tokens, budget)
    try:
        yield Services(
            tokens=tokens,
            log=Auth0Log(api),
            users=Auth0Users(api, fields=rules_of(settings).profile_fields),
            sink=SegmentSink(_revealed(settings.segment.write_key) or "", segment, clock),
            budget=budget,
            clock=clock,
        )
    finally:
        auth0.close()
        segment.close()


def stream_of(settings: Settings) -> Stream:
    return Stream(
        domain=settings.auth0.domain,
        source_name=settings.segment.source_name or "",
        generation=settings.segment.generation,
    )


def rules_of(settings: Settings) -> Rules:
    return Rules(
        login_types=settings.logins.types,
        include_sso_logins=settings.logins.include_sso,
        derive_signups=settings.signups.derive,
        include_api_signups=settings.signups.include_api_created,
        preset=settings.events.preset,
        when=settings.events.when,
        user_id=settings.events.user_id,
        traits=settings.events.traits,
        properties=settings.events.properties,
        identify=settings.events.identify,
        groups=settings.events.groups,
        privacy=Privacy(
            email=settings.privacy.email,
            ip=settings.privacy.ip,
            user_agent=settings.privacy.user_agent,
            user_name=settings.privacy.user_name,
            hmac_key=(_revealed(settings.privacy.hmac_key) or "").encode(),
        ),
    )


def profiles_of(settings: Settings, services: Services) -> CachedProfiles:
    """The tenant's users; a directory that fails costs traits, or makes events wait where the rules need profiles."""
    return CachedProfiles(services.users, warn_of_profiles, is_needed=rules_of(settings).needs_profiles)


def start_of(settings: Settings) -> LogId | None:
    """Where a first start begins; None is the server's now."""
    start = settings.poll.start
    if start.is_earliest:
        return EARLIEST
    return floor_id(start.moment) if start.moment else None


def _credentials(settings: Settings) -> Credentials:
    auth0 = settings.auth0
    return Credentials(
        domain=auth0.domain,
        client_id=auth0.client_id,
        client_secret=_revealed(auth0.client_secret),
        private_key=_revealed(auth0.private_key),
    )


def _revealed(secret: Any) -> str | None:
    return None if secret is None else str(secret.get_secret_value())
