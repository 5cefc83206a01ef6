"""The report of `check`, for JSON."""

from dataclasses import dataclass

from poller.core.errors import ErrorCode
from poller.service.lifecycle.exit_codes import ExitCode


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingReport:
    """A finding, as JSON shows it."""

    subject: str
    is_well: bool
    is_open: bool
    text: str
    error: ErrorCode | None
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """All findings, and the exit code that follows from them."""

    code: ExitCode
    findings: tuple[FindingReport, ...]
