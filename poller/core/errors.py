"""The three verdicts that adapters reach and core acts on. Core never looks at a status code.

A message is made of statuses and ids, never of a body, a token or a person.
"""

import re
from datetime import timedelta
from typing import Literal

ErrorCode = Literal[
    "all-messages-refused",
    "answer-unusable",
    "auth0-credentials-refused",
    "auth0-private-key-unusable",
    "auth0-request-forbidden",
    "auth0-request-refused",
    "auth0-scope-missing",
    "auth0-token-refused",
    "ca-certificates-unreadable",
    "dead-letter-unknown",
    "export-unusable",
    "ledger-access-refused",
    "ledger-companion-file-unsafe",
    "ledger-damaged",
    "ledger-driver-missing",
    "ledger-filesystem-unsuitable",
    "ledger-folder-open-to-others",
    "ledger-folder-unreachable",
    "ledger-gone",
    "ledger-hard-link",
    "ledger-inaccessible",
    "ledger-link-broken",
    "ledger-missing",
    "ledger-path-shared",
    "ledger-replaced",
    "ledger-server-unsuitable",
    "ledger-too-new",
    "ledger-too-old",
    "ledger-url-invalid",
    "listen-address-unusable",
    "log-empty",
    "not-a-ledger",
    "position-settled",
    "private-folder-unreachable",
    "program-unreadable",
    "proxy-unusable",
    "root-not-given-up",
    "routes-changing",
    "segment-oauth-refused",
    "segment-private-key-unusable",
    "segment-request-refused",
    "settings-invalid",
    "start-in-future",
    "stream-ambiguous",
    "stream-exists",
    "stream-has-spans",
    "stream-mismatch",
    "stream-unknown",
    "taken-over",
    "user-change-refused",
]
"""The kinds of fatal errors. A code is never renamed, and never used again for another kind."""

_LOG_ID_WITH_TIME = re.compile(r"\b900(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d{3})\d{36}\b")


class PollerError(Exception):
    """Base of every failure that the program expects.

    A log id of 56 digits in the message is shown as the time in it, which people can read.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_LOG_ID_WITH_TIME.sub(r"\1-\2-\3T\4:\5:\6.\7Z", message))


class TransientError(PollerError):
    """A later attempt may succeed.

    `retry_after` is the wait that the server asked for, if it asked. `service` names the service
    that failed, so each service has its own count of failures. It is empty if no service failed.
    `hint` says what to look at, if that is known.
    """

    hint = ""

    def __init__(
        self,
        message: str,
        *,
        retry_after: timedelta | None = None,
        service: str = "",
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.service = service
        if hint is not None:
            self.hint = hint


class NotYetError(TransientError):
    """Another pipeline is about to close what this one needs. Nothing has failed."""


class UnknownHostError(TransientError):
    """No DNS server knows the name of a service. The name may be mistyped.

    A daemon tries again anyway. A one-shot command says so at once.
    """


class UnusableAnswerError(TransientError):
    """A service answered in full, and the answer cannot be used.

    A later answer may be good. The third unusable answer in a row is fatal, so the program never
    stalls in silence.
    """

    hint = (
        "look for a proxy, a gateway or a firewall that changes answers. If there is none, ask the "
        "support of the service. Nothing is lost meanwhile"
    )


class ConflictError(TransientError):
    """Another writer moved the span. Read the ledger again, and never overwrite it."""


class TakenOverError(PollerError):
    """Another process began later to work on the span. This process ends its work on it.

    It is neither transient nor fatal, so nothing catches it to try again: a second attempt could
    only take the span away from the process that works on it now.
    """

    def __init__(self, message: str, *, code: ErrorCode, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class RejectedError(PollerError):
    """This message can never be accepted. Do not retry it."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class FatalError(PollerError):
    """The program cannot go on until someone acts.

    `code` names the kind of the error and never changes, so scripts and the runbook can refer to
    it.
    `hint` says what to do.
    """

    def __init__(self, message: str, *, code: ErrorCode, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
