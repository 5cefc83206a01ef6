"""Errors are for people: they show times where log ids hold some."""

import pytest

from poller.core.errors import ConflictError, FatalError, RejectedError, TransientError

LOG_ID = "90020260131080910123" + "0" * 36
READABLE = "2026-01-31T08:09:10.123Z"


@pytest.mark.parametrize(
    "error",
    [
        TransientError(f"a page above {LOG_ID}, in order"),
        ConflictError(f"a page above {LOG_ID}, in order"),
        RejectedError(f"a page above {LOG_ID}, in order", status=400),
        FatalError(f"a page above {LOG_ID}, in order", code="log-empty", hint="do this"),
    ],
)
def test_a_log_id_in_an_error_is_shown_as_its_time(error: Exception) -> None:
    assert str(error) == f"a page above {READABLE}, in order"


@pytest.mark.parametrize("text", ["9" * 57, "900" + "1" * 20, "wk900x", "span 900", LOG_ID + "1"])
def test_any_other_text_is_left_unchanged(text: str) -> None:
    assert str(TransientError(text)) == text
