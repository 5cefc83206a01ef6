"""The errors of every ledger, whatever database holds it."""

from poller.core.errors import FatalError, TransientError


class LedgerFatalError(FatalError):
    """A fatal error whose message names the place of the ledger."""


class LedgerHeldError(TransientError):
    """Another process of this role holds the ledger."""
