"""Counts, lengths of time and long lines as people read them."""

import pytest

from poller.cli.views.wording import counted, laid_out, lasting


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 gaps"), (1, "1 gap"), (2, "2 gaps"), (1234, "1,234 gaps")]
)
def test_a_count_of_one_has_the_singular(number: int, said: str) -> None:
    assert counted(number, "gap") == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3601, "1 h"),
        (7264, "2 h 1 min"),
        (90_000, "1 d 1 h"),
        (30 * 86_400, "30 d"),
    ],
)
def test_a_length_of_time_has_two_units(seconds: float, said: str) -> None:
    assert lasting(seconds) == said


def test_a_line_is_broken_between_words_and_never_inside_one() -> None:
    path = "/var/lib/auth0-segment-poller/config/a-path-that-is-longer-than-the-terminal-is-wide"
    said = laid_out("ledger   ", f"usable, {path}; at noon", width=50)
    assert said == ["ledger   usable,", f"         {path};", "         at noon"]


def test_a_line_that_fits_or_is_piped_is_not_broken() -> None:
    assert laid_out("gaps  ", "none", width=50) == ["gaps  none"]
    assert laid_out("gaps  ", "x " * 200) == [f"gaps  {'x ' * 200}".rstrip()]
