"""The line of `check` about the ledger. It makes and changes nothing."""

from contextlib import closing, suppress

from poller.adapters.sql_ledger.errors import LedgerFatalError
from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.schema_version import OlderLedgerError
from poller.adapters.sql_ledger.tables.streams import stream_mismatch_error
from poller.core.errors import PollerError
from poller.core.events import Stream
from poller.core.log_ids import moment_of
from poller.core.spans import Span


def inspect_ledger(url: str, stream: Stream) -> str:
    """Return one line that says in which state the ledger is.

    Raises:
        TransientError, FatalError: `run` could not use the ledger as it is.
    """
    place = place_of(url)
    none_yet = place.refuse_unusable()
    if none_yet is not None:
        return none_yet
    try:
        reader = LedgerReader.open(url)
    except OlderLedgerError:
        place.try_to_write()
        return (
            f"usable, {place.shown}; an earlier version wrote it, and the next start brings it up"
        )
    try:
        streams, spans = reader.streams(), reader.spans(stream)
        is_usable = not streams or reader.recorded(stream) or reader.can_become(stream)
    finally:
        reader.close()
    if not is_usable:
        error = stream_mismatch_error(stream, streams)
        raise LedgerFatalError(f"ledger {place.shown}: {error}", code=error.code, hint=error.hint)
    place.try_to_write()
    live = next((span for span in spans if span.is_live), None)
    return f"usable, {place.shown}; {_position_of(live)}"


def has_begun(url: str, stream: Stream) -> bool:
    """Return whether the stream has a live span. A ledger that cannot be read has none."""
    with suppress(PollerError), closing(LedgerReader.open(url)) as reader:
        return any(span.is_live for span in reader.spans(stream))
    return False


def _position_of(live: Span | None) -> str:
    if live is None:
        return "nothing settled yet"
    moment = moment_of(live.reached)
    if moment:
        return f"at {moment:%Y-%m-%d %H:%M:%S}Z"
    return f"at {live.reached}"
