"""The three verdicts that adapters reach and core acts on; core never looks at a status code.

Their text is made of statuses and ids, never of a body, a token or a person.
"""

from datetime import timedelta


class PollerError(Exception):
    """Base of every failure that the program expects."""


class TransientError(PollerError):
    """Later will do; `retry_after` is what the server asked for, if it asked."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ConflictError(TransientError):
    """Another writer moved the span: look at the ledger again, never overwrite."""


class RejectedError(PollerError):
    """Never, this datum."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class FatalError(PollerError):
    """Never, until someone acts; `hint` says what to do."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint
