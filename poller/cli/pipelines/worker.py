"""One of many workers, on one machine or several, that divide the pipelines of a folder."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from poller.adapters.shift_queue import ShiftQueue, SliceOrder, Walked, share_of
from poller.adapters.sql_ledger.errors import LedgerHeldError
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.lock import Lost
from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.postgres.place import PostgresPlace
from poller.adapters.sql_ledger.postgres.worker_lease import WorkerLease
from poller.adapters.sql_ledger.tables.streams import label
from poller.cli.pipelines.failures import telling_of_failures
from poller.cli.pipelines.folder import Folder, Member, tell_refused
from poller.cli.pipelines.pasting import CompletedCommands
from poller.cli.pipelines.running import allow_many_files, watched
from poller.cli.pipelines.slice_walks import SliceHelpers, SliceWalks
from poller.cli.wiring.ledgers import Ledgers
from poller.cli.wiring.metrics import serve_metrics_of_pipelines
from poller.cli.wiring.services import stream_of
from poller.config import (
    Settings,
    SettingsError,
    load_settings,
    load_shared_settings,
    pipeline_names,
    read_defaults,
    read_pipeline,
)
from poller.core.errors import FatalError, TakenOverError, TransientError
from poller.core.events import Stream
from poller.service.daemon.backlog_threads import BacklogThreads
from poller.service.lifecycle.ending import finish
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.process import Failed, Process, Work
from poller.service.observability.logging_setup import configure_logging
from poller.service.observability.systemd import Supervisor
from poller.service.pipelines.pipeline import Running
from poller.service.pipelines.pipelines import Pipelines

_MOST_HELPED = 8
"""The most slices of catch-ups that a worker gives to others at a time."""
_HELD = timedelta(seconds=5)
"""The pause before a stream is asked for again that another worker still owns."""


class WorkerFolder(Folder):
    """The pipelines of the folder that this worker has. Implements the `Shifts` of the queue."""

    lease: WorkerLease
    conninfo: str
    _seen: tuple[dict[str, int], dict[str, Stream]] = ({}, {})
    _on_end: dict[str, Callable[[], None]]
    _leaving: set[str]
    _share = 0
    _workers = 1
    _names: Collection[str] = ()

    def join(self, lease: WorkerLease, conninfo: str) -> None:
        """Begin without a pipeline. The queue is at `conninfo`."""
        self.lease, self.conninfo = lease, conninfo
        self._on_end, self._leaving = {}, set()
        self._helped, self._given = BacklogThreads(_MOST_HELPED), set[str]()

    def names(self) -> Collection[str]:
        try:
            self._names = pipeline_names(self.path, self._names)
        except SettingsError as error:
            tell_refused(error, note="the pipelines that were there before go on")
        return self._names

    def share(self) -> int:
        if self._process.stopping.is_set():
            return 0
        place, self._workers = self.lease.standing()
        self._share = share_of(len(self.names()), workers=self._workers, place=place)
        return self._share

    def begin(self, name: str, on_end: Callable[[], None]) -> bool:
        is_free = name in self.names() and name not in self._members
        if is_free and not self._process.stopping.is_set():
            self._on_end[name] = on_end
            with self._claims.changing(self._named):
                self._add(name, 0.0)
        return is_free

    def keeps(self, name: str) -> bool:
        have = len(self._members) - len(self._leaving)
        if name not in self.names() or have > self._share:
            return False
        with self._claims.changing(self._named):
            self._read_again(name)
        return True

    def end(self, name: str) -> None:
        member = self._members.get(name)
        if member is not None:
            self._leaving.add(name)
            member.pipeline.remove()

    def walk(self, order: SliceOrder) -> Walked:
        return SliceWalks(self.path, self._process, self._tenants).walk(order)

    def gives(self) -> bool:
        return bool(self._given) and self._workers > 1

    def look(self) -> None:
        super().look()
        if self.lease.is_lost:
            lost = TransientError("the lease of this worker has expired, and was removed")
            self._process.end(Failed(lost))

    def _reload(self) -> dict[str, int]:
        """Read the files of this worker's pipelines again. The queue finds new files by itself."""
        names = {*pipeline_names(self.path, self._members)}
        self._warn_of_restart()
        counts = Counter[str](changed=0, removed=0, refused=0)
        for name in self.members:
            if name in names:
                counts[self._read_again(name)] += 1
            else:
                self.end(name)
                counts["removed"] += 1
        counts.pop("same", None)
        return dict(counts)

    def _forget(self, name: str) -> None:
        self._members.pop(name, None)
        self._leaving.discard(name)
        self._on_end.pop(name, lambda: None)()

    @contextmanager
    def _opened(self, member: Member, work: Work) -> Iterator[Running]:
        helpers = partial(self._helpers, member.name)
        member.post = replace(member.post, helpers=helpers)
        try:
            with super()._opened(member, work) as running:
                yield running
        except TakenOverError:
            self.end(member.name)
            raise
        except LedgerHeldError as error:
            # The queue knows of a dead worker before or after the ledger does, by seconds.
            error.retry_after = _HELD
            raise

    def _helpers(self, name: str, settings: Settings, ledger: SqlLedger) -> SliceHelpers:
        return SliceHelpers(
            *(self.conninfo, name, settings, ledger),
            workers=lambda: self._workers,
            given=self._given,
            threads=self._helped,
        )

    def _named(self) -> dict[str, Stream]:
        """Return the streams of all pipelines, whichever worker has them."""
        files = _versions(self.path)
        if files != self._seen[0]:
            self._seen = (files, dict(self._streams(self.names())))
        own = super()._named()  # a file with a mistake names the stream that it named before
        return self._seen[1] | {name: own[name] for name in own if name in self._names}

    def _streams(self, names: Collection[str]) -> Iterator[tuple[str, Stream]]:
        for name in names:
            with suppress(SettingsError):  # its own step tells of it
                yield name, stream_of(self._load(name))


def _versions(path: Path) -> dict[str, int]:
    """Return when each settings file was changed. A worker asks often, in a folder of thousands."""
    versions = {}
    folder = path.parent if path.is_file() else path
    with suppress(OSError), os.scandir(folder) as entries:  # `names` tells of the error
        for each in entries:
            if each.name.endswith(".toml"):
                with suppress(FileNotFoundError):
                    versions[each.name] = each.stat().st_mtime_ns
    return versions


def run_worker(path: Path, supervisor: Supervisor) -> ExitCode:
    """Work on a share of the pipelines of a folder until there is a reason to stop.

    Raises:
        SettingsError: the folder holds no pipeline, or its defaults cannot be used.
        TransientError: the database failed. Start again.
        FatalError: the ledger is not in PostgreSQL, or cannot be used.
    """
    shared = load_shared_settings(read_defaults(path), os.environ)
    configure_logging(shared.log.level, shared.log.format, CompletedCommands(path))
    place = _place(path)
    allow_many_files()
    process = Process()
    pipelines = Pipelines(process, supervisor)
    with closing(WorkerLease.join(place.address)) as lease:

        def owning(url: str, stream: Stream, on_lost: Lost) -> AbstractContextManager[None]:
            if place_of(url) != place:
                raise _refusal("a worker needs one ledger for all pipelines")
            return lease.owning(label(stream), on_lost)

        folder = WorkerFolder(path, shared, process, supervisor, pipelines, ledgers=Ledgers(owning))
        folder.join(lease, place.address.conninfo)
        process.on_reload = folder.reload
        queue = ShiftQueue(
            place.address.conninfo, lease.id, folder, lambda error: process.end(Failed(error))
        )
        queue.start()
        try:
            with (
                pipelines,
                serve_metrics_of_pipelines(shared, supervisor.heartbeat, lambda: watched(folder)),
                telling_of_failures(folder),
            ):
                reason = pipelines.run(folder.look, pipelines=len(folder.names()))
                queue.take_no_more()
                return finish(reason, process, interrupted=ExitCode.DONE)
        finally:
            queue.stop()


def _place(path: Path) -> PostgresPlace:
    """Return the ledger that all pipelines share."""
    place = place_of(_first_settings(path).state.url)
    if not isinstance(place, PostgresPlace):
        raise _refusal("a worker needs a ledger in PostgreSQL")
    return place


def _first_settings(path: Path) -> Settings:
    """Return the settings of the first pipeline whose file has no mistake."""
    mistake: SettingsError | None = None
    for name in pipeline_names(path):
        try:
            return load_settings(read_pipeline(path, name), os.environ)
        except SettingsError as error:
            mistake = mistake or error
    assert mistake is not None  # noqa: S101 - an empty folder was refused
    raise mistake


def _refusal(message: str) -> FatalError:
    return FatalError(
        message,
        code="settings-invalid",
        hint="set state.url in _defaults.toml to a database of PostgreSQL, and nowhere else",
    )
