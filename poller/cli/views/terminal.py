"""A console of rich that shows text from outside safely."""

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment

from poller.cli.views.output import mute
from poller.core.text.plain_text import visible_lines


class Terminal(Console):
    """A console on which text is never markup."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        # Segments of control codes are rich's own. All other text may come from outside.
        return super()._render_buffer(
            segment if segment.control else Segment(visible_lines(segment.text), segment.style)
            for segment in buffer
        )

    def on_broken_pipe(self) -> None:
        """Go on without a reader, instead of ending the process as rich does."""
        mute(sys.stdout)
