"""The pipelines of `run`, bound together from their settings."""

from collections.abc import Iterator
from contextlib import contextmanager

from poller.core.errors import FatalError


@contextmanager
def needing_queue() -> Iterator[None]:
    """Say what to install where an import within needs the queue, which is an extra.

    Raises:
        FatalError: the queue is not installed.
    """
    try:
        yield
    except ImportError:
        raise FatalError(
            "the queue of the workers is missing",
            code="ledger-driver-missing",
            hint="install it beside the program: pip install 'auth0-segment-poller[ha]'",
        ) from None
