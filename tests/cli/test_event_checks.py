"""The findings on the types of a tenant's newest events."""

from typing import Any

from poller.cli.event_checks import events_by_route, types_seen
from poller.config.parsers.expressions import JmesPath
from poller.core.events import parse_events
from poller.core.log_ids import EARLIEST
from poller.core.translation.event_types import EventType
from poller.core.translation.routing import Route, Routing
from poller.core.translation.rules import Rules
from tests.samples import login


def texts(rules: Rules, *records: dict[str, Any]) -> list[str]:
    events = parse_events(
        [login(log_id=f"900{number}") | record for number, record in enumerate(records)],
        after=EARLIEST,
    )
    return [finding.text for finding in types_seen(events, rules)]


def test_groups_that_occur_and_are_not_sent_are_named_with_their_count() -> None:
    seen = ({"type": "s"}, {"type": "fp"}, {"type": "f"}, {"type": "slo"}, {"type": "w"})
    assert texts(Rules(), *seen) == [
        "the newest 5 events hold 1 of a type that is sent",
        (
            "these groups occur and are not sent: failed_login (2), logout (1). "
            "[events.types] can send them"
        ),
    ]
    rules = Rules(event_types={kind: EventType(name="A") for kind in ("fp", "f", "slo")})
    assert texts(rules, *seen) == ["the newest 5 events hold 4 of a type that is sent"]


def test_a_type_that_auth0_has_not_published_is_named() -> None:
    assert "no list that Auth0 has published: zz1" in texts(Rules(), {"type": "zz1"})[1]
    rules = Rules(event_types={"zz1": EventType(name="A")})
    assert len(texts(rules, {"type": "zz1"})) == 1


def test_logins_by_agents_are_counted() -> None:
    agents = ({"agent_id": "agt_1"}, {"agent_id": ""}, {"agent_id": "agt_1", "type": "f"})
    assert "among them: 1. logins.include_agents counts them" in texts(Rules(), *agents)[-1]
    assert (
        "among them: 1. logins.include_agents leaves them out"
        in texts(Rules(include_agents=False), *agents)[-1]
    )


def test_each_route_is_told_what_it_takes_of_the_newest_events_and_what_none_takes() -> None:
    shop = Route(name="shop", when=JmesPath("log.client_id == 'shop'"))
    rest = Route(name="rest", when=JmesPath("length(log.client_id) == `4`"))
    records = [{"client_id": "shop"}, {"client_id": "else"}, {"client_id": "7"}, {"type": "fp"}]
    events = parse_events(
        [login(log_id=f"900{number}") | each for number, each in enumerate(records)], after=EARLIEST
    )
    rules = Rules(routing=Routing(routes=(shop, rest), own="rest"))
    (found,) = events_by_route(events, rules)
    assert found.text == (
        "takes 1 of the newest 3 events of a type that is sent; shop takes 1, no route takes 1"
    )
    assert found.hint is not None
    all_taken = Rules(routing=Routing(routes=(shop, Route(name="all")), own="all"))
    (found,) = events_by_route(events, all_taken)
    assert found.text.endswith("shop takes 1, no route takes 0")
    assert found.hint is None
    assert not [*events_by_route(events, Rules())]
