"""The count of a run's work on one file. The summary of `backfill --from-file` shows it."""

from dataclasses import dataclass, field, fields
from typing import Any

from poller.core.file_pages import FileMark, FilePage
from poller.core.translation.log_types import KNOWN_TYPES
from poller.service.backfill.file_walk import TYPE_NAME_LIMIT, FileForwarded
from poller.service.lifecycle.cycles import OutcomeCount

_UNKNOWN_TYPES_LIMIT = 50
"""Names of unknown types that are counted apart. A file of garbage has any number of them."""


@dataclass(slots=True, kw_only=True)
class FileCount(OutcomeCount):
    """The work on a file in this run.

    `offset` and `line` say how far the file is settled, and `problem` why no further.
    """

    file: str
    skipped: int = 0
    repeated: int = 0
    outside: int = 0
    bad_records: int = 0
    texts: int = 0
    unknown_types: dict[str, int] = field(default_factory=dict)
    offset: int = 0
    line: int = 0
    is_done: bool = False
    problem: str | None = None

    def add(self, forwarded: FileForwarded) -> None:
        """Add a page that is settled."""
        settlement, choice = forwarded.settlement, forwarded.choice
        self.add_outcomes(settlement)
        self.skipped += choice.skipped
        self.repeated += choice.repeated
        self.outside += choice.outside
        self.bad_records += len(forwarded.bad) + settlement.page.bad_not_kept
        self.texts += settlement.page.texts
        self._add_unknown_types(settlement.page)
        self.move(settlement.page.end)

    def _add_unknown_types(self, page: FilePage) -> None:
        """Count the types that Auth0 has not published, each by its name while names are few."""
        for event in page.events:
            if event.type and event.type not in KNOWN_TYPES:
                name = ascii(event.type[:TYPE_NAME_LIMIT])[1:-1]
                if name not in self.unknown_types and self._has_many_types:
                    name = "other types"
                self.unknown_types[name] = self.unknown_types.get(name, 0) + 1

    @property
    def _has_many_types(self) -> bool:
        return len(self.unknown_types) >= _UNKNOWN_TYPES_LIMIT

    def move(self, mark: FileMark) -> None:
        """Record how far the file is settled."""
        self.offset, self.line = mark.offset, mark.line

    @property
    def is_all_dead(self) -> bool:
        """Return whether there were events of interest, and each of them became a dead letter."""
        return self.dead_lettered > 0 and self.forwarded == 0

    def facts(self) -> dict[str, Any]:
        """Return every field, for a log line or for JSON."""
        return {"file": self.file} | {each.name: getattr(self, each.name) for each in fields(self)}
