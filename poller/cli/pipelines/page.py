"""The live page of the pipelines of a folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from poller import __version__
from poller.cli.pipelines.folder import Folder
from poller.cli.pipelines.pasting import completed, options_of
from poller.cli.views.pipelines import PipelineReport, live_of, worst_first
from poller.cli.views.status import StatusReport
from poller.cli.wiring.page.opening import link_beside, parts_of, serve
from poller.config import Settings
from poller.config.parsers.texts import Socket
from poller.service.lifecycle.process import Process
from poller.service.page.parts import ManyParts, PageParts
from poller.service.pipelines.endpoint import Pipelines, Watched, routes_of_pipelines

Collect = Callable[[Settings, datetime], StatusReport]


class FolderPage:
    """Finds the parts of the page by the name of a pipeline. Used by one thread at a time."""

    def __init__(
        self, folder: Folder, watched: Pipelines, process: Process, collect: Collect
    ) -> None:
        self._folder = folder
        self._watched = watched
        self._process = process
        self._collect = collect
        self._found: dict[str, tuple[Settings, PageParts]] = {}

    def find(self, name: str) -> PageParts | None:
        member = self._folder.members.get(name)
        if member is None or member.settings is None:
            self._found.pop(name, None)
            return None
        settings, post = member.settings, member.post
        known = self._found.get(name)
        if known is None or known[0] is not settings or known[1].feed is not post.feed:
            parts = parts_of(
                *(settings, post.feed, post.observer, post.supervisor, self._process.stopping),
                lambda now: self._collect(settings, now),
            )
            known = self._found[name] = (settings, parts)
        return known[1]

    def state(self) -> dict[str, Any]:
        """Return all pipelines, the worst first, by what this process knows of them."""
        report = worst_first(_line(*each) for each in self._watched().items())
        lines = [
            _values(each, options_of(self._folder.path, each.pipeline)) for each in report.pipelines
        ]
        return {"code": report.code, "pipelines": lines}


@contextmanager
def open_page_of_folder(
    folder: Folder, address: Socket, watched: Pipelines, process: Process, collect: Collect
) -> Iterator[None]:
    """Serve the page within this context. Each pipeline that opens keeps a link to its own page.

    Raises:
        FatalError: the address cannot be listened on.
    """
    page = FolderPage(folder, watched, process, collect)
    routes = routes_of_pipelines(watched, lambda: None, __version__)
    parts = ManyParts(find=page.find, state=page.state, ready=routes["/readyz"])
    with serve(folder.shared, address, parts) as link:
        start, token = link.split("/?")
        folder.on_open = lambda settings: link_beside(
            settings, f"{start}/pipelines/{settings.pipeline}/?{token}"
        )
        yield


def _line(name: str, watched: Watched) -> PipelineReport:
    ages = watched.meter.ages.values()
    return live_of(name, watched.supervisor.condition, watched.readiness_problem(), ages)


def _values(line: PipelineReport, options: str) -> dict[str, Any]:
    return {
        "pipeline": line.pipeline,
        "state": line.state,
        "code": line.code,
        "error": line.error,
        "text": line.text,
        "hint": line.hint and completed(line.hint, options),
        "figures": [cell for cell in line.cells if cell],
    }
