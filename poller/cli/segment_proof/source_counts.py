"""The counts of the Segment source of the settings, for the commands that compare with them."""

from dataclasses import dataclass
from datetime import datetime

from poller.adapters.segment.public_api import (
    AccessDeniedError,
    PublicApi,
    RequestRefusedError,
)
from poller.adapters.segment.source_counts import read_source_counts
from poller.cli.segment_proof.access import public_api, source_id_of
from poller.config import Settings
from poller.core.counts import SourceCounts
from poller.core.errors import FatalError, UnusableAnswerError


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReading:
    """The counts of the source, and the suppressed users if the token may list them."""

    counts: SourceCounts
    suppressed_users: frozenset[str] | None


def read_source(settings: Settings, since: datetime, now: datetime) -> SourceReading:
    """Ask Segment for the counts of the source since an hour. Each request is made once.

    Raises:
        FatalError: there is no token, the source is not known, or Segment refuses.
        TransientError: no usable answer came.
    """
    with public_api(settings) as api:
        if api is None:
            raise FatalError(
                "Segment's counts need a token of its Public API",
                code="settings-invalid",
                hint="set segment.api_token and segment.source_id",
            )
        try:
            counts = read_source_counts(api, _source_id(api, settings), since, now)
        except RequestRefusedError as error:
            raise FatalError(str(error), code="segment-request-refused", hint=error.hint) from None
        return SourceReading(counts=counts, suppressed_users=_suppressed(api))


def _source_id(api: PublicApi, settings: Settings) -> str:
    source_id = source_id_of(api, settings)
    if source_id is None:
        raise FatalError(
            "the source of the write key is not known: the token may not see write keys",
            code="settings-invalid",
            hint="set segment.source_id to the id that stands in the URL of the source",
        )
    return source_id


def _suppressed(api: PublicApi) -> frozenset[str] | None:
    try:
        return api.suppressed_users()
    except (AccessDeniedError, RequestRefusedError, UnusableAnswerError):
        return None
