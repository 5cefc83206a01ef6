"""Acknowledged messages are counted by the hour of each batch, by kind and by name."""

from datetime import datetime, timedelta

from poller.core.count_names import AGAIN, FIRST, UNDATED
from poller.core.counts import Acknowledged, acknowledged_of, count_acknowledged, ids_of_signups
from poller.core.messages import Delivery, Message, Receipt, Refusal
from poller.core.translation.rules import Rules
from poller.core.translation.translator import LiveTranslator
from tests.builders import calls_of_page, page
from tests.fakes import NOW, STREAM

HOUR = timedelta(hours=1)


def messages(*numbers: int, kind: str = "s") -> tuple[Message, ...]:
    return calls_of_page(LiveTranslator(STREAM, Rules()), page(*numbers, kind=kind), {}).messages


def counted(*acknowledged: Acknowledged, again: bool = False) -> dict[tuple[str, str, int], int]:
    """Return the counts by kind, sending, and hours from noon."""
    found = count_acknowledged(acknowledged, NOW + 5 * HOUR, is_again=lambda message: again)
    return {
        (key.event or key.kind, key.sending, (key.hour - NOW) // HOUR): number
        for key, number in found.items()
    }


def dated(made: tuple[Message, ...], at: datetime | None) -> list[Acknowledged]:
    return [(message, at) for message in made]


def test_each_batch_counts_in_the_hour_of_its_own_answer() -> None:
    first, second = messages(1), messages(2)
    receipts = (
        Receipt(
            message_ids=tuple(each.message_id for each in first),
            acknowledged_at=NOW + HOUR - timedelta(seconds=1),
        ),
        Receipt(message_ids=(second[0].message_id,), acknowledged_at=NOW + HOUR),
    )
    refused = Refusal(message=second[1], status=400)
    delivery = Delivery(receipts=receipts, refusals=(refused,))
    found = counted(*acknowledged_of((*first, *second), delivery))
    assert found == {
        ("identify", FIRST, 0): 1,
        ("Logged In", FIRST, 0): 1,
        ("identify", FIRST, 1): 1,
    }


def test_a_time_that_no_two_clocks_agree_on_is_counted_apart_in_the_hour_of_the_settling() -> None:
    found = counted(*dated(messages(1), None))
    assert found == {("identify", UNDATED, 5): 1, ("Logged In", UNDATED, 5): 1}
    assert set(counted(*dated(messages(1), None), again=True)) == {
        ("identify", AGAIN, 5),
        ("Logged In", AGAIN, 5),
    }


def test_a_second_message_of_one_id_is_sent_again() -> None:
    made = messages(1, kind="ss")
    found = counted(*dated(made, NOW), *dated(made, NOW))
    assert found["Signed Up", FIRST, 0] == found["Signed Up", AGAIN, 0] == 1


def test_only_a_signup_has_an_id_that_other_events_may_share() -> None:
    signups = [message for message in messages(1, kind="ss") if "signup" in message.message_id]
    assert ids_of_signups(dated(messages(1), NOW)) == []
    found = ids_of_signups(dated(messages(1, kind="ss"), NOW))
    assert found == [message.message_id for message in signups]
    assert len(found) == 1
