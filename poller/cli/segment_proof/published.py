"""The findings of `check` and `run` from the published settings of a source."""

from collections.abc import Iterator
from contextlib import closing

from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.adapters.segment.settings_cdn import DEADLINE_S, PublishedSettings, SettingsCdn
from poller.cli.checks import Finding
from poller.cli.segment_proof.access import write_key_of
from poller.cli.wiring.services import rules_of
from poller.config import Settings
from poller.config.regions import region_of_host
from poller.core.errors import PollerError
from poller.service.lifecycle.exit_codes import Severity

DEBUGGER = (
    "set segment.api_token to prove the key now, or look at the Debugger of the source in Segment "
    "after the first login"
)
_SCHEMA = "in Segment: Connections > Sources > your source > Schema"


def read_published(settings: Settings) -> PublishedSettings | None:
    """Return the published settings of the write key, or None if none are published.

    No request is made if the settings switch the CDN off.

    Raises:
        TransientError, FatalError: the CDN cannot be read. `SettingsCdn.read` says when.
    """
    origin = settings.segment.cdn_endpoint
    if origin is None:
        return None
    with closing(Http(origin, ServerClock(), service="Segment", deadline_s=DEADLINE_S)) as http:
        return SettingsCdn(write_key_of(settings), http).read()


def prove_by_cdn(settings: Settings, *, is_key_decided: bool = False) -> Iterator[Finding]:
    """Check the key, the region and the names of events. An outage of the CDN is not a fault.

    `is_key_decided` is true if the Public API has judged the key already. Then missing settings on
    the CDN are not reported.
    """
    try:
        published = read_published(settings)
    except PollerError as error:
        text = f"could not be proved by Segment's CDN now: {error}"
        yield Finding(subject="key", text=text, hint=DEBUGGER, is_open=True)
        return
    if published is not None:
        yield Finding(subject="key", text="proved: Segment publishes the settings of its source")
        yield from wrong_region(settings, published)
        yield from switched_off(settings, published)
    elif not is_key_decided:
        yield _unproved(settings)


def _unproved(settings: Settings) -> Finding:
    if settings.segment.cdn_endpoint is None:
        text = (
            "cannot be proved before the first event: Segment answers 200 even to a wrong write key"
        )
        return Finding(subject="key", text=text, hint=DEBUGGER, is_open=True)
    text = (
        "cannot be proved by Segment's CDN, which has no settings under it: a new source is "
        "published within a day, a source of the HTTP API perhaps never, a wrong key never"
    )
    hint = f"compare segment.write_key with the source's Settings > API Keys, {DEBUGGER}"
    return Finding(subject="key", text=text, hint=hint, is_open=True)


def wrong_region(settings: Settings, published: PublishedSettings) -> Iterator[Finding]:
    """Compare the region of the source with the endpoint.

    They are compared only if both or neither are addresses of Segment. Any other endpoint may be a
    proxy that leads to either region.
    """
    endpoint = settings.segment.endpoint
    host = endpoint.partition("://")[2]
    theirs, ours = region_of_host(published.host), region_of_host(host)
    if not published.host or published.host == host:
        return
    right = f"https://{published.host}"
    if (theirs is None) != (ours is None):
        text = f"the source's own endpoint is {right}, and {endpoint} must lead there"
        yield Finding(subject="region", text=text)
        return
    where = f"in the {theirs.name}" if theirs else f"at {right}"
    yield Finding(
        subject="region",
        text=f"the source is {where}, and segment.endpoint is not: every event would be dropped",
        hint=f'set segment.endpoint = "{right}"',
        severity=Severity.UNUSABLE,
    )


def switched_off(settings: Settings, published: PublishedSettings) -> Iterator[Finding]:
    """Name each kind of call that the source would take and drop."""
    rules = rules_of(settings)
    for name in rules.track_names:
        if published.blocks_track(name):
            yield _dropped(f"track {name}", "switch the event on, or add it to the tracking plan")
    if published.blocks_identify:
        yield _dropped("identify", "allow identify calls")
    if published.blocks_group and settings.events.groups:
        yield _dropped("group", "allow group calls, or set events.groups = false")


def _dropped(call: str, remedy: str) -> Finding:
    return Finding(
        subject="calls",
        text=f"{call} is switched off in the source: Segment would answer 200 and drop it",
        hint=f"{_SCHEMA}: {remedy}. A change may take a day to show here",
        severity=Severity.ATTENTION,
    )
