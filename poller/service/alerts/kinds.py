"""The kinds of alerts, declared once: what each says, when it is told, and what to do about it."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Literal

RUNBOOK = "https://github.com/auth0-segment-poller/auth0-segment-poller/blob/main/docs/runbook.md"
"""The page that every alert links to. A test compares it with the metadata of the package."""

Severity = Literal["critical", "warning", "good"]


class Kind(StrEnum):
    """The kinds of alerts. A name is stored in the ledger, so it never changes."""

    BLOCKED = "blocked"
    ENDED = "ended"
    STUCK = "stuck"
    RETENTION = "retention"
    BACKLOG = "backlog"
    SEGMENT = "segment"
    GAP = "gap"
    DEAD_LETTERS = "dead-letters"
    CRASH = "crash"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """The content of an alert of one kind.

    A state holds for some time and has an end, which `recovered` tells. An event has no end.
    `after` is how long a state must last, or how long events are collected, before it is told.
    `is_down` says that nothing is forwarded, so that a dead man's switch is told of a failure.
    """

    title: str
    meaning: str
    severity: Severity
    section: str
    command: str
    recovered: str = ""
    after: timedelta = timedelta()
    is_down: bool = False

    @property
    def is_state(self) -> bool:
        return bool(self.recovered)


KINDS: dict[Kind, Declaration] = {
    Kind.BLOCKED: Declaration(
        title="The daemon is blocked until somebody acts",
        meaning="Nothing is forwarded until the cause is mended. Then the daemon goes on by itself",
        severity="critical",
        section="it-is-blocked",
        command="status",
        recovered="The daemon is not blocked any more",
        after=timedelta(minutes=5),
        is_down=True,
    ),
    Kind.ENDED: Declaration(
        title="The daemon ended with an error, and is not started again",
        meaning="Nothing is forwarded until the cause is mended and somebody starts the service",
        severity="critical",
        section="it-is-down",
        command="status",
        is_down=True,
    ),
    Kind.STUCK: Declaration(
        title="No page was settled for half an hour",
        meaning="Auth0, Segment or the network does not answer, or the disk is full. The daemon "
        "keeps trying",
        severity="critical",
        section="nothing-succeeds",
        command="check",
        recovered="Pages are settled again",
        is_down=True,
    ),
    Kind.RETENTION: Declaration(
        title="Auth0 will soon remove events that are not read yet",
        meaning="Half of the time is over for which the tenant keeps them. Removed events are lost",
        severity="critical",
        section="retention-comes-near",
        command="status",
        recovered="The position is far from the end of the retention again",
    ),
    Kind.BACKLOG: Declaration(
        title="The backlog of an outage has not shrunk for an hour",
        meaning="New events are sent as usual. The oldest unread events are at risk",
        severity="warning",
        section="the-backlog-does-not-shrink",
        command="status",
        recovered="The backlog shrinks again, or is gone",
    ),
    Kind.SEGMENT: Declaration(
        title="Segment receives fewer messages than it acknowledged",
        meaning="Events may be missing in Segment although they were settled",
        severity="critical",
        section="segment-misses-messages",
        command="verify --segment",
        recovered="Segment receives what it acknowledges again",
    ),
    Kind.GAP: Declaration(
        title="Auth0 removed a part of its log before it was read",
        meaning="The logins and signups of that part are lost",
        severity="critical",
        section="a-gap-was-recorded",
        command="status",
    ),
    Kind.DEAD_LETTERS: Declaration(
        title="Some events cannot be sent",
        meaning="They are kept as dead letters, and all other events go on",
        severity="warning",
        section="there-are-dead-letters",
        command="dead-letters list",
        after=timedelta(minutes=5),
    ),
    Kind.CRASH: Declaration(
        title="The daemon was started again after it ended without a word",
        meaning="Nothing is lost. A crash, a lack of memory or a loss of power looks like this",
        severity="warning",
        section="it-is-down",
        command="status",
    ),
    Kind.FAILED: Declaration(
        title="A pipeline cannot be opened",
        meaning="Nothing of it is forwarded until the cause is mended. It is tried again by "
        "itself, and the other pipelines go on",
        severity="critical",
        section="a-pipeline-cannot-be-opened",
        command="status",
        recovered="The pipeline is open again",
        after=timedelta(minutes=5),
        is_down=True,
    ),
}
