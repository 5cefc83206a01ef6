"""The terminal as rich draws on it."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment

from poller.core.text.plain_text import visible_lines


class Terminal(Console):
    """The terminal as rich draws on it. Text is never markup, and ends like every command where nobody reads it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        # Segments of control codes are rich's own; all other text may be anybody's.
        return super()._render_buffer(
            segment if segment.control else Segment(visible_lines(segment.text), segment.style)
            for segment in buffer
        )

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError
