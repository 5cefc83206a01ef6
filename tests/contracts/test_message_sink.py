"""The contract of every MessageSink. The real one posts to the simulated collector."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.adapters.segment.tracking import SegmentSink
from poller.core.errors import FatalError, RejectedError, TransientError
from poller.core.log_ids import LogId
from poller.core.messages import Identify, Message, Track
from poller.core.ports import MessageSink
from poller.sandbox import Fault, Sandbox
from tests.builders import batch_of
from tests.fakes import LATER, NEVER, STORED, FakeSink

DATE = datetime(2026, 11, 20, tzinfo=UTC)


def messages(*users: str) -> tuple[Message, ...]:
    made: list[Message] = []
    for number, user in enumerate(users):
        ids = {"log_id": LogId(f"9{number}"), "user_id": user, "timestamp": DATE, "context": {}}
        made.append(Identify(message_id=f"i{number}", traits={}, **ids))  # type: ignore[arg-type]
        made.append(Track(message_id=f"t{number}", event="Logged In", properties={}, **ids))
    return tuple(made)


@dataclass
class World:
    """A sink, the messages that it took, and the ways to make it fail."""

    sink: MessageSink
    taken: Callable[[], list[str]]
    refuse: Callable[[str], None]
    fail: Callable[[str], None]


def world_of_fake() -> World:
    sink = FakeSink()
    refused: set[str] = set()
    sink.refuses = lambda message: message.user_id in refused
    failures = {"later": LATER, "stored": STORED, "never": NEVER}
    return World(
        sink,
        lambda: [message.message_id for message in sink.taken],
        refused.add,
        lambda name: sink.failures.append(failures[name]),
    )


@pytest.fixture(params=["fake", "segment"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "fake":
        yield world_of_fake()
        return
    with Sandbox() as sandbox:
        clock = ServerClock()
        http = Http(sandbox.segment_url, clock)
        faults = {
            "later": Fault(action="status", status=503),
            "stored": Fault(action="drop_answer"),
            "never": Fault(action="status", status=403, body='{"success": false}'),
        }
        yield World(
            SegmentSink(sandbox.write_key, http, clock),
            lambda: [arrival.message_id for arrival in sandbox.collector.arrivals],
            sandbox.collector.refused_users.add,
            lambda name: sandbox.faults.set(faults[name]),
        )
        http.close()


def test_a_receipt_names_all_that_was_taken_in_order(world: World) -> None:
    receipt = world.sink.send(batch_of(world.sink, messages("a", "b")))
    assert receipt.acknowledged_at is not None
    assert receipt.message_ids == ("i0", "t0", "i1", "t1")
    assert world.taken() == list(receipt.message_ids)


def test_one_bad_message_refuses_the_batch_and_nothing_of_it_is_taken(world: World) -> None:
    world.refuse("b")
    with pytest.raises(RejectedError) as refusal:
        world.sink.send(batch_of(world.sink, messages("a", "b")))
    assert refusal.value.status == 400
    assert world.taken() == []


def test_a_passing_failure_is_transient_and_the_batch_may_be_sent_again(world: World) -> None:
    world.fail("later")
    batch = batch_of(world.sink, messages("a"))
    with pytest.raises(TransientError):
        world.sink.send(batch)
    assert world.taken() == []
    world.sink.send(batch)
    assert world.taken() == ["i0", "t0"]


def test_a_lost_answer_is_transient_though_the_batch_was_taken(world: World) -> None:
    world.fail("stored")
    with pytest.raises(TransientError):
        world.sink.send(batch_of(world.sink, messages("a")))
    assert world.taken() == ["i0", "t0"]


def test_a_failure_that_someone_must_mend_is_fatal(world: World) -> None:
    world.fail("never")
    with pytest.raises(FatalError) as error:
        world.sink.send(batch_of(world.sink, messages("a")))
    assert error.value.hint
    assert world.taken() == []
