"""From the settings to the metrics, and to the HTTP endpoint that serves them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from poller import __version__
from poller.config import Settings
from poller.core.translation.event_types import SIGNUP
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.observability.instrumented import Observer
from poller.service.watching.feed import Feed


def observer_of(settings: Settings, feed: Feed) -> Observer:
    """Return the meter, which tells the feed of each settled page. Without metrics it is the feed.

    The live page shows the numbers of the metrics, so they are counted for it too.
    """
    if settings.metrics.listen is None and settings.page.listen is None:
        return feed
    # This imports the metrics library, and a process that does not listen need not wait for it.
    from poller.service.observability.meter import Meter  # noqa: PLC0415

    types = {*settings.logins.types, SIGNUP, *settings.events.types}
    meter = Meter(types, version=__version__)
    meter.feed = feed
    feed.now = meter.ages.server_now
    return meter


@contextmanager
def serve_metrics(settings: Settings, heartbeat: Heartbeat, observer: Observer) -> Iterator[None]:
    """Answer `/metrics`, `/healthz` and `/readyz` within this context, if the settings say so.

    Raises:
        FatalError: the address cannot be listened on.
    """
    if settings.metrics.listen is None:
        yield
        return
    from poller.service.observability.health import Health  # noqa: PLC0415 - as in observer_of
    from poller.service.observability.http_endpoint import (  # noqa: PLC0415 - as in observer_of
        Listener,
        routes_of,
    )
    from poller.service.observability.meter import Meter  # noqa: PLC0415 - as in observer_of

    assert isinstance(observer, Meter)  # noqa: S101 - as the settings want it
    health = Health(
        observer, heartbeat, ready_lag=settings.metrics.ready_lag + settings.poll.interval
    )
    with closing(Listener.open(*settings.metrics.listen, routes_of(observer, health))):
        yield
