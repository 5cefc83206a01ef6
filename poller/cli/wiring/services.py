"""The clients of both services, and the rules, built from the settings."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from poller.adapters.auth0 import (
    Auth0Log,
    Auth0LogSearch,
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
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.cli.wiring.tenants import Tenants
from poller.config import Settings
from poller.core.errors import PollerError
from poller.core.events import Stream
from poller.core.log_ids import LogId, floor_id
from poller.core.translation.privacy import Privacy
from poller.core.translation.rules import Rules
from poller.service.observability.instrumented import NO_OBSERVER, MeteredRateLimiter, Observer
from poller.service.observability.page_log import warn_of_link, warn_of_profiles
from poller.service.upstream.profile_cache import CachedProfiles
from poller.service.upstream.rate_limit import RateLimiter
from poller.service.upstream.send_rate import SendRate, ThrottledSink


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The clients of both services. Building them sends no request.

    `sink` is `segment` at the speed that the settings allow. `clock` is the clock of Auth0.
    `clients` are the HTTP clients by the name of the service. `is_rate_limited` tells whether work
    in the background has to wait for Auth0's rate limit.
    """

    tokens: TokenSource
    log: Auth0Log
    search: Auth0LogSearch
    users: Auth0Users
    stats: Auth0Stats
    segment: SegmentSink
    sink: ThrottledSink
    send_rate: SendRate
    rate_limiter: RateLimiter
    clock: ServerClock
    clients: Mapping[str, Http]
    is_rate_limited: Callable[[], bool] = lambda: False


@contextmanager
def connect(
    settings: Settings,
    stopping: threading.Event,
    *,
    share: float | None = None,
    integrations: Mapping[str, Any] | None = None,
    observer: Observer = NO_OBSERVER,
    on_step: Callable[[], None] = lambda: None,
    tenants: Tenants | None = None,
) -> Iterator[Services]:
    """Build the clients, and close their connections at the end.

    `share` is the part of the rate limit to use, by default the setting `auth0.rate_share`.
    `integrations` are the destinations of messages, by default all. `on_step` is called before and
    after each request, so a watchdog sees that the process is alive. `tenants` are those that the
    other pipelines of the process use.
    """
    auth0_clock, segment_clock = ServerClock(), ServerClock()
    introduce(auth0_clock, segment_clock)
    tenants = tenants or Tenants()
    rate_limiter = RateLimiter(
        stopping, share=share or settings.auth0.rate_share, tenant=tenants.limits_of(settings)
    )
    with ExitStack() as stack:

        def client(service: str, url: str, clock: ServerClock) -> Http:
            observe = observer.requests_to(service.lower())
            http = Http(url, clock, service=service, observe=observe, on_step=on_step)
            return stack.enter_context(closing(http))

        auth0 = client("Auth0", settings.auth0.base_url, auth0_clock)
        segment = client("Segment", settings.segment.endpoint, segment_clock)
        sink = segment_sink(settings, segment, stack, integrations, on_step=on_step)
        clients = {"Auth0": auth0, "Segment": segment}
        credentials = credentials_of(settings)
        place = tenants.token_of(settings, credentials)
        tokens = TokenSource(credentials, auth0, place=place)
        yield _services(settings, clients, tokens, sink, rate_limiter, stopping, observer)


def _services(
    settings: Settings,
    clients: Mapping[str, Http],
    tokens: TokenSource,
    sink: SegmentSink,
    rate_limiter: RateLimiter,
    stopping: threading.Event,
    observer: Observer,
) -> Services:
    clock = clients["Auth0"].clock
    api = ManagementApi(clients["Auth0"], tokens, MeteredRateLimiter(rate_limiter, observer))
    send_rate = SendRate(stopping, per_second=settings.segment.max_messages_per_second)
    return Services(
        tokens=tokens,
        log=Auth0Log(api, now=clock.now, on_other_link=warn_of_link),
        search=Auth0LogSearch(api),
        users=Auth0Users(
            api,
            fields=rules_of(settings).profile_fields,
            search_linked=settings.events.linked == "search",
        ),
        stats=Auth0Stats(api),
        segment=sink,
        sink=ThrottledSink(sink, send_rate.wait),
        send_rate=send_rate,
        rate_limiter=rate_limiter,
        clock=clock,
        clients=clients,
    )


def segment_sink(
    settings: Settings,
    http: Http,
    stack: ExitStack,
    integrations: Mapping[str, Any] | None,
    *,
    on_step: Callable[[], None] = lambda: None,
) -> SegmentSink:
    """Build the sink of the Segment source, for these destinations or for all."""
    return SegmentSink(
        _reveal(settings.segment.write_key) or "",
        http,
        http.clock,
        integrations=integrations,
        tokens=_oauth_tokens(settings, on_step, stack),
    )


def _oauth_tokens(
    settings: Settings, on_step: Callable[[], None], stack: ExitStack
) -> OAuthTokens | None:
    """Return the tokens of the OAuth app, or None if the settings name no app."""
    segment = settings.segment
    if segment.oauth_client_id is None:
        return None
    app = OAuthApp(
        client_id=segment.oauth_client_id,
        key_id=segment.oauth_key_id or "",
        private_key=_reveal(segment.oauth_private_key) or "",
        scope=segment.oauth_scope,
        audience=segment.oauth_endpoint,
    )
    http = Http(segment.oauth_endpoint, ServerClock(), service="Segment", on_step=on_step)
    stack.enter_context(closing(http))
    return OAuthTokens(app, http)


def background_share(settings: Settings) -> float:
    """Return the share of the rate limit for work beside the daemon.

    It leaves twice as much to others as the daemon leaves, so the daemon goes first.
    """
    return max(2 * settings.auth0.rate_share - 1, 0.01)


def stream_of(settings: Settings) -> Stream:
    """Return the stream of the settings: a tenant, a source and a generation."""
    return Stream(
        domain=settings.auth0.domain,
        source_name=settings.segment.source_name or "",
        generation=settings.segment.generation,
    )


def streams_of_routes(settings: Settings) -> tuple[Stream, ...]:
    """Return the streams of all routes of the file in their order, or none without routes."""
    return tuple(
        Stream(domain=settings.auth0.domain, source_name=name, generation=generation)
        for name, generation in settings.sources_of_routes
    )


def recorded_stream(settings: Settings) -> Stream:
    """Return the stream with the names that its message ids hold by the ledger.

    Without a ledger that can be read, it is the stream of the settings.
    """
    try:
        reader = LedgerReader.open(settings.state.url)
    except PollerError:
        return stream_of(settings)
    try:
        return reader.recorded(stream_of(settings)) or stream_of(settings)
    finally:
        reader.close()


def rules_of(settings: Settings) -> Rules:
    """Return the rules that make calls of events."""
    return Rules(
        login_types=settings.logins.types,
        include_sso_logins=settings.logins.include_sso,
        derive_signups=settings.signups.derive,
        include_api_signups=settings.signups.include_api_created,
        find_signup_address=settings.signups.find_address,
        include_agents=settings.logins.include_agents,
        event_types=settings.events.types,
        login_name=settings.events.names.get("login"),
        signup_name=settings.events.names.get("signup"),
        preset=settings.events.preset,
        when=settings.events.when,
        linked=settings.events.linked,
        user_id=settings.events.user_id,
        anonymous_id=settings.events.anonymous_id,
        context=settings.events.context,
        traits=settings.events.traits,
        properties=settings.events.properties,
        identify=settings.events.identify,
        groups=settings.events.groups,
        routing=settings.routing,
        privacy=Privacy(
            email=settings.privacy.email,
            ip=settings.privacy.ip,
            user_agent=settings.privacy.user_agent,
            user_name=settings.privacy.user_name,
            fields=settings.privacy.fields,
            hmac_key=(_reveal(settings.privacy.hmac_key) or "").encode(),
        ),
    )


def profiles_of(settings: Settings, services: Services) -> CachedProfiles:
    """Return the profiles of the tenant's users, with a cache.

    If profiles cannot be read, the calls lack traits. If the rules need profiles, events wait.
    """
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


def credentials_of(settings: Settings) -> Credentials:
    """Return the credentials of the Auth0 application."""
    auth0 = settings.auth0
    return Credentials(
        domain=auth0.domain,
        client_id=auth0.client_id,
        client_secret=_reveal(auth0.client_secret),
        private_key=_reveal(auth0.private_key),
    )


def _reveal(secret: Any) -> str | None:
    if secret is None:
        return None
    return str(secret.get_secret_value())
