"""The parts of the live page, and its server."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address

import structlog

from poller.adapters.segment.encoding import MessageEncoder
from poller.adapters.sql_ledger.local_files.page_link import remove_page_link, write_page_link
from poller.cli.views.status import Report
from poller.cli.wiring.page.letters import PageLetters
from poller.cli.wiring.page.state import PageState
from poller.config import Settings
from poller.config.parsers.texts import Socket
from poller.service.lifecycle.process import Process
from poller.service.observability.http_endpoint import listen, shown_address
from poller.service.observability.instrumented import Observer
from poller.service.observability.meter import Meter
from poller.service.observability.systemd import Supervisor
from poller.service.page.access import Access, new_token
from poller.service.page.numbers import Numbers
from poller.service.page.parts import ManyParts, PageParts
from poller.service.page.server import PageServer
from poller.service.watching.feed import Feed

_ANYWHERE = {4: "127.0.0.1", 6: "::1"}

log = structlog.get_logger()


@contextmanager
def open_page(
    settings: Settings,
    address: Socket,
    feed: Feed,
    observer: Observer,
    supervisor: Supervisor,
    process: Process,
    report: Report,
) -> Iterator[str]:
    """Serve the live page within this context. Yield its link.

    Raises:
        FatalError: the address cannot be listened on.
    """
    parts = parts_of(settings, feed, observer, supervisor, process.stopping, report)
    with serve(settings, address, parts) as link, link_beside(settings, link):
        yield link


def parts_of(
    settings: Settings,
    feed: Feed,
    observer: Observer,
    supervisor: Supervisor,
    stopping: threading.Event,
    report: Report,
) -> PageParts:
    """Return what the page needs of one pipeline."""
    numbers = Numbers(observer if isinstance(observer, Meter) else Meter())
    return PageParts(
        feed=feed,
        show=settings.page.show,
        encode=MessageEncoder().encode,
        state=PageState(settings, report, supervisor, numbers).read,
        dead_letters=PageLetters(settings, stopping),
        numbers=numbers,
    )


@contextmanager
def serve(settings: Settings, address: Socket, parts: PageParts | ManyParts) -> Iterator[str]:
    """Serve a page within this context. Yield its link.

    Raises:
        FatalError: the address cannot be listened on.
    """
    token = settings.page.token.get_secret_value() if settings.page.token else new_token()
    listening = listen(*address, setting="page.listen")
    port = listening.getsockname()[1]
    access = Access(token=token, port=port, is_loopback=address.is_loopback)
    with closing(PageServer.open(listening, parts, access)):
        yield _link(address.host, port, token)


@contextmanager
def link_beside(settings: Settings, link: str) -> Iterator[None]:
    """Keep the link in a file beside the ledger within this context."""
    try:
        write_page_link(settings.state.url, link, settings.pipeline)
    except OSError as error:
        log.warning("live_page.link_not_written", reason=error.strerror)
    try:
        yield
    finally:
        remove_page_link(settings.state.url, settings.pipeline)


def _link(host: str, port: int, token: str) -> str:
    """Return the link for a browser on this machine, or the address that the settings name."""
    address = ip_address(host)
    name = _ANYWHERE[address.version] if address.is_unspecified else host
    return f"http://{shown_address(name, port)}/?token={token}"
