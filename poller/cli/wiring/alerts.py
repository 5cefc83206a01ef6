"""From the settings to the alerts: their targets, the dead man's switch, and their thread."""

import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from poller.adapters.alerting.heartbeat import HeartbeatUrl
from poller.adapters.alerting.targets import (
    MissingAppriseError,
    Target,
    UnknownUrlError,
    open_targets,
)
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.cli.wiring.services import stream_of
from poller.config import Settings, SettingsError
from poller.config.sources.paths import SYSTEM_FILE
from poller.service.alerts.dead_mans_switch import Pings
from poller.service.alerts.groups import AlertGroups
from poller.service.alerts.sender import AlertSender, send_alone
from poller.service.alerts.texts import Place
from poller.service.alerts.watch import Watch
from poller.service.observability.instrumented import Observer, Observers


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerting:
    """The alerts of a daemon, if the settings ask for any.

    The `observer` is told what the daemon does, and tells those who were told before.
    """

    observer: Observer
    sender: AlertSender | None = None

    def end(self, error: BaseException | None) -> None:
        """Say why the daemon stops. The last alerts are sent while the page at hand settles."""
        if self.sender is not None:
            self.sender.end(error)


@contextmanager
def alerting(
    settings: Settings,
    ledger: SqlLedger,
    observer: Observer,
    options: str = "",
    groups: AlertGroups | None = None,
) -> Iterator[Alerting]:
    """Send alerts within this context, from a thread of their own.

    `options` are those that a command needs to find this pipeline of several. The alerts of several
    pipelines are sent together, by the `groups`.

    Raises:
        SettingsError: the extra is not installed, or a URL cannot be used.
    """
    targets, heartbeat = targets_of(settings), heartbeat_of(settings)
    if not targets and heartbeat is None:
        yield Alerting(observer=observer)
        return
    watch = Watch(settings.poll.interval)
    pings = Pings(heartbeat) if heartbeat is not None else None
    deliver = groups.of(settings.pipeline) if groups is not None else send_alone
    sender = AlertSender(
        *(watch, ledger, targets, place_of(settings, options)),
        pings=pings,
        deliver=deliver,
        is_opened_again=groups is not None,
    )
    alerts = Alerting(observer=Observers(observer, watch), sender=sender)
    sender.start()
    try:
        yield alerts
    except BaseException as error:
        alerts.end(error)
        raise
    finally:
        sender.join()


def place_of(settings: Settings, options: str = "") -> Place:
    """Return where the daemon runs, and the options by which a command finds its settings."""
    stream, path = stream_of(settings), settings.path
    is_found = path is None or path == SYSTEM_FILE or not path.is_file()
    return Place(
        host=socket.gethostname(),
        domain=stream.domain,
        source_name=stream.source_name,
        options=options or ("" if is_found else f" --config {shlex.quote(str(path))}"),
        pipeline=settings.pipeline if options else "",
    )


def targets_of(settings: Settings) -> tuple[Target, ...]:
    """Return the targets of `alerts.urls`. Nothing is sent.

    Raises:
        SettingsError: the extra is not installed, or a URL cannot be used.
    """
    urls = [url.get_secret_value() for url in settings.alerts.urls]
    try:
        return open_targets(urls)
    except MissingAppriseError:
        problem = (
            "alerts.urls: Apprise is missing: install it beside the program with "
            "`pip install 'auth0-segment-poller[alerts]'`"
        )
    except UnknownUrlError as error:
        problem = (
            f"alerts.urls: URL {error.number} of {len(urls)} cannot be used: it must be an "
            "https:// URL, or one of https://appriseit.com/services/"
        )
    # Not inside an except block: a traceback must not lead to a URL.
    raise SettingsError((problem,))


def heartbeat_of(settings: Settings) -> HeartbeatUrl | None:
    """Return the dead man's switch, or None if the settings name none. Nothing is sent."""
    url = settings.alerts.heartbeat_url
    if url is None:
        return None
    return HeartbeatUrl(url.get_secret_value())
