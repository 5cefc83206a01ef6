"""The alerts of the pipelines of a folder that cannot be opened."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from structlog.contextvars import bound_contextvars

from poller.adapters.alerting.heartbeat import HeartbeatUrl
from poller.cli.pipelines.folder import Folder, Member, with_own_switch
from poller.cli.wiring.alerts import heartbeat_of, place_of, targets_of
from poller.config import Settings, SettingsError
from poller.core.errors import PollerError
from poller.service.alerts.failures import FAILED, FailureAlerts, FailurePings
from poller.service.alerts.sender import LOOK_S
from poller.service.alerts.texts import Place
from poller.service.upstream.threads import start_thread

log = structlog.get_logger()


@contextmanager
def telling_of_failures(folder: Folder) -> Iterator[None]:
    """Tell of failures within this context, in a thread that no pipeline waits for."""
    ending, failures = threading.Event(), Failures(folder)

    def run() -> None:
        while not ending.wait(LOOK_S):
            failures.look()

    start_thread(run, "failures")
    try:
        yield
    finally:
        ending.set()


@dataclass(slots=True)
class _Told:
    alerts: FailureAlerts
    settings: Settings | None = None


class Failures:
    """The failures of all pipelines. Used by one thread.

    Each goes to the targets that the file of its pipeline names. If the file has a mistake, those
    of the defaults are asked.
    """

    def __init__(
        self, folder: Folder, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._folder = folder
        self._now = now
        self._told: dict[str, _Told] = {}

    def look(self) -> None:
        """Tell what is to be told. Never raises."""
        members = self._folder.members
        self._told = {name: told for name, told in self._told.items() if name in members}
        for member in members.values():
            with bound_contextvars(pipeline=member.name):
                try:
                    self._look_at(member)
                except (PollerError, SettingsError) as error:
                    log.warning("alerts.failed", reason=str(error))
                except Exception as error:  # noqa: BLE001 - a bug here must end no other alert
                    log.warning("alerts.failed", reason=type(error).__name__)

    def _look_at(self, member: Member) -> None:
        told = self._told.get(member.name)
        if told is None:
            if member.post.supervisor.condition.kind != FAILED:
                return
            told = self._told[member.name] = _Told(
                FailureAlerts(
                    member.post.supervisor,
                    deliver=self._folder.alert_groups.of(member.name),
                    now=self._now,
                )
            )
        settings = member.settings or self._folder.shared
        if told.settings is not settings:
            told.settings = settings
            targets, switch = targets_of(settings), self._own_switch(member)
            if targets or switch:
                pings = FailurePings(switch) if switch else None
                told.alerts.address(targets, self._place(member), pings)
        told.alerts.look()

    def _own_switch(self, member: Member) -> HeartbeatUrl | None:
        if member.settings is None:
            return None
        return heartbeat_of(with_own_switch(member.settings, self._folder.shared))

    def _place(self, member: Member) -> Place:
        options = member.post.options
        if member.settings is not None:
            return place_of(member.settings, options)
        return Place(host=socket.gethostname(), options=options, pipeline=member.name)
