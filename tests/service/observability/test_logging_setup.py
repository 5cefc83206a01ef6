"""A log line of any form shows what came from outside, and cannot be taken over by it."""

import io
import json
import sys

import pytest
import structlog

from poller.service.observability.logging_setup import configure_logging

HOSTILE = "\x1b[2J\x9b\u202e\x7f\ud800"
SHOWN = r"\u001b[2J\u009b\u202e\u007f\ud800"


class Stream(io.StringIO):
    """A stderr that may be a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("form", ["auto", "text", "json"])
def test_a_log_line_shows_what_came_from_outside(
    monkeypatch: pytest.MonkeyPatch, form: str, *, is_terminal: bool
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    stream = Stream(is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        configure_logging("info", form)
        structlog.get_logger().info("page.failed", reason=HOSTILE)
    finally:
        structlog.reset_defaults()
    said = stream.getvalue()
    assert not any(character in said for character in "\x9b\u202e\x7f\ud800")
    assert "\x1b[2J" not in said
    if form == "json":
        assert json.loads(said)["reason"] == HOSTILE
    else:
        assert SHOWN.replace("\\", "\\\\") in said or SHOWN in said
