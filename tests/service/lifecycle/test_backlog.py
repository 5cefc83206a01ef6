from datetime import UTC, datetime, timedelta

from poller.service.lifecycle.backlog import NO_BACKLOG, Backlog


def test_a_backlog_lasts_until_its_last_identify_even_if_no_slice_is_left() -> None:
    assert NO_BACKLOG.is_empty
    assert not Backlog(since=datetime(2026, 11, 26, tzinfo=UTC)).is_empty


def test_the_facts_of_a_backlog_are_whole_numbers() -> None:
    backlog = Backlog(slices_left=2, time_left=timedelta(seconds=61.4), pages_left=7.6)
    assert backlog.facts() == {"slices_left": 2, "time_left_s": 61, "pages_left": 8}
