"""The check of the write key in a separate thread, after the daemon is ready."""

from datetime import UTC, datetime

import structlog

from poller.adapters.sql_ledger.key_checks import read_key_state, record_key_state
from poller.cli.segment_proof.access import write_key_of
from poller.cli.segment_proof.published import (
    read_published,
    switched_off,
    wrong_region,
)
from poller.config import Settings
from poller.core.errors import PollerError
from poller.service.lifecycle.exit_codes import Severity
from poller.service.upstream.threads import start_thread

log = structlog.get_logger()

_UNPUBLISHED = (
    "Segment publishes no settings under the write key, which proves nothing. "
    "`check` says what to do"
)


def check_key_in_background(settings: Settings) -> None:
    """Look at the write key without making anybody wait.

    Nothing comes of it but log lines. The thread ends with the process.
    """
    if settings.segment.cdn_endpoint is not None:
        start_thread(_check_key, "key-check", settings)


def _check_key(settings: Settings) -> None:
    try:
        check_key(settings)
    except PollerError as error:
        log.warning("write_key.not_checked", reason=str(error))
    except Exception as error:  # noqa: BLE001 - a bug here must not touch the daemon
        log.warning("write_key.not_checked", reason=type(error).__name__)


def check_key(settings: Settings) -> None:
    """Look at the write key, unless an earlier look proved it, and log what is new.

    A key without published settings is told once and looked at again by the next start, because a
    publication may take a day. A key whose source would drop events is not taken for proved, so
    that each start says so.

    Raises:
        TransientError, FatalError: the CDN cannot be read, or the ledger.
    """
    url, key = settings.state.url, write_key_of(settings)
    state = read_key_state(url, key)
    if state == "proved":
        return
    published = read_published(settings)
    if published is None:
        if state is None:
            record_key_state(url, key, "unpublished", datetime.now(UTC))
            log.info("write_key.unpublished", note=_UNPUBLISHED)
        return
    findings = (*wrong_region(settings, published), *switched_off(settings, published))
    wrong = [finding for finding in findings if finding.severity is not Severity.GOOD]
    for finding in wrong:
        log.warning("source.drops_events", reason=finding.text, hint=finding.hint)
    if not wrong:
        record_key_state(url, key, "proved", datetime.now(UTC))
        log.info("write_key.proved", host=published.host)
