"""Segment's own validator and the reader of its destinations, run by node, read all our calls."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poller.adapters.segment.encoding import MessageEncoder
from poller.config.parsers.expressions import JmesPath
from poller.core.events import parse_events
from poller.core.log_ids import EARLIEST
from poller.core.outcomes import Forwardable
from poller.core.translation.privacy import Privacy
from poller.core.translation.rules import Rules
from poller.core.translation.translator import LiveTranslator
from tests.builders import outcome_of
from tests.fakes import STREAM
from tests.samples import ADA, CALLS, SPEC, login, sample

ORACLE = Path(__file__).parent / "oracle"
NODE = shutil.which("node")
MISSING = (
    "node is not installed"
    if NODE is None
    else "`npm install --prefix tests/adapters/segment/oracle --no-package-lock` has not been run"
    if not (ORACLE / "node_modules" / "@segment" / "facade").exists()
    else ""
)
needs_oracle = pytest.mark.skipif(bool(MISSING), reason=MISSING)

ODD: list[Any] = [
    None,
    "",
    " ",
    0,
    -1,
    1e308,
    True,
    [],
    {},
    {"a": [1]},
    "x" * 40_000,
    "é😀",
    "\ud800",
    2**70,
]
RULES = [
    Rules(),
    SPEC,
    Rules(
        preset="spec",
        privacy=Privacy(email="hmac", ip="truncate", user_agent="omit", hmac_key=b"k"),
    ),
    Rules(
        user_id=JmesPath("user.app_metadata.customer_id || log.user_id"),
        traits={"plan": JmesPath("user.app_metadata.plan"), "any": JmesPath("log.details")},
        properties={"any": JmesPath("to_string(log)"), "audience": JmesPath("log.audience")},
    ),
]


def records() -> Iterator[dict[str, Any]]:
    for name in CALLS:
        yield from sample(name)
    member = {"organization_id": "org_1", "organization_name": "acme"}
    for kind in ("s", "ss"):
        yield login(type=kind, **member)
        for key in (*login(), *member, "audience", "strategy"):
            for value in ODD:
                yield login(**({"type": kind, **member} | {key: value}))


def bodies(rules: Rules) -> list[dict[str, Any]]:
    """Return the messages as Segment's library would post them."""
    encoder = MessageEncoder()
    translator = LiveTranslator(STREAM, rules)
    found = []
    for record in records():
        for event in parse_events([record], after=EARLIEST):
            for profiles in ({}, {"auth0|1": ADA}):
                outcome = outcome_of(translator, event, profiles)
                found += (
                    [encoder.build(message) for message in outcome.messages]
                    if isinstance(outcome, Forwardable)
                    else []
                )
    text = json.dumps(found, default=lambda moment: moment.isoformat())
    posted: list[dict[str, Any]] = json.loads(text)
    return posted


def asked(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines = "\n".join(json.dumps(message) for message in messages)
    done = subprocess.run(
        [str(NODE), str(ORACLE / "check.js")],
        input=lines,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.process
@needs_oracle
@pytest.mark.parametrize("rules", RULES, ids=["rule", "spec", "private", "own lines"])
def test_segments_validator_takes_every_message(rules: Rules) -> None:
    messages = bodies(rules)
    assert {message["type"] for message in messages} == {"identify", "track", "group"}
    answers = asked(messages)
    assert len(answers) == len(messages)
    wrong = [
        (answer["wrong"], message)
        for answer, message in zip(answers, messages, strict=True)
        if answer["wrong"]
    ]
    assert not wrong, wrong[:3]


@pytest.mark.process
@needs_oracle
def test_the_validator_does_refuse() -> None:
    identify, track, *_ = bodies(Rules())
    broken = [
        identify | {"userId": None},
        identify | {"timestamp": "soon"},
        track | {"event": None},
        track | {"properties": {"long": "x" * 40_000}},
    ]
    assert [bool(answer["wrong"]) for answer in asked(broken)] == [True] * len(broken)


@pytest.mark.process
@needs_oracle
def test_destinations_read_every_reserved_name_back() -> None:
    (event,) = parse_events(
        [login(organization_id="org_1", organization_name="acme")], after=EARLIEST
    )
    outcome = outcome_of(LiveTranslator(STREAM, SPEC), event, {"auth0|1": ADA})
    assert isinstance(outcome, Forwardable)
    encoder = MessageEncoder()
    built = json.loads(
        json.dumps([encoder.build(message) for message in outcome.messages], default=str)
    )
    identify, group, track = (answer["read"] for answer in asked(built))
    expected = {
        "userId": "auth0|1",
        "email": "ada@example.com",
        "name": "Ada Lovelace",
        "firstName": "Ada",
        "lastName": "Lovelace",
        "username": "ada",
        "phone": "+15550100",
        "avatar": "https://cdn.example.com/ada.png",
        "created": "2020-01-02T03:04:05.678Z",
        "ip": "203.0.113.9",
        "userAgent": "Chrome",
    }
    assert {name: identify.get(name) for name in expected} == expected
    assert (group["groupId"], group["name"]) == ("org_1", "acme")
    assert (track["event"], track["email"], track["username"]) == (
        "Signed In",
        "ada@example.com",
        "ada",
    )
