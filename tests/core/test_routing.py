"""The division of a tenant's events among its routes."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.config.parsers.expressions import JmesPath
from poller.core.count_names import FILTERED
from poller.core.delivery import BatchSender
from poller.core.events import parse_events
from poller.core.forward import forward
from poller.core.log_ids import EARLIEST
from poller.core.outcomes import DeadLetter, Filtered, Forwardable, Outcome
from poller.core.translation.event_types import EventType
from poller.core.translation.routing import Route, RouteChange, Routing
from poller.core.translation.rules import Rules
from poller.core.translation.translator import LiveTranslator
from tests.builders import JSON, outcome_of, record
from tests.fakes import STREAM, FakeDirectory, FakeLedger, FakeLog, FakeSink, numbered
from tests.samples import login

SHOP = Route(name="shop", when=JmesPath("log.client_id == 'shop'"))
DB = Route(name="db", when=JmesPath("log.connection == 'db'"))
LONG = Route(name="long", when=JmesPath("length(log.client_name) > `3`"))
REST = Route(name="rest")


def translators(*routes: Route, **rules: Any) -> list[LiveTranslator]:
    """Return the translator of each route."""
    return [
        LiveTranslator(STREAM, Rules(routing=Routing(routes=routes, own=each.name), **rules))
        for each in routes
    ]


def outcomes(*routes: Route, event: object = None, **changes: Any) -> list[Outcome]:
    """Return what becomes of an event on each route."""
    (parsed,) = parse_events([login(**changes) if event is None else event], after=EARLIEST)
    return [outcome_of(each, parsed, {}) for each in translators(*routes)]


def shown(found: Sequence[Outcome]) -> list[str]:
    return ["sent" if isinstance(each, Forwardable) else each.reason for each in found]


@pytest.mark.parametrize(
    ("client_id", "connection", "expected"),
    [
        ("shop", "other", ["sent", "other_route"]),
        ("else", "db", ["other_route", "sent"]),
        ("shop", "db", ["sent", "other_route"]),
        ("else", "other", ["no_route", "no_route"]),
    ],
)
def test_the_first_route_whose_condition_holds_takes_an_event_and_no_other_does(
    client_id: str, connection: str, expected: list[str]
) -> None:
    found = outcomes(SHOP, DB, client_id=client_id, connection=connection)
    assert shown(found) == expected


def test_the_order_of_the_routes_decides_between_two_that_would_take_an_event() -> None:
    assert shown(outcomes(DB, SHOP, client_id="shop", connection="db")) == ["sent", "other_route"]


def test_a_last_route_without_a_condition_takes_the_rest() -> None:
    assert shown(outcomes(SHOP, REST, client_id="else")) == ["other_route", "sent"]
    assert shown(outcomes(SHOP, REST, client_id="shop")) == ["sent", "other_route"]


def test_an_event_of_another_route_is_remembered_like_one_that_the_settings_decline() -> None:
    for found in outcomes(SHOP, DB, client_id="else", connection="other"):
        assert isinstance(found, Filtered)
        assert found.is_declined
    _, other = outcomes(SHOP, REST, client_id="shop")
    assert isinstance(other, Filtered)
    assert other.is_declined


def test_an_event_that_no_settings_send_keeps_its_own_reason_on_each_route() -> None:
    assert shown(outcomes(SHOP, REST, type="fp")) == ["type", "type"]


def test_the_condition_of_all_events_is_asked_only_by_the_route_that_takes_the_event() -> None:
    (event,) = parse_events([login(client_id="shop")], after=EARLIEST)
    found = [
        outcome_of(each, event, {})
        for each in translators(SHOP, REST, when=JmesPath("log.client_id == 'else'"))
    ]
    assert shown(found) == ["condition", "other_route"]


def test_an_event_on_which_a_condition_cannot_be_evaluated_is_one_dead_letter() -> None:
    found = outcomes(SHOP, LONG, REST, client_id="else", client_name=7)
    assert shown(found) == ["other_route", "expression_failed", "other_route"]


def test_an_unreadable_event_is_one_dead_letter_of_the_first_route() -> None:
    first, second = outcomes(SHOP, REST, event=["no", "object"])
    assert isinstance(first, DeadLetter)
    assert isinstance(second, Filtered)
    assert (second.reason, second.is_declined) == ("other_route", True)


def test_a_further_type_is_divided_among_the_routes_too() -> None:
    (event,) = parse_events([login(type="f", client_id="shop")], after=EARLIEST)
    types = {"f": EventType(name="Login Failed")}
    found = [outcome_of(each, event, {}) for each in translators(SHOP, REST, event_types=types)]
    assert shown(found) == ["sent", "other_route"]


EVENTS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["s", "ss", "fp", None]) | JSON,
            "client_id": st.sampled_from(["shop", "else"]) | JSON,
            "connection": st.sampled_from(["db", "x"]) | JSON,
            "client_name": st.sampled_from(["ab", "abcd"]) | JSON,
            "date": st.just("soon"),
            "user_id": st.none(),
        },
    ),
    min_size=1,
    max_size=12,
)
ROUTES = st.permutations([SHOP, DB, LONG]).flatmap(
    lambda some: st.integers(1, 3).flatmap(
        lambda size: st.sampled_from([tuple(some[:size]), (*some[:size], REST)])
    )
)


@given(changes=EVENTS, routes=ROUTES)
def test_each_event_is_settled_by_every_route_and_taken_by_one_at_most(
    changes: list[dict[str, Any]], routes: tuple[Route, ...]
) -> None:
    log = FakeLog([record(number) | each for number, each in enumerate(changes, 1)])
    taken: Counter[str] = Counter()
    reasons: dict[str, list[str]] = {}
    for translator in translators(*routes):
        ledger = FakeLedger()
        ports = (log, FakeDirectory({}), translator, BatchSender(FakeSink()), ledger)
        settlement = next(forward(*ports, ledger.begin(after=EARLIEST))).settlement
        assert sum(1 for _ in settlement.by_event()) == len(changes)
        taken.update(event.log_id for event, each in settlement.by_event() if each != FILTERED)
        for found in translator.outcomes(translator.select(settlement.page.events), {}):
            if isinstance(found, Filtered):
                reasons.setdefault(found.event.log_id, []).append(found.reason)
    assert all(count == 1 for count in taken.values())
    for given_reasons in reasons.values():
        elsewhere = given_reasons.count("other_route")
        nowhere = given_reasons.count("no_route")
        assert elsewhere in {0, len(routes) - 1}
        assert nowhere in ({0} if routes[-1] is REST else {0, len(routes)})


@pytest.mark.parametrize("own", [SHOP, REST])
def test_an_event_that_no_route_took_before_a_change_is_of_no_route(own: Route) -> None:
    (event,) = parse_events([record(5)], after=EARLIEST)
    change = RouteChange(until=numbered(5), before=(SHOP, DB))
    assert Routing(routes=(SHOP, REST), own=own.name, changes=(change,)).objection(event) == (
        "no_route"
    )
