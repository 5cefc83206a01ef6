"""Masked e-mails, addresses, and the personal data that settings leave out."""

import hashlib
import hmac
import ipaddress
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.core.events import parse_events
from poller.core.log_ids import EARLIEST
from poller.core.outcomes import Forwardable
from poller.core.translation.fields import ip_text
from poller.core.translation.privacy import Privacy
from poller.core.translation.rules import Rules
from poller.core.translation.translator import LiveTranslator
from tests.builders import JSON, outcome_of
from tests.core.event_calls import FIELD, PROFILE, TRANSLATOR, calls, tracks, translated
from tests.fakes import STREAM
from tests.samples import login, wire


@pytest.mark.parametrize(
    ("user_name", "body_email", "email"),
    [
        ("log@example.com", ..., "log@example.com"),
        ("test-user846", "body@example.com", "body@example.com"),
        ("+491701234567", None, None),
        ("not an@e mail.com", 5, None),
        ("@example.com", ..., None),
        ("user@localhost", ..., None),
    ],
)
def test_without_a_profile_the_email_is_the_logs_where_it_is_one(
    user_name: str, body_email: Any, email: str | None
) -> None:
    details = {} if body_email is ... else {"body": {"email": body_email}}
    assert calls(user_name=user_name, details=details)[0].traits.get("email") == email


MASKED = (
    "a***@e***.com",
    "*@example.com",
    "j\u2022\u2022\u2022@example.com",
    "a\u2026@example.com",
)


@pytest.mark.parametrize("masked", MASKED)
def test_a_masked_email_is_no_trait_wherever_it_stands(masked: str) -> None:
    assert not [
        message
        for rules in (
            Rules(),
            Rules(preset="spec"),
            Rules(preset="spec", privacy=Privacy(email="hmac", hmac_key=b"k")),
        )
        for fields in ({}, {"email": masked, "name": masked, "nickname": masked})
        for message in tracks_and_identify(
            rules, fields, user_name=masked, details={"body": {"username": masked}}
        )
        if masked in json.dumps(wire(message), ensure_ascii=False)
        or "email" in wire(message).get("traits", {})
    ]


def tracks_and_identify(rules: Rules, fields: dict[str, Any], **changes: Any) -> list[Any]:
    (event,) = parse_events([login(**changes)], after=EARLIEST)
    profile = replace(PROFILE, fields=fields)
    outcome = outcome_of(LiveTranslator(STREAM, rules), event, {"auth0|1": profile})
    assert isinstance(outcome, Forwardable)
    return list(outcome.messages)


def test_the_profiles_masked_email_gives_way_to_the_events() -> None:
    outcome = tracks_and_identify(Rules(), {"email": "a***@e***.com"})
    assert wire(outcome[0])["traits"]["email"] == "log@example.com"


@pytest.mark.parametrize(
    "ip", ["::ffff:203.0.113.9", "::ffff:cb00:7109", "0:0:0:0:0:ffff:cb00:7109", "203.0.113.9"]
)
def test_an_ipv4_address_inside_ipv6_leaves_as_ipv4(ip: str) -> None:
    (event,) = parse_events([login(ip=ip)], after=EARLIEST)
    outcome = outcome_of(TRANSLATOR, event, {})
    assert isinstance(outcome, Forwardable)
    assert {message.context["ip"] for message in outcome.messages} == {"203.0.113.9"}


@pytest.mark.parametrize("form", ["{}.0.113.9", "203.0.113.{}", "203.0.{}", "203.0.113.9.{}"])
def test_an_ipv4_address_is_taken_as_python_reads_it(form: str) -> None:
    for part in (*range(1000), "00", "01", "010", "", "-1", "\u0663"):
        written = form.format(part)
        try:
            read = str(ipaddress.ip_address(written))
        except ValueError:
            read = None
        assert ip_text(written) == read


KEYED = Privacy(email="hmac", ip="truncate", user_agent="omit", hmac_key=b"key")


def test_an_email_leaves_as_it_is_to_leave() -> None:
    digest = hmac.new(b"key", b"profile@example.com", hashlib.sha256).hexdigest()
    shouting = replace(PROFILE, fields={**PROFILE.fields, "email": " Profile@Example.COM "})
    for profile in (PROFILE, shouting):
        found = translated(profile, rules=Rules(privacy=KEYED))
        assert isinstance(found, Forwardable)
        assert wire(found.messages[0])["traits"]["email"] == digest
    gone = translated(PROFILE, rules=Rules(privacy=Privacy(email="omit")))
    assert isinstance(gone, Forwardable)
    assert "email" not in wire(gone.messages[0])["traits"]


@pytest.mark.parametrize(
    ("ip", "truncated"),
    [
        ("203.0.113.229", "203.0.113.0"),
        ("2001:db8:1:2:3::4", "2001:db8:1::"),
        ("::ffff:203.0.113.229", "203.0.113.0"),
        ("no address", None),
    ],
)
def test_a_truncated_address_names_a_network(ip: str, truncated: str | None) -> None:
    (track,) = tracks(rules=Rules(privacy=KEYED), ip=ip)
    assert track.context == ({"ip": truncated} if truncated else {})


@given(st.dictionaries(FIELD, JSON), st.booleans())
def test_omitted_personal_data_is_in_no_message(changes: dict[str, Any], known: bool) -> None:
    nothing = Privacy(email="omit", ip="omit", user_agent="omit")
    (event,) = parse_events([login(**changes)], after=EARLIEST)
    found = outcome_of(
        LiveTranslator(STREAM, Rules(privacy=nothing)), event, {"auth0|1": PROFILE} if known else {}
    )
    if isinstance(found, Forwardable):
        for message in found.messages:
            assert message.context == {}
            assert "email" not in wire(message).get("traits", {})
