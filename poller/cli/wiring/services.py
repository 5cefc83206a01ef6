"""From settings to the parts that work."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from poller.adapters.auth0 import (
    Auth0Log,
    Auth0Stats,
    Auth0Users,
    Credentials,
    ManagementApi,
    TokenSource,
)
from poller.adapters.clocks import ServerClock, introduce
from poller.adapters.http import Http
from poller.adapters.segment.oauth import OAuthApp, OAuthTokens
from poller.adapters.segment.tracking import SegmentSink
from poller.config import Settings
from poller.core.events import Stream
from poller.core.log_ids import LogId, floor_id
from poller.core.translation.privacy import Privacy
from poller.core.translation.rules import Rules
from poller.service.observability.instrumented import NO_OBSERVER, MeteredRateLimiter, Observer
from poller.service.observability.page_log import warn_of_profiles
from poller.service.upstream.profile_cache import CachedProfiles
from poller.service.upstream.rate_limit import RateLimiter
from poller.service.upstream.send_rate import ThrottledSink


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The two services, ready to be asked; `sink` is `segment` at the pace that the settings allow."""

    tokens: TokenSource
    log: Auth0Log
    users: Auth0Users
    stats: Auth0Stats
    segment: SegmentSink
    sink: ThrottledSink
    rate_limiter: RateLimiter
    clock: ServerClock
    """Auth0's."""
    origins: Mapping[str, Http]
    """The clients, by the service's name."""


@contextmanager
def connect(
    settings: Settings,
    stopping: threading.Event,
    *,
    share: float | None = None,
    integrations: Mapping[str, Any] | None = None,
    observer: Observer = NO_OBSERVER,
    on_step: Callable[[], None] = lambda: None,
) -> Iterator[Services]:
    """Clients for both services; nothing is sent before it is asked for.

    `share` is that of the rate limit, `integrations` are the destinations that messages go to: None is all. `on_step`
    is told before each call and after it.
    """
    auth0_clock, segment_clock = ServerClock(), ServerClock()
    introduce(auth0_clock, segment_clock)
    auth0 = Http(
        settings.auth0.base_url,
        auth0_clock,
        service="Auth0",
        observe=observer.requests_to("auth0"),
        on_step=on_step,
    )
    segment = Http(
        settings.segment.endpoint,
        segment_clock,
        service="Segment",
        observe=observer.requests_to("segment"),
        on_step=on_step,
    )
    oauth = _oauth_http(settings, on_step)
    tokens = TokenSource(_credentials(settings), auth0)
    rate_limiter = RateLimiter(
        stopping, share=settings.auth0.rate_share if share is None else share
    )
    api = ManagementApi(auth0, tokens, MeteredRateLimiter(rate_limiter, observer))
    sink = SegmentSink(
        _revealed(settings.segment.write_key) or "",
        segment,
        segment_clock,
        integrations=integrations,
        tokens=None if oauth is None else OAuthTokens(_oauth_app(settings), oauth),
    )
    try:
        yield Services(
            tokens=tokens,
            log=Auth0Log(api, now=auth0_clock.now),
            users=Auth0Users(api, fields=rules_of(settings).profile_fields),
            stats=Auth0Stats(api),
            segment=sink,
            sink=ThrottledSink(sink, stopping, per_second=settings.segment.max_events_per_second),
            rate_limiter=rate_limiter,
            clock=auth0_clock,
            origins={"Auth0": auth0, "Segment": segment},
        )
    finally:
        auth0.close()
        segment.close()
        if oauth is not None:
            oauth.close()


def _oauth_http(settings: Settings, on_step: Callable[[], None]) -> Http | None:
    """Return the client of the authorization server, or None where the settings name no app."""
    if settings.segment.oauth_client_id is None:
        return None
    origin = settings.segment.oauth_endpoint
    return Http(origin, ServerClock(), service="Segment", on_step=on_step)


def _oauth_app(settings: Settings) -> OAuthApp:
    segment = settings.segment
    return OAuthApp(
        client_id=segment.oauth_client_id or "",
        key_id=segment.oauth_key_id or "",
        private_key=_revealed(segment.oauth_private_key) or "",
        scope=segment.oauth_scope,
        audience=segment.oauth_endpoint,
    )


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
    return CachedProfiles(
        services.users, warn_of_profiles, is_needed=rules_of(settings).needs_profiles
    )


def start_of(settings: Settings) -> LogId | Literal["earliest"] | None:
    """Return the beginning of a first start. None stands for the server's now."""
    match settings.poll.start:
        case datetime() as moment:
            return floor_id(moment)
        case "earliest":
            return "earliest"
        case _:
            return None


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
