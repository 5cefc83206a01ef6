"""From the settings to the metrics, and to the HTTP endpoint that serves them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from poller import __version__
from poller.config import Settings
from poller.core.translation.event_types import SIGNUP
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.observability.instrumented import Observer
from poller.service.observability.systemd import Supervisor
from poller.service.watching.feed import Feed

if TYPE_CHECKING:
    from poller.service.pipelines.endpoint import Watched


def observer_of(settings: Settings, feed: Feed, *, is_alone: bool = True) -> Observer:
    """Return the meter, which tells the feed of each settled page. Without metrics it is the feed.

    The meter of a pipeline that `is_alone` has the metrics of the process too.

    The live page shows the numbers of the metrics, so they are counted for it too.
    """
    if settings.metrics.listen is None and settings.page.listen is None:
        return feed
    # This imports the metrics library, and a process that does not listen need not wait for it.
    from poller.service.observability.meter import Meter  # noqa: PLC0415

    types = {*settings.logins.types, SIGNUP, *settings.events.types}
    meter = Meter(types, version=__version__ if is_alone else None)
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
    from poller.service.observability.http_endpoint import (  # noqa: PLC0415 - as in observer_of
        Health,
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


@contextmanager
def serve_metrics_of_pipelines(
    shared: Settings, heartbeat: Heartbeat, watched: "Callable[[], Mapping[str, Watched]]"
) -> Iterator[None]:
    """Answer the same for many pipelines, with the name of the pipeline as a label.

    Raises:
        FatalError: the address cannot be listened on.
    """
    if shared.metrics.listen is None:
        yield
        return
    from poller.service.observability.http_endpoint import (  # noqa: PLC0415 - as in observer_of
        Listener,
        liveness_problem,
    )
    from poller.service.pipelines.endpoint import routes_of_pipelines  # noqa: PLC0415

    routes = routes_of_pipelines(watched, lambda: liveness_problem(heartbeat), __version__)
    with closing(Listener.open(*shared.metrics.listen, routes)):
        yield


def watched_of(settings: Settings, observer: Observer, supervisor: Supervisor) -> "Watched":
    """Return a pipeline as the endpoint sees it. Its observer is a meter, as the settings want."""
    from poller.service.observability.http_endpoint import Health  # noqa: PLC0415
    from poller.service.observability.meter import Meter  # noqa: PLC0415
    from poller.service.pipelines.endpoint import Watched  # noqa: PLC0415

    assert isinstance(observer, Meter)  # noqa: S101 - as the settings want it
    ready_lag = settings.metrics.ready_lag + settings.poll.interval
    health = Health(observer, supervisor.heartbeat, ready_lag=ready_lag)
    return Watched(meter=observer, health=health, supervisor=supervisor)
