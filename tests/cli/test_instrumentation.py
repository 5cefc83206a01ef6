"""The command puts the meter beside the parts that work, and only where someone is to look."""

from datetime import UTC, datetime

from poller.cli.wiring.metrics import NO_METRICS
from poller.core.errors import FatalError


class Journal:
    def note_cycle(self, *, at: datetime, error: str | None) -> None:
        assert at.tzinfo is UTC or error is not None

    def note_blocked(self, error: FatalError | None) -> None:
        assert error is None


def test_nobody_is_no_layer_between() -> None:
    part: object = object()
    for wrap in (
        NO_METRICS.budget,
        NO_METRICS.log,
        NO_METRICS.sink,
        NO_METRICS.pages,
        NO_METRICS.journal,
    ):
        assert wrap(part) is part  # type: ignore[arg-type, comparison-overlap]  # whatever it is
