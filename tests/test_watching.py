"""The command puts the meter beside the parts that work, and only where someone is to look."""

from datetime import UTC, datetime

from poller.cli.wiring.metrics import NOBODY


class Journal:
    def note_cycle(self, *, at: datetime, error: str | None) -> None:
        assert at.tzinfo is UTC or error is not None

    def note_blocked(self, reason: str | None, hint: str | None) -> None:
        assert (reason is None) == (hint is None)


def test_nobody_is_no_layer_between() -> None:
    part: object = object()
    for wrap in (NOBODY.budget, NOBODY.log, NOBODY.sink, NOBODY.pages, NOBODY.journal):
        assert wrap(part) is part  # type: ignore[arg-type, comparison-overlap]  # whatever it is
