"""A folder whose pipelines do nothing. A test does what the schedule does."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from poller.cli.pipelines import folder as module
from poller.cli.pipelines.folder import Folder
from poller.cli.pipelines.opening import Post
from poller.config import Settings, load_shared_settings, read_defaults
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.lifecycle.process import Failed, Process, Work
from poller.service.observability.systemd import Condition, Notifier, Supervisor
from poller.service.pipelines.pipeline import Running
from poller.service.pipelines.pipelines import Pipelines

REFUSED = FatalError("it is refused", code="ledger-inaccessible", hint="look")


@dataclass(frozen=True, kw_only=True)
class Opened:
    settings: Settings
    neighbours: Collection[Stream]


class Bench:
    """The folder, and what its pipelines did."""

    def __init__(self, path: Path, kind: type[Folder]) -> None:
        self.path = path
        self.kind = kind
        self.opened: dict[str, Opened] = {}
        self.told: list[str] = []
        self.works: dict[str, Work] = {}
        self.error: FatalError | None = None
        self.errors: dict[str, FatalError] = {}
        self.opens_ledgers = False
        self.write_defaults()

    def write_defaults(self, text: str = "") -> None:
        (self.path / "_defaults.toml").write_text(text)

    def write(self, name: str, *, source: str = "", more: str = "") -> None:
        text = (
            f'[auth0]\ndomain = "acme.us.auth0.com"\nclient_id = "id"\nclient_secret = "s"\n{more}'
        )
        text += f'[segment]\nwrite_key = "wk"\nsource_name = "{source or name}"\n'
        (self.path / f"{name}.toml").write_text(text)

    def make(self) -> None:
        """Make the folder, without a pipeline."""
        shared = load_shared_settings(read_defaults(self.path), {"HOME": str(self.path)})
        supervisor, process = Supervisor(Notifier(None), Heartbeat()), Process()
        self.pipelines = Pipelines(process, supervisor)
        self.woken: list[str] = []
        self.pipelines.wake = self.woken.append  # type: ignore[method-assign]
        self.folder = self.kind(self.path, shared, process, supervisor, self.pipelines)

    def start(self, order: Sequence[str] = ()) -> None:
        self.make()
        self.folder.start()
        self.step_each(order or sorted(each.name for each in self.pipelines))

    def step(self, name: str) -> None:
        pipeline = self.pipelines.get(name)
        assert pipeline is not None
        self.pipelines._step(pipeline)

    def step_each(self, names: Iterable[str]) -> None:
        for name in names:
            self.step(name)

    def step_woken(self) -> None:
        """Do the steps that were asked for, and no others."""
        woken, self.woken[:] = [*self.woken], []
        self.step_each(name for name in woken if self.pipelines.get(name))

    def interrupt(self, name: str, error: Exception) -> None:
        """Let a thread of the pipeline fail."""
        self.works[name].end(Failed(error))

    def reload(self) -> None:
        self.folder.reload()
        self.step_each(sorted(each.name for each in self.pipelines))

    def condition(self, name: str) -> Condition:
        return self.folder.members[name].post.supervisor.condition

    @contextmanager
    def open_pipeline(
        self,
        settings: Settings,
        work: Work,
        post: Post,
        *,
        new_stream: bool,
        neighbours: Collection[Stream],
    ) -> Iterator[Running]:
        del new_stream
        name = settings.pipeline
        self.works[name] = work
        assert post.alert_groups is self.folder.alert_groups
        assert post.options.endswith(f" --pipeline {name}")
        if error := self.error or self.errors.get(name):
            raise error
        self.told.append(f"{name} opened")
        self.opened[name] = Opened(settings=settings, neighbours=neighbours)
        ledger = post.ledgers.opened(settings, work, neighbours=neighbours)
        try:
            with ledger if self.opens_ledgers else nullcontext():
                yield Running(step=lambda: timedelta(seconds=30))
        finally:
            del self.opened[name]
            self.told.append(f"{name} closed")


def bench_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Folder] = Folder) -> Bench:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    structlog.reset_defaults()
    folder = tmp_path / "many"
    folder.mkdir()
    made = Bench(folder, kind)
    monkeypatch.setattr(module, "open_pipeline", made.open_pipeline)
    return made
