"""The verdict on an hour, by the acknowledged messages and by Segment's counts."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.core.count_names import AGAIN, FIRST, UNDATED, UNDELIVERED
from poller.core.counts import AcknowledgedCounts, AcknowledgedKey, SourceCounts, SourceKey
from poller.service.verify.hour_figures import HOUR, MOST_UNRECORDED, REPEAT_HOURS
from poller.service.verify.received import (
    SourceComparison,
    SourceRow,
    SourceVerdict,
    compare_with_source,
)

BEGIN = datetime(2026, 11, 20, tzinfo=UTC)
NAME = "Logged In"


@dataclass
class Counts:
    """Both sides' counts of one name, by hours from the beginning."""

    first: dict[int, int] = field(default_factory=dict)
    again: dict[int, int] = field(default_factory=dict)
    received: dict[int, int] = field(default_factory=dict)
    failed: dict[tuple[int, str], int] = field(default_factory=dict)
    filtered: dict[tuple[int, str], int] = field(default_factory=dict)
    since: int | None = 0
    hours: int = 48
    sending: str = FIRST
    now: datetime | None = None

    def compared(self) -> SourceComparison:
        messages = {_ours(hour, self.sending): n for hour, n in self.first.items()}
        messages |= {_ours(hour, AGAIN): n for hour, n in self.again.items()}
        return compare_with_source(
            AcknowledgedCounts(
                since=None if self.since is None else BEGIN + self.since * HOUR, messages=messages
            ),
            SourceCounts(
                since=BEGIN,
                received={_theirs(hour): n for hour, n in self.received.items()},
                failed={_theirs(hour, why): n for (hour, why), n in self.failed.items()},
                filtered={_theirs(hour, why): n for (hour, why), n in self.filtered.items()},
            ),
            since=BEGIN,
            until=BEGIN + self.hours * HOUR,
            now=self.now or BEGIN + (self.hours + 1) * HOUR,
        )

    def rows(self) -> dict[int, SourceRow]:
        return {(row.hour - BEGIN) // HOUR: row for row in self.compared().rows}

    def row(self, hour: int = 30) -> SourceRow:
        return self.rows()[hour]


def _ours(hour: int, sending: str) -> AcknowledgedKey:
    return AcknowledgedKey(hour=BEGIN + hour * HOUR, kind="track", event=NAME, sending=sending)


def _theirs(hour: int, reason: str = "") -> SourceKey:
    return SourceKey(hour=BEGIN + hour * HOUR, kind="track", event=NAME, reason=reason)


def verdicts(counts: Counts) -> dict[int, SourceVerdict]:
    return {hour: row.verdict for hour, row in counts.rows().items()}


def test_equal_counts_agree_and_a_shortfall_differs() -> None:
    assert Counts(first={30: 5}, received={30: 5}).row().verdict is SourceVerdict.AGREES
    row = Counts(first={30: 5}, received={30: 3}).row()
    assert (row.verdict, row.missing, row.lost) == (SourceVerdict.DIFFERS, 2, {})
    assert Counts(first={30: 5}).compared().differences[0].shortfall == 5


def test_more_than_acknowledged_is_no_difference() -> None:
    assert Counts(first={30: 5}, received={30: 900}).row().verdict is SourceVerdict.MORE
    assert Counts(first={30: 5}, again={30: 7}, received={30: 12}).compared().differences == ()


@pytest.mark.parametrize("sending", [AGAIN, UNDATED, UNDELIVERED])
def test_only_a_first_sending_must_be_received(sending: str) -> None:
    row = Counts(first={30: 5}, sending=sending).row()
    assert (row.verdict, row.acknowledged, row.apart) == (SourceVerdict.AGREES, 0, {sending: 5})


@pytest.mark.parametrize("other", [-REPEAT_HOURS, -5, -1, 1])
def test_another_hour_makes_up_for_a_shortfall(other: int) -> None:
    found = Counts(first={30: 5, 30 + other: 4}, received={30: 2, 30 + other: 7}).rows()
    assert (found[30].verdict, found[30].elsewhere) == (SourceVerdict.OTHER_HOUR, 3)
    assert found[30 + other].verdict is SourceVerdict.MORE


@pytest.mark.parametrize("other", [-REPEAT_HOURS - 1, 2])
def test_an_hour_that_is_too_far_makes_up_for_nothing(other: int) -> None:
    assert Counts(first={30: 5, 30 + other: 4}, received={30: 2, 30 + other: 7}).row().missing == 3


def test_one_surplus_makes_up_for_one_shortfall_only() -> None:
    found = Counts(first={28: 3, 29: 0, 30: 3}, received={29: 3}).compared()
    assert sum(row.missing for row in found.rows) == 3
    assert sum(row.elsewhere for row in found.rows) == 3


def test_surpluses_are_shared_so_that_the_least_is_missing() -> None:
    # The surplus of hour 5 is out of reach of hour 30. Hour 29 must take that one.
    counts = Counts(first={29: 3, 30: 3}, received={5: 3, 28: 3})
    assert counts.compared().differences == ()


def test_a_large_surplus_hides_little_of_a_later_hour() -> None:
    counts = Counts(first={30: 5000}, again={20: 5000}, received={20: 5000})
    assert counts.row().missing == 5000 - MOST_UNRECORDED
    counts = Counts(first={30: 5000}, again={29: 5000}, received={29: 5000})
    assert counts.row().missing == 5000 - MOST_UNRECORDED
    assert Counts(first={30: 5000}, received={29: 5000}).row().missing == 0


def test_drops_are_named_by_segments_reasons() -> None:
    row = Counts(first={30: 10}, received={30: 4}, failed={(30, "source_disabled"): 6}).row()
    assert (row.verdict, row.lost, row.missing) == (
        SourceVerdict.DIFFERS,
        {"source_disabled": 6},
        0,
    )


def test_a_failure_of_a_message_that_arrived_later_is_no_loss() -> None:
    counts = Counts(first={30: 4}, received={30: 4}, failed={(30, "source_disabled"): 4})
    assert counts.row().verdict is SourceVerdict.AGREES


def test_a_drop_at_the_edge_of_an_hour_is_named_too() -> None:
    found = Counts(first={30: 4, 31: 5}, received={31: 4}, failed={(30, "source_disabled"): 5})
    assert found.row(30).lost == {"source_disabled": 4}
    assert (found.row(31).lost, found.row(31).missing) == ({"source_disabled": 1}, 0)


def test_a_drop_without_a_kind_or_a_name_explains_what_is_missing() -> None:
    acknowledged = AcknowledgedCounts(since=BEGIN, messages={_ours(30, FIRST): 5})
    nameless = SourceKey(hour=BEGIN + 30 * HOUR, kind="", event="", reason="bad_request")
    found = compare_with_source(
        acknowledged,
        SourceCounts(since=BEGIN, failed={nameless: 9}),
        since=BEGIN,
        until=BEGIN + 40 * HOUR,
        now=BEGIN + 50 * HOUR,
    )
    assert [(row.lost, row.missing) for row in found.rows] == [({"bad_request": 5}, 0)]


@pytest.mark.parametrize("received", [10, 6])
def test_a_filtered_message_is_lost_whether_or_not_it_counts_as_received(received: int) -> None:
    row = Counts(first={30: 10}, received={30: received}, filtered={(30, "unplanned"): 4}).row()
    assert (row.lost, row.missing) == ({"unplanned": 4}, 0)


@pytest.mark.parametrize("received", [14, 0])
def test_filtered_repeats_are_not_more_than_was_acknowledged(received: int) -> None:
    row = Counts(first={30: 10}, received={30: received}, filtered={(30, "unplanned"): 14}).row()
    assert (row.lost, row.missing) == ({"unplanned": 10}, 0)


def test_the_filtered_messages_of_another_program_are_no_difference_beside_received_ones() -> None:
    counts = Counts(first={30: 10}, received={30: 14}, filtered={(30, "unplanned"): 4})
    assert counts.row().verdict is SourceVerdict.MORE


def test_an_hour_is_final_ten_minutes_after_its_end() -> None:
    counts = Counts(
        first={30: 5}, now=BEGIN + 31 * HOUR + timedelta(minutes=10) - timedelta(seconds=1)
    )
    assert counts.row().verdict is SourceVerdict.NOT_FINAL
    assert counts.row().missing == 0
    counts.now = BEGIN + 31 * HOUR + timedelta(minutes=10)
    assert counts.row().verdict is SourceVerdict.DIFFERS


def test_hours_before_the_ledger_counted_are_not_known_and_hide_little() -> None:
    counts = Counts(first={29: 5, 30: 5000}, received={29: 5000}, since=30)
    assert verdicts(counts) == {29: SourceVerdict.NOT_KNOWN, 30: SourceVerdict.DIFFERS}
    assert counts.row().missing == 5000 - MOST_UNRECORDED
    assert verdicts(Counts(first={30: 5}, since=None)) == {30: SourceVerdict.NOT_KNOWN}


def test_names_of_other_programs_are_told_and_not_compared() -> None:
    other = SourceKey(hour=BEGIN, kind="track", event="Page Seen")
    found = compare_with_source(
        AcknowledgedCounts(since=BEGIN, messages={_ours(0, FIRST): 1}),
        SourceCounts(since=BEGIN, received={other: 3, _theirs(0): 1}),
        since=BEGIN,
        until=BEGIN + HOUR,
        now=BEGIN + 9 * HOUR,
    )
    assert found.names_of_others == ("Page Seen",)
    assert [row.event for row in found.rows] == [NAME]


# A small world: messages with the hours of their attempts, and their fates.

REASONS = {"source_disabled": "failed", "unplanned": "filtered", "vanished": ""}


@dataclass(frozen=True)
class Sent:
    """A message: the hours of its attempts, of which the last was recorded, and its fate.

    `edge` is the difference between the hours of the recorded attempt's arrival and answer.
    """

    hour: int
    before: tuple[int, ...]
    edge: int
    fate: str


def sent_messages(fates: st.SearchStrategy[str]) -> st.SearchStrategy[list[Sent]]:
    message = st.builds(
        Sent,
        hour=st.integers(26, 40),
        before=st.lists(st.integers(0, 3), max_size=2).map(tuple),
        edge=st.sampled_from([0, 0, 0, -1]),
        fate=fates,
    )
    return st.lists(message, max_size=60)


def world(sent: list[Sent], *, counts_repeats: bool, has_filtered: bool) -> Counts:
    """Return the counts of both sides. `before` are hours before the recorded attempt."""
    first: Counter[int] = Counter()
    received: Counter[int] = Counter()
    dropped: dict[str, Counter[tuple[int, str]]] = {"failed": Counter(), "filtered": Counter()}
    for message in sent:
        first[message.hour] += 1
        arrival = message.hour + message.edge
        attempts = sorted([*(arrival - hours for hours in message.before), arrival])
        for hour in attempts if counts_repeats else attempts[:1]:
            outcome = REASONS.get(message.fate, "received")
            if outcome in dropped:
                dropped[outcome][hour, message.fate] += 1
            if outcome == "received" or (outcome == "filtered" and has_filtered):
                received[hour] += 1
    return Counts(
        first=first, received=received, failed=dropped["failed"], filtered=dropped["filtered"]
    )


WAYS = st.fixed_dictionaries({"counts_repeats": st.booleans(), "has_filtered": st.booleans()})


@given(sent_messages(st.just("arrived")), WAYS)
def test_no_way_of_counting_makes_a_difference_where_nothing_is_lost(
    sent: list[Sent], ways: dict[str, bool]
) -> None:
    assert world(sent, **ways).compared().differences == ()


@given(
    sent_messages(st.just("arrived")), st.integers(0, 23), st.sampled_from(sorted(REASONS)), WAYS
)
def test_every_loss_of_an_hour_is_named_by_any_way_of_counting(
    sent: list[Sent], bad: int, fate: str, ways: dict[str, bool]
) -> None:
    """One hour goes bad. Nothing is sent twice, as that makes surpluses that can hide losses."""
    hour = 26 + bad % 14
    sent = [
        Sent(hour=each.hour, before=(), edge=0, fate=fate if each.hour == hour else each.fate)
        for each in sent
    ]
    expected = sum(each.fate == fate for each in sent)
    found = world(sent, **ways).compared().differences
    assert sum(row.shortfall for row in found) == expected
    assert {(row.hour - BEGIN) // HOUR for row in found} == ({hour} if expected else set())
    reason = {} if fate == "vanished" else {fate: expected}
    assert all(row.lost == reason for row in found)


@given(sent_messages(st.sampled_from(["arrived", *REASONS])), WAYS)
def test_no_more_is_lost_than_was_lost_but_for_edges_beside_filtered_messages(
    sent: list[Sent], ways: dict[str, bool]
) -> None:
    found = world(sent, **ways).compared().rows
    filtered = {
        each.hour + each.edge - hours
        for each in sent
        if each.fate == "unplanned"
        for hours in (0, *each.before)
    }
    doubtful = sum(
        (each.hour not in filtered and bool(filtered)) or each.edge != 0 or bool(each.before)
        for each in sent
    )
    lost = sum(each.fate != "arrived" for each in sent)
    most = lost if ways["has_filtered"] else lost + doubtful
    assert sum(row.shortfall for row in found) <= most
