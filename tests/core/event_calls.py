"""The calls of one event, for the tests of the translation."""

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from poller.core.events import parse_events
from poller.core.log_ids import EARLIEST
from poller.core.messages import Identify, Track
from poller.core.outcomes import Forwardable, Outcome, Profile
from poller.core.translation.fields import user_id_of
from poller.core.translation.rules import DEFAULT, Rules
from poller.core.translation.translator import LiveTranslator
from tests.builders import outcome_of
from tests.fakes import STREAM
from tests.samples import DATE, login

TRANSLATOR = LiveTranslator(STREAM)
PROFILE = Profile(
    user_id="auth0|1",
    read_at=DATE + timedelta(seconds=5),
    fields={
        "email": "profile@example.com",
        "created_at": "2020-01-02T03:04:05.678Z",
        "logins_count": 42,
        "last_login": "2023-07-26T12:41:12.000Z",
    },
)


def translated(
    profile: Profile | None = None, *, rules: Rules = DEFAULT, **changes: Any
) -> Outcome:
    (event,) = parse_events([login(**changes)], after=EARLIEST)
    return outcome_of(
        LiveTranslator(STREAM, rules),
        event,
        {str(user_id_of(event.record)): profile} if profile else {},
    )


def tracks(
    profile: Profile | None = None, *, rules: Rules = DEFAULT, **changes: Any
) -> list[Track]:
    """Return the tracks of an event that is forwarded."""
    found = translated(profile, rules=rules, **changes)
    assert isinstance(found, Forwardable)
    identify, *rest = found.messages
    assert isinstance(identify, Identify)
    return [message for message in rest if isinstance(message, Track)]


def calls(profile: Profile | None = None, **changes: Any) -> tuple[Identify, Track]:
    found = translated(profile, **changes)
    assert isinstance(found, Forwardable)
    identify, track = found.messages
    assert isinstance(identify, Identify)
    assert isinstance(track, Track)
    return identify, track


FIELD = st.sampled_from(sorted(login()))
