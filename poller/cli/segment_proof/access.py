"""Access to the workspace: the Public API by its token, the source by its id or its write key."""

import hmac
from collections.abc import Iterator
from contextlib import closing, contextmanager

from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.adapters.segment.public_api import DEADLINE_S, PublicApi
from poller.adapters.segment.tracking_plan import TrackingPlan
from poller.adapters.segment.workspace import SourceDetails
from poller.config import Settings


@contextmanager
def public_api(settings: Settings) -> Iterator[PublicApi | None]:
    """Open the Public API, or yield None if the settings have no token."""
    token = settings.segment.api_token
    if token is None:
        yield None
        return
    origin = settings.segment.api_endpoint
    with closing(Http(origin, ServerClock(), service="Segment", deadline_s=DEADLINE_S)) as http:
        yield PublicApi(token.get_secret_value(), http)


def write_key_of(settings: Settings) -> str:
    """Return the write key."""
    secret = settings.segment.write_key
    return "" if secret is None else secret.get_secret_value()


def has_write_key(source: SourceDetails, settings: Settings) -> bool:
    """Return whether the write key belongs to the source.

    The comparison is made on this machine, so the key is not sent to the API.
    """
    own = write_key_of(settings).encode()
    shown = (key.encode(errors="backslashreplace") for key in source.write_keys)
    return any(hmac.compare_digest(key, own) for key in shown)


def source_id_of(api: PublicApi, settings: Settings) -> str | None:
    """Return the id of the source: that of the settings, or else by the write key.

    Raises:
        PollerError: the Public API cannot be asked, or refuses.
    """
    if settings.segment.source_id is not None:
        return settings.segment.source_id
    own = (each for each in api.sources() if has_write_key(each, settings))
    return next((each.id for each in own), None)


def read_plan(settings: Settings) -> TrackingPlan | None:
    """Return the tracking plan of the source, or None if the source has none or is not known.

    Raises:
        PollerError: the Public API cannot be asked, or refuses.
    """
    with public_api(settings) as api:
        if api is None:
            return None
        source_id = source_id_of(api, settings)
        plan_id = "" if source_id is None else api.source(source_id).plan_id
        if source_id is None or not plan_id:
            return None
        return TrackingPlan(api.rules(plan_id), api.controls(source_id))
