"""From the settings to the live page."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import structlog

from poller.adapters.segment.encoding import MessageEncoder
from poller.adapters.sql_ledger.sqlite.page_link import remove_page_link, write_page_link
from poller.cli.views.output import to_json
from poller.cli.views.status import StatusReport
from poller.config import Settings
from poller.core.errors import PollerError
from poller.core.messages import iso
from poller.service.page.feed import Feed

Report = Callable[[datetime], StatusReport]
"""Reads the report of `status` as of this moment."""

log = structlog.get_logger()


@contextmanager
def serve_page(settings: Settings, feed: Feed, report: Report) -> Iterator[str | None]:
    """Serve the live page within this context, if the settings say so. Yield its link.

    Raises:
        FatalError: the address cannot be listened on.
    """
    if settings.page.listen is None:
        yield None
        return
    # These import the web server, and a process without the page need not wait for it.
    from poller.service.observability.http_endpoint import listen  # noqa: PLC0415
    from poller.service.page.access import Access, new_token  # noqa: PLC0415
    from poller.service.page.parts import PageParts  # noqa: PLC0415
    from poller.service.page.server import PageServer  # noqa: PLC0415

    host, port = settings.page.listen
    token = settings.page.token.get_secret_value() if settings.page.token else new_token()
    listening = listen(host, port, setting="page.listen")
    port = listening.getsockname()[1]
    access = Access(token=token, port=port, is_loopback=settings.page.listen.is_loopback)
    parts = PageParts(
        feed=feed,
        show=settings.page.show,
        encode=MessageEncoder().encode,
        state=lambda: _state(report),
    )
    server = PageServer.open(listening, parts, access)
    link = _link(host, port, token)
    try:
        _write_link(settings.state.url, link)
        yield link
    finally:
        server.close()
        remove_page_link(settings.state.url)


def _state(report: Report) -> dict[str, Any]:
    """Return the state of the daemon. A ledger that cannot be read now has no status."""
    now = datetime.now(UTC)
    try:
        status = to_json(report(now))
    except PollerError as error:
        return {"at": iso(now), "status": None, "problem": str(error)}
    return {"at": iso(now), "status": status, "problem": None}


def _link(host: str, port: int, token: str) -> str:
    """Return the link for a browser on this machine, or the address that the settings name."""
    address = ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004 - of IP
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/?token={token}"


def _write_link(url: str, link: str) -> None:
    try:
        write_page_link(url, link)
    except OSError as error:
        log.warning("live_page.link_not_written", reason=error.strerror)
