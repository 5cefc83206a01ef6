"""The live page from the settings, if they say so."""

from collections.abc import Iterator
from contextlib import contextmanager

from poller.cli.views.status import Report
from poller.config import Settings
from poller.service.lifecycle.process import Process
from poller.service.observability.instrumented import Observer
from poller.service.observability.systemd import Supervisor
from poller.service.watching.feed import Feed


@contextmanager
def serve_page(
    settings: Settings,
    feed: Feed,
    observer: Observer,
    supervisor: Supervisor,
    process: Process,
    report: Report,
) -> Iterator[str | None]:
    """Serve the live page within this context, if the settings say so. Yield its link.

    Raises:
        FatalError: the address cannot be listened on.
    """
    if settings.page.listen is None:
        yield None
        return
    # This imports the web server, and a process without the page need not wait for it.
    from poller.cli.wiring.page.opening import open_page  # noqa: PLC0415

    address = settings.page.listen
    with open_page(settings, address, feed, observer, supervisor, process, report) as link:
        yield link
