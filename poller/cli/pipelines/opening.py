"""One pipeline, from its settings to its parts."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.cli.segment_proof.background import check_key_in_background
from poller.cli.segment_proof.hourly_look import look_hourly
from poller.cli.wiring.alerts import alerting
from poller.cli.wiring.catch_up import connect_background
from poller.cli.wiring.daemon import build_daemon
from poller.cli.wiring.events import serve_events
from poller.cli.wiring.ledgers import Ledgers
from poller.cli.wiring.services import connect
from poller.cli.wiring.tenants import Tenants
from poller.config import Settings
from poller.core.events import Stream
from poller.service.alerts.groups import AlertGroups
from poller.service.daemon.backlog_threads import BacklogThreads
from poller.service.daemon.helped_slices import Helpers
from poller.service.lifecycle.liveness import StopEvent
from poller.service.lifecycle.process import Work
from poller.service.observability.instrumented import Observer
from poller.service.observability.systemd import Supervisor
from poller.service.pipelines.pipeline import Running
from poller.service.watching.event_streams import EventStreams
from poller.service.watching.feed import Feed


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """The place where a pipeline is watched. It stays while the pipeline is opened and closed.

    The `observer` is the meter, or the feed alone if nobody asks for metrics. `options` are those
    by which a command finds this pipeline of several. `helpers` makes those of a catch-up. The
    pipelines of a process share the rest.
    """

    feed: Feed
    observer: Observer
    supervisor: Supervisor
    options: str = ""
    helpers: Callable[[Settings, SqlLedger], Helpers] | None = None
    ledgers: Ledgers = field(default_factory=Ledgers)
    streams: EventStreams = field(default_factory=EventStreams)
    tenants: Tenants = field(default_factory=Tenants)
    backlog_threads: BacklogThreads = field(default_factory=BacklogThreads)
    alert_groups: AlertGroups | None = None


@contextmanager
def open_pipeline(
    settings: Settings,
    work: Work,
    post: Post,
    *,
    new_stream: bool = False,
    neighbours: Collection[Stream] | None = None,
) -> Iterator[Running]:
    """Open the ledger and the clients of a pipeline, and close them at the end.

    `neighbours` are the streams of the other pipelines of the process, or None for a pipeline that
    is alone.

    Raises:
        PollerError, SettingsError: the pipeline cannot be opened.
    """
    heartbeat, stopping = post.supervisor.heartbeat, work.stopping
    with (
        post.ledgers.opened(settings, work, adopt=new_stream, neighbours=neighbours) as ledger,
        alerting(settings, ledger, post.observer, post.options, post.alert_groups) as alerts,
        connect(
            *(settings, StopEvent(stopping, heartbeat)),
            observer=alerts.observer,
            on_step=heartbeat.beat,
            tenants=post.tenants,
        ) as services,
        connect_background(settings, services, stopping, alerts.observer) as background,
        serve_events(settings, post.feed, post.streams),
    ):
        daemon = build_daemon(
            *(settings, services, background, ledger, work),
            observer=alerts.observer,
            supervisor=post.supervisor,
            threads=post.backlog_threads,
            helpers=post.helpers and post.helpers(settings, ledger),
            never_ends=neighbours is not None,
        )
        check_key_in_background(settings)
        look_hourly(settings, services.clock.now, alerts.observer, stopping)
        yield Running(step=daemon.step, end=alerts.end)
