"""The pipelines of a folder: they are read, started, and read again."""

import os
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from poller.cli.pipelines.opening import Post, open_pipeline
from poller.cli.pipelines.pasting import options_of, options_of_all
from poller.cli.pipelines.table import refusal_of_second, refuse_second_of_file
from poller.cli.settings_file import SettingsFile
from poller.cli.wiring.ledgers import Ledgers
from poller.cli.wiring.metrics import observer_of
from poller.cli.wiring.services import stream_of
from poller.cli.wiring.tenants import Tenants
from poller.config import (
    Settings,
    SettingsError,
    load_settings,
    load_shared_settings,
    pipeline_names,
    read_defaults,
    read_pipeline,
)
from poller.core.errors import FatalError, PollerError
from poller.core.events import Stream
from poller.service.alerts.groups import AlertGroups
from poller.service.daemon.backlog_threads import BacklogThreads
from poller.service.lifecycle.process import Process, Work
from poller.service.observability.systemd import Notifier, Supervisor
from poller.service.pipelines.claims import StreamClaims
from poller.service.pipelines.pipeline import Pipeline, Running
from poller.service.pipelines.pipelines import Pipelines
from poller.service.watching.event_streams import EventStreams
from poller.service.watching.feed import MOST_EVENTS, Feed, events_of_each

_START_S = 0.05
"""The time between the starts of two pipelines, on average, so that not all begin at once."""

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Member:
    """A pipeline of the folder. The settings are None as long as its file has a mistake."""

    name: str
    post: Post
    pipeline: Pipeline
    settings: Settings | None


class Folder:
    """The pipelines of a folder, which start and change as its files say.

    `start` and `reload` are called by the main thread, and the rest by any thread.
    """

    def __init__(
        self,
        path: Path,
        shared: Settings,
        process: Process,
        supervisor: Supervisor,
        pipelines: Pipelines,
        *,
        new_stream: bool = False,
        ledgers: Ledgers | None = None,
    ) -> None:
        self.path = path
        self.shared = shared
        self._process = process
        self._supervisor = supervisor
        self._pipelines = pipelines
        self._new_stream = new_stream
        self._ledgers = ledgers or Ledgers()
        self._event_streams = EventStreams()
        self._events_of_each = MOST_EVENTS
        self._tenants = Tenants()
        self._backlog_threads = BacklogThreads()
        self.alert_groups = AlertGroups(options_of_all(path))
        self._members: dict[str, Member] = {}
        self._claims = StreamClaims(lambda *names: refusal_of_second(path, *names), pipelines.wake)
        self._told = ""
        self.on_open: Callable[[Settings], AbstractContextManager[None]] = lambda _: nullcontext()
        """Returns a context that each pipeline enters as long as it is open."""

    @property
    def members(self) -> Mapping[str, Member]:
        return dict(self._members)

    def start(self) -> None:
        """Add the pipelines of the folder. They begin one after the other.

        Raises:
            SettingsError: the folder holds no pipeline, or cannot be read.
        """
        names = pipeline_names(self.path)
        self._events_of_each = events_of_each(len(names))
        spread_s = _START_S * len(names)
        with self._claims.changing(self._named):
            for name in names:
                self._add(name, random.uniform(0.0, spread_s))  # noqa: S311 - no secret

    def reload(self) -> None:
        """Read all files again. Pipelines whose settings are as before go on undisturbed."""
        self._supervisor.reloading()
        try:
            with self._claims.changing(self._named):
                counts = self._reload()
        except SettingsError as error:
            tell_refused(error, note="the old settings go on")
            self._supervisor.reloaded("the settings have a mistake: the old ones go on")
            return
        log.info("settings.read", **counts)
        self._supervisor.reloaded(self._status())

    def look(self) -> None:
        """Tell systemd the state of all pipelines, if it has changed."""
        status = self._status()
        if status != self._told:
            self._told = status
            self._supervisor.tell(status)

    def _reload(self) -> dict[str, int]:
        names = pipeline_names(self.path, self._members)
        self._warn_of_restart()
        counts = Counter[str](added=0, changed=0, removed=0, refused=0)
        for name in {*self._members} - {*names}:
            self._members.pop(name).pipeline.remove()
            counts["removed"] += 1
        for name in names:
            counts[self._read_again(name)] += 1
        counts.pop("same", None)
        return dict(counts)

    def _warn_of_restart(self) -> None:
        shared = load_shared_settings(read_defaults(self.path), os.environ)
        warn_of_restart(self.shared, shared)

    def _read_again(self, name: str) -> str:
        """Read a file of the folder again, and return what came of it."""
        member = self._members.get(name)
        if member is None:
            self._add(name, 0.0)
            return "added"
        try:
            settings = self._load(name)
        except SettingsError as error:
            note = "the old settings go on" if member.settings else "it does not run"
            tell_refused(error, pipeline=name, note=note)
            return "refused"
        if settings == member.settings:
            return "same"
        member.settings = settings
        member.pipeline.replace()
        return "changed"

    def _add(self, name: str, after_s: float) -> None:
        try:
            settings = self._load(name)
        except SettingsError:
            settings = None  # the first step reads the file again, and tells of the mistake
        old, feed = self._pipelines.get(name), Feed(most=self._events_of_each)
        pipeline = old or self._pipeline(name)
        post = Post(
            feed=feed,
            observer=observer_of(settings or self.shared, feed, is_alone=False),
            supervisor=pipeline.supervisor,
            options=options_of(self.path, name),
            ledgers=self._ledgers,
            streams=self._event_streams,
            tenants=self._tenants,
            backlog_threads=self._backlog_threads,
            alert_groups=self.alert_groups,
        )
        self._members[name] = Member(name=name, post=post, pipeline=pipeline, settings=settings)
        if old is None or not old.replace():  # it was removed a moment ago, and may be closed now
            self._pipelines.add(pipeline, timedelta(seconds=after_s))

    def _pipeline(self, name: str) -> Pipeline:
        def opened(work: Work) -> AbstractContextManager[Running]:
            return self._opened(self._members[name], work)

        supervisor = Supervisor(Notifier(None), self._supervisor.heartbeat)
        return Pipeline(
            name,
            opened,
            self._process,
            supervisor,
            wake=lambda: self._pipelines.wake(name),
            on_gone=lambda: self._forget(name),
        )

    def _forget(self, name: str) -> None:
        """Forget a pipeline that was closed for good."""

    def _load(self, name: str) -> Settings:
        return load_settings(read_pipeline(self.path, name), os.environ)

    @contextmanager
    def _opened(self, member: Member, work: Work) -> Iterator[Running]:
        if member.settings is None:
            with self._claims.changing(self._named):
                member.settings = _known(lambda: self._load(member.name))
        refuse_second_of_file(SettingsFile(self.path, member.name))
        settings = with_own_switch(member.settings, self.shared)
        with (
            self._claims.held(stream_of(settings), member.name, member.pipeline.reopen),
            self._ledgers.recording(settings),
            open_pipeline(
                settings,
                work,
                member.post,
                new_stream=self._new_stream,
                neighbours=self._neighbours(member),
            ) as running,
            self.on_open(settings),
        ):
            yield running

    def _neighbours(self, member: Member) -> Collection[Stream]:
        """Return the streams of the other pipelines, which may be in the ledger."""
        return [stream for name, stream in self._named().items() if name != member.name]

    def _named(self) -> dict[str, Stream]:
        """Return the stream that each pipeline names, as far as its file has no mistake."""
        return {
            each.name: stream_of(each.settings)
            for each in self.members.values()
            if each.settings is not None
        }

    def _status(self) -> str:
        """Return how many pipelines are in each condition."""
        kinds = Counter(each.post.supervisor.condition.kind for each in self.members.values())
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        return f"{len(self._members)} pipelines: {counts}"


def tell_refused(error: SettingsError | PollerError, **facts: str) -> None:
    """Name the mistakes in settings that were read again."""
    problems = error.problems if isinstance(error, SettingsError) else (str(error),)
    log.error("settings.refused", problems=list(problems), **facts)


def warn_of_restart(old: Settings, new: Settings) -> None:
    """Name the settings of the process that take effect at the next start only."""
    sections = [each for each in ("metrics", "page") if getattr(old, each) != getattr(new, each)]
    if sections:
        log.warning("settings.need_restart", sections=sections)


def with_own_switch(settings: Settings, shared: Settings) -> Settings:
    """Return the settings without the dead man's switch that all pipelines share.

    One pipeline must not say that all is well. See `shared_switch`.
    """
    if settings.alerts.heartbeat_url != shared.alerts.heartbeat_url:
        return settings
    alerts = settings.alerts.model_copy(update={"heartbeat_url": None})
    return settings.model_copy(update={"alerts": alerts})


def _known(load: Callable[[], Settings]) -> Settings:
    """Load settings. A mistake becomes an error that `status` and the log can show."""
    try:
        return load()
    except SettingsError as error:
        mistake = error
    hint = "correct the file: it is read again by itself, or at once by SIGHUP"
    raise FatalError("; ".join(mistake.problems), code=mistake.code, hint=hint)
